//! A software gate as its NBD clients see it, over the real socket, with a
//! client that shares no code with the server.

#![allow(clippy::unwrap_used)] // clippy knows test functions, but not their helpers

use ggate::gate::software::Software;
use ggate::gate::{
    Access, Cancel, Command, Create, GateId, Ggctl, NewName, Outcome, Request, Started, Unit,
};
use ggate::range::Geometry;
use nix::errno::Errno;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testkit::nbd::{
    Client, DISC, FLUSH, FUA, Opening, READ, TRIM, WRITE, WRITE_ZEROES, dial, greet, option,
    option_reply, request,
};

const MEDIA: usize = 8 << 20;
const EPERM: u32 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;
const ESHUTDOWN: u32 = 108;

/// A gate that no thread serves yet.
struct Bench {
    gates: Arc<Software>,
    unit: Unit,
    socket: PathBuf,
    dir: tempfile::TempDir,
}

fn plan() -> Create {
    Create {
        geometry: Geometry {
            media_size: u64::try_from(MEDIA).unwrap(),
            sector_size: 512,
        },
        access: Access::ReadWrite,
        queue_limit: 0,
        timeout: 0,
        name: NewName::NextFree,
        info: "test".into(),
    }
}

impl Bench {
    fn new(create: &Create) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gates = Software::new(dir.path().join("run")).unwrap();
        let unit = gates.create(create).unwrap();
        let socket = gates.socket(unit).unwrap();
        Self {
            gates: Arc::new(gates),
            unit,
            socket,
            dir,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    fn structured(&self) -> Client {
        let opening = Opening {
            structured: true,
            ..Opening::default()
        };
        Client::open(&self.socket, opening).unwrap()
    }

    fn start(&self) -> Request {
        let mut buffer = vec![0; MEDIA];
        match self.gates.start(self.unit, &mut buffer).unwrap() {
            Started::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    /// A request that comes only once START has said that it may have to wait.
    fn start_after(&self, ask: impl FnOnce()) -> Request {
        let (mut buffer, mut ask) = (vec![0; MEDIA], Some(ask));
        let mut before_waiting = || {
            if let Some(ask) = ask.take() {
                ask();
            }
        };
        let started = self
            .gates
            .start_after(self.unit, &mut buffer, &mut before_waiting);
        match started.unwrap() {
            Started::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn done(&self, request: &Request, outcome: Outcome<'_>) {
        self.gates.done(self.unit, request, outcome).unwrap();
    }

    fn destroy(&self, force: bool) -> nix::Result<()> {
        self.gates.destroy(&GateId::Unit(self.unit), force)
    }
}

/// A gate that a thread serves from memory.
struct Ram {
    bench: Bench,
    seen: Arc<Mutex<Vec<Command>>>,
    thread: Option<JoinHandle<Vec<u8>>>,
}

impl Ram {
    fn new() -> Self {
        Self::with(&plan())
    }

    fn with(create: &Create) -> Self {
        let bench = Bench::new(create);
        let seen = Arc::new(Mutex::new(vec![]));
        let (gates, unit, log) = (bench.gates.clone(), bench.unit, seen.clone());
        let thread = thread::spawn(move || serve(&gates, unit, &log));
        Self {
            bench,
            seen,
            thread: Some(thread),
        }
    }

    /// Ends the gate and gives what was on the medium.
    fn finish(mut self) -> Vec<u8> {
        self.bench.destroy(true).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The test may have destroyed the gate itself.
            let _ = self.bench.destroy(true);
            let _ = thread.join();
        }
    }
}

fn serve(gates: &Software, unit: Unit, seen: &Mutex<Vec<Command>>) -> Vec<u8> {
    let mut medium = vec![0xee; MEDIA];
    let mut buffer = vec![0; 64 << 10];
    loop {
        let request = match gates.start(unit, &mut buffer) {
            Ok(Started::Request(request)) => request,
            Ok(Started::NeedBuffer(length)) => {
                buffer = vec![0; length];
                continue;
            }
            Ok(Started::Canceled) | Err(Errno::ENXIO) => return medium,
            Err(errno) => panic!("{errno}"),
        };
        seen.lock().unwrap().push(request.command);
        let offset = usize::try_from(request.range.offset).unwrap();
        let length = usize::try_from(request.range.length).unwrap();
        let range = offset..offset + length;
        let outcome = match request.command {
            Command::Read => Outcome::Data(&medium[range]),
            Command::Write => {
                medium[range].copy_from_slice(&buffer[..length]);
                Outcome::Done
            }
            Command::Delete => {
                medium[range].fill(0);
                Outcome::Done
            }
            _ => Outcome::Done,
        };
        match gates.done(unit, &request, outcome) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|i| seed ^ u8::try_from(i / 512 % 251).unwrap())
        .collect()
}

#[test]
fn what_was_written_is_read_with_simple_and_structured_replies() {
    let ram = Ram::new();
    for (mut client, seed) in [(ram.bench.client(), 1), (ram.bench.structured(), 2)] {
        for (offset, length) in [(0, 512), (4096, 4096), (65536, 65536), (512, 1 << 20)] {
            let data = pattern(length, seed);
            assert_eq!(client.write(offset, &data).unwrap(), 0);
            let length = u32::try_from(length).unwrap();
            assert_eq!(client.read(offset, length).unwrap(), Ok(data));
        }
        assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
        client.disconnect().unwrap();
    }
}

#[test]
fn trim_and_zeroes_reach_the_medium_in_bounded_parts() {
    let ram = Ram::new();
    let mut client = ram.bench.client();
    assert_eq!(
        client
            .call(WRITE_ZEROES, 0, 512, 1 << 20, &[])
            .unwrap()
            .error,
        0
    );
    assert_eq!(client.call(TRIM, 0, 4 << 20, 512, &[]).unwrap().error, 0);
    assert_eq!(
        ram.seen.lock().unwrap().as_slice(),
        [vec![Command::Write; 8], vec![Command::Delete]].concat()
    );
    let medium = ram.finish();
    let mut expected = vec![0xee; MEDIA];
    expected[512..512 + (1 << 20)].fill(0);
    expected[4 << 20..(4 << 20) + 512].fill(0);
    let differs = medium.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((medium.len(), differs), (MEDIA, None));
}

#[test]
fn the_export_is_described() {
    let ram = Ram::new();
    let simple = ram.bench.client().export;
    assert_eq!(simple.size, u64::try_from(MEDIA).unwrap());
    assert_eq!(simple.flags, 0b1_0110_1101);
    assert_eq!(simple.blocks, Some([512, 4096, 32 << 20]));
    assert_eq!(ram.bench.structured().export.flags, 0b1_1110_1101);
    let old = Opening {
        export_name: true,
        name: "ggate0",
        ..Opening::default()
    };
    let old = Client::open(&ram.bench.socket, old).unwrap();
    assert_eq!(
        (old.export.size, old.export.flags),
        (simple.size, simple.flags)
    );
}

#[test]
fn only_the_providers_name_and_the_empty_one_are_known() {
    let ram = Ram::with(&Create {
        name: NewName::Named("hast/data".into()),
        ..plan()
    });
    assert!(ram.bench.socket.ends_with("run/hast/data"));
    for (name, known) in [("", true), ("hast/data", true), ("ggate0", false)] {
        let opening = Opening {
            name,
            ..Opening::default()
        };
        let opened = Client::open(&ram.bench.socket, opening);
        assert_eq!(opened.is_ok(), known, "{name}");
    }
}

#[test]
fn a_write_with_fua_is_answered_only_after_a_flush() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    for (command, payload) in [(WRITE, &[1; 512][..]), (TRIM, &[]), (WRITE_ZEROES, &[])] {
        client.send(command, FUA, 0, 512, payload).unwrap();
        let write = bench.start();
        bench.done(&write, Outcome::Done);
        let flush = bench.start();
        assert_eq!(flush.command, Command::Flush);
        client.stream().set_nonblocking(true).unwrap();
        let early = client.stream().read(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        client.stream().set_nonblocking(false).unwrap();
        bench.done(&flush, Outcome::Done);
        assert_eq!(client.reply().unwrap().error, 0);
    }
    // A failed FLUSH is a failed write.
    client.send(WRITE, FUA, 0, 512, &[1; 512]).unwrap();
    bench.done(&bench.start(), Outcome::Done);
    bench.done(&bench.start(), Outcome::Error(Errno::EIO));
    assert_eq!(client.reply().unwrap().error, EIO);
    // A failed write needs no FLUSH.
    client.send(WRITE, FUA, 0, 512, &[1; 512]).unwrap();
    bench.done(&bench.start(), Outcome::Error(Errno::ENOSPC));
    assert_eq!(client.reply().unwrap().error, ENOSPC);
}

#[test]
fn the_first_error_of_the_parts_is_that_of_the_whole() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    client.send(WRITE_ZEROES, FUA, 0, 512 << 10, &[]).unwrap();
    let parts: Vec<Request> = (0..4).map(|_| bench.start()).collect();
    let outcomes = [Ok(()), Err(Errno::EIO), Err(Errno::ENOSPC), Ok(())];
    for (part, outcome) in parts.iter().zip(outcomes) {
        let outcome = outcome.map_or_else(Outcome::Error, |()| Outcome::Done);
        bench.done(part, outcome);
    }
    // The splitting ends when START comes again.
    client.send(FLUSH, 0, 0, 0, &[]).unwrap();
    bench.done(&bench.start(), Outcome::Done);
    assert_eq!(client.reply().unwrap().error, EIO);
    assert_eq!(client.reply().unwrap().error, 0);
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_next_one_works() {
    let ram = Ram::new();
    let media = u64::try_from(MEDIA).unwrap();
    for mut client in [ram.bench.client(), ram.bench.structured()] {
        let mut refused = |command, flags, offset, length, payload: &[u8], error| {
            let reply = client.call(command, flags, offset, length, payload);
            assert_eq!(reply.unwrap().error, error, "{command} {offset}+{length}");
            assert_eq!(client.read(0, 512).unwrap().map(|data| data.len()), Ok(512));
        };
        refused(READ, 0, media, 512, &[], EINVAL);
        refused(READ, 0, u64::MAX - 511, 512, &[], EINVAL);
        refused(READ, 0, 256, 512, &[], EINVAL);
        refused(READ, 0, 0, u32::MAX, &[], EINVAL);
        refused(WRITE, 0, media, 512, &[1; 512], ENOSPC);
        refused(WRITE, 0, 1, 512, &[1; 512], EINVAL);
        refused(WRITE, 0, media, 100 << 10, &vec![1; 100 << 10], ENOSPC);
        refused(WRITE, 2, 0, 512, &[1; 512], EINVAL);
        refused(TRIM, 0, media, 512, &[], EINVAL);
        refused(WRITE_ZEROES, 0, media, 512, &[], ENOSPC);
        refused(99, 0, 0, 512, &[], EINVAL);
        refused(READ, 0, 0, 0, &[], 0);
        refused(WRITE, 0, 512, 0, &[], 0);
    }
    assert!(
        ram.seen
            .lock()
            .unwrap()
            .iter()
            .all(|command| *command == Command::Read)
    );
}

/// A handler may send requests together for as long as START finds another one
/// without waiting; one that is refused must not leave the others unsent.
#[test]
fn start_does_not_sleep_untold_on_a_request_that_turns_out_to_be_refused() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    let mut burst = request(FLUSH, 0, 1, 0, 0);
    burst.extend(request(READ, 0, 2, 1 << 40, 512));
    client.stream().write_all(&burst).unwrap();
    let first = bench.start();
    assert_eq!(first.command, Command::Flush);
    let next = bench.start_after(|| {
        client.send(READ, 0, 512, 512, &[]).unwrap();
    });
    assert_eq!(next.command, Command::Read);
    bench.done(&first, Outcome::Done);
}

/// Some clients can keep START busy for ever, and one that asks now and then
/// has its request put together with theirs.
#[test]
fn start_does_not_hand_out_requests_for_ever_untold() {
    let bench = Bench::new(&plan());
    let mut clients = [bench.client(), bench.client()];
    for client in &mut clients {
        client.send(FLUSH, 0, 0, 0, &[]).unwrap();
        bench.done(&bench.start(), Outcome::Done);
        client.reply().unwrap();
    }
    let burst: Vec<u8> = (0..40)
        .flat_map(|cookie| request(FLUSH, 0, cookie, 0, 0))
        .collect();
    for client in &mut clients {
        client.stream().write_all(&burst).unwrap();
    }
    // This one takes all that was sent in.
    bench.start();
    let mut told = 0;
    for _ in 1..80 {
        let started = bench
            .gates
            .start_after(bench.unit, &mut [], &mut || told += 1);
        assert!(matches!(started, Ok(Started::Request(_))));
    }
    assert!(told > 0);
}

/// Requests that were put off must not wait for the rest of a payload.
#[test]
fn start_does_not_sleep_untold_on_half_a_payload() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    let mut frame = request(WRITE, 0, 1, 0, 64 << 10);
    frame.extend(pattern(64 << 10, 3));
    let (half, rest) = frame.split_at(40 << 10);
    client.stream().write_all(half).unwrap();
    let next = bench.start_after(|| client.stream().write_all(rest).unwrap());
    assert_eq!(next.command, Command::Write);
}

#[test]
fn a_read_only_export_says_so_and_refuses_writes() {
    let ram = Ram::with(&Create {
        access: Access::ReadOnly,
        ..plan()
    });
    let mut client = ram.bench.client();
    assert_eq!(client.export.flags, 0b1_0000_0011);
    assert_eq!(client.write(0, &[0; 512]).unwrap(), EPERM);
    assert!(client.read(0, 512).unwrap().is_ok());
}

#[test]
fn a_hundred_requests_may_be_in_flight_and_end_in_any_order() {
    const COUNT: u64 = 128;
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    for n in 0..COUNT {
        client.send(READ, 0, n * 512, 512, &[]).unwrap();
    }
    let mut requests: Vec<Request> = (0..COUNT).map(|_| bench.start()).collect();
    let odd = requests.split_off(requests.len() / 2);
    for request in odd.iter().rev().chain(&requests) {
        let fill = u8::try_from(request.range.offset / 512).unwrap();
        bench.done(request, Outcome::Data(&[fill; 512]));
    }
    for _ in 0..COUNT {
        let reply = client.reply().unwrap();
        let fill = u8::try_from(reply.cookie - 1).unwrap();
        assert_eq!(reply.data, [fill; 512]);
    }
}

/// More than go out in one system call, of two clients in turn, one of which
/// wants structured replies.
#[test]
fn what_is_completed_together_is_answered_to_each_client() {
    const READS: u64 = 50;
    let bench = Bench::new(&plan());
    let mut clients = [bench.client(), bench.structured()];
    for block in 0..READS {
        for client in &mut clients {
            client.send(READ, 0, block * 4096, 4096, &[]).unwrap();
        }
    }
    let requests: Vec<Request> = (0..2 * READS).map(|_| bench.start()).collect();
    let seed = |request: &Request| u8::try_from(request.range.offset / 4096).unwrap();
    let data: Vec<Vec<u8>> = requests.iter().map(|r| pattern(4096, seed(r))).collect();
    let mut done = requests.iter().zip(&data).map(|(request, data)| {
        let outcome = match seed(request) {
            7 => Outcome::Error(Errno::EIO),
            _ => Outcome::Data(data),
        };
        (*request, outcome)
    });
    bench.gates.done_all(bench.unit, &mut done).unwrap();
    for client in &mut clients {
        for block in 0..READS {
            let reply = client.reply().unwrap();
            let failed = block == 7;
            assert_eq!(reply.error, if failed { EIO } else { 0 }, "block {block}");
            let expected = pattern(4096, u8::try_from(block).unwrap());
            assert!(failed || reply.data == expected, "block {block}");
        }
    }
}

#[test]
fn clients_take_turns() {
    let bench = Bench::new(&plan());
    let (mut greedy, mut modest) = (bench.client(), bench.client());
    for _ in 0..100 {
        greedy.send(READ, 0, 0, 512, &[]).unwrap();
    }
    modest.send(READ, 0, 4096, 512, &[]).unwrap();
    let turn = (0..101).find(|_| bench.start().range.offset == 4096);
    assert!(turn.is_some_and(|turn| turn < 50), "{turn:?}");
    drop((greedy, modest));
}

#[test]
fn beyond_the_queue_limit_nothing_is_read_until_a_request_is_done() {
    let bench = Bench::new(&Create {
        queue_limit: 1,
        ..plan()
    });
    let mut client = bench.client();
    for n in 0..4 {
        client.send(READ, 0, n * 512, 512, &[]).unwrap();
    }
    let first = bench.start();
    let _second = bench.start();
    thread::scope(|scope| {
        let third = scope.spawn(|| bench.start());
        // Not a wait for something to happen: nothing must.
        thread::sleep(Duration::from_millis(100));
        assert!(!third.is_finished());
        bench.done(&first, Outcome::Data(&[0; 512]));
        assert_eq!(third.join().unwrap().range.offset, 1024);
    });
}

#[test]
fn a_large_write_asks_for_a_larger_buffer_and_stays_first() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    let data = pattern(100 << 10, 7);
    client.send(WRITE, 0, 512, 100 << 10, &data).unwrap();
    let mut small = vec![0; 4096];
    for _ in 0..2 {
        let started = bench.gates.start(bench.unit, &mut small);
        assert_eq!(started, Ok(Started::NeedBuffer(100 << 10)));
    }
    let mut large = vec![0; 128 << 10];
    let started = bench.gates.start(bench.unit, &mut large).unwrap();
    assert!(matches!(started, Started::Request(r) if r.command == Command::Write));
    assert_eq!(large[..data.len()], data);
}

#[test]
fn a_client_that_dribbles_a_payload_holds_nobody() {
    let ram = Ram::new();
    let mut slow = ram.bench.client();
    let data = pattern(256 << 10, 3);
    for round in 0..2 {
        let bytes = request(WRITE, 0, round, 0, 256 << 10);
        slow.stream().write_all(&bytes).unwrap();
        slow.stream().write_all(&data[..1000]).unwrap();
        let mut quick = ram.bench.client();
        for _ in 0..20 {
            assert_eq!(quick.read(0, 512).unwrap(), Ok(vec![0xee; 512]));
        }
        slow.stream().write_all(&data[1000..100_000]).unwrap();
        assert_eq!(quick.read(0, 512).unwrap(), Ok(vec![0xee; 512]));
        slow.stream().write_all(&data[100_000..]).unwrap();
        let reply = slow.reply().unwrap();
        assert_eq!((reply.cookie, reply.error), (round, 0));
        assert_eq!(quick.read(0, 256 << 10).unwrap(), Ok(data.clone()));
        assert_eq!(quick.write(0, &[0xee; 512]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_never_reads_holds_nobody_and_costs_bounded_memory() {
    let ram = Ram::new();
    let mut deaf = ram.bench.client();
    // Up to 512 MiB of replies. What the server does not read fills the socket.
    deaf.stream().set_nonblocking(true).unwrap();
    let asked = (0..512)
        .take_while(|_| deaf.send(READ, 0, 0, 1 << 20, &[]).is_ok())
        .count();
    assert!(asked > 100, "{asked}");
    let mut quick = ram.bench.client();
    for _ in 0..100 {
        assert!(quick.read(4096, 4096).unwrap().is_ok());
    }
    let served = ram.seen.lock().unwrap().len() - 100;
    assert!(served < 64, "{served} MiB of replies for a deaf client");
    // It may change its mind.
    deaf.stream().set_nonblocking(false).unwrap();
    for _ in 0..asked {
        assert_eq!(deaf.reply().unwrap().data.len(), 1 << 20);
    }
}

#[test]
fn hostile_openings_are_closed_and_the_gate_goes_on() {
    let ram = Ram::new();
    let socket = &ram.bench.socket;
    let mut huge = option(7, &[]);
    huge[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    for bytes in [
        vec![0xff; 4],
        [&[0, 0, 0, 3], &[0xff; 16][..]].concat(),
        [&[0, 0, 0, 3], huge.as_slice()].concat(),
        [&[0, 0, 0, 3], option(1, b"other").as_slice()].concat(),
        [&[0, 0, 0, 3], option(3, &[]).repeat(100).as_slice()].concat(),
    ] {
        let mut stream = dial(socket).unwrap();
        // The server may have closed already.
        let _ = stream.write_all(&bytes);
        let mut rest = vec![];
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let mut stream = dial(socket).unwrap();
    greet(&mut stream).unwrap();
    for (number, kind) in [(5, 0x8000_0001), (10, 0x8000_0001), (2, 1)] {
        stream.write_all(&option(number, &[])).unwrap();
        assert_eq!(option_reply(&mut stream, number).unwrap().0, kind);
    }
    assert!(ram.bench.client().read(0, 512).unwrap().is_ok());
}

#[test]
fn a_stream_that_cannot_be_followed_is_closed() {
    let ram = Ram::new();
    let mut noise = ram.bench.client();
    noise.stream().write_all(&[0xff; 28]).unwrap();
    noise.closed().unwrap();
    let mut oversized = ram.bench.client();
    let bytes = request(WRITE, 0, 1, 0, (32 << 20) + 512);
    oversized.stream().write_all(&bytes).unwrap();
    oversized.closed().unwrap();
    for half in [
        &request(WRITE, 0, 1, 0, 512)[..],
        &request(READ, 0, 1, 0, 512)[..20],
    ] {
        let mut gone = ram.bench.client();
        gone.stream().write_all(half).unwrap();
        drop(gone);
    }
    assert_eq!(
        ram.bench.client().read(0, 512).unwrap(),
        Ok(vec![0xee; 512])
    );
    until("closed connections are forgotten", || {
        ram.bench.gates.list().unwrap()[0].mode.read == 0
    });
}

#[test]
fn a_client_that_has_ended_its_input_still_gets_its_answers() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    client.send(READ, 0, 0, 512, &[]).unwrap();
    client.send(READ, 0, 512, 512, &[]).unwrap();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let requests = [bench.start(), bench.start()];
    for request in &requests {
        bench.done(request, Outcome::Data(&[5; 512]));
        assert_eq!(client.reply().unwrap().data, [5; 512]);
    }
}

#[test]
fn connections_are_limited_in_number() {
    let ram = Ram::new();
    let mut clients: Vec<Client> = (0..64).map(|_| ram.bench.client()).collect();
    let mut stream = dial(&ram.bench.socket).unwrap();
    let mut greeting = vec![];
    // Closed without a word; how, is the system's affair.
    if stream.read_to_end(&mut greeting).is_ok() {
        assert_eq!(greeting, []);
    }
    for client in &mut clients {
        assert!(client.read(0, 512).unwrap().is_ok());
    }
    clients.pop().unwrap().disconnect().unwrap();
    until("the place becomes free", || {
        Client::connect(&ram.bench.socket).is_ok()
    });
}

#[test]
fn an_open_gate_is_busy_and_a_left_one_is_not() {
    let ram = Ram::new();
    let mut client = ram.bench.client();
    client.read(0, 512).unwrap().unwrap();
    assert_eq!(
        ram.bench.gates.list().unwrap()[0].mode.to_string(),
        "r1w1e0"
    );
    assert_eq!(ram.bench.destroy(false), Err(Errno::EBUSY));
    drop(client);
    // At once, whether the server has noticed or not.
    assert_eq!(ram.bench.destroy(false), Ok(()));
}

/// The client was told that it was in and only then counted: a gate that it
/// had just opened could be destroyed under it.
#[test]
fn who_was_let_in_has_it_open() {
    let ram = Ram::new();
    for _ in 0..300 {
        let client = ram.bench.client();
        assert_eq!(ram.bench.destroy(false), Err(Errno::EBUSY));
        client.disconnect().unwrap();
    }
    ram.finish();
}

#[test]
fn a_left_gate_is_not_busy_although_nobody_serves_it() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    client.send(DISC, 0, 0, 0, &[]).unwrap();
    drop(client);
    assert_eq!(bench.destroy(false), Ok(()));
}

#[test]
fn forced_destroy_tells_the_clients() {
    let bench = Bench::new(&plan());
    let mut client = bench.structured();
    client.send(READ, 0, 0, 512, &[]).unwrap();
    client.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    let (_read, _write) = (bench.start(), bench.start());
    bench.destroy(true).unwrap();
    assert_eq!(client.reply().unwrap().error, ESHUTDOWN);
    assert_eq!(client.reply().unwrap().error, ESHUTDOWN);
    client.closed().unwrap();
    assert!(!bench.socket.exists());
}

#[test]
fn forced_destroy_under_load_ends_everybody() {
    let ram = Ram::new();
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let mut client = ram.bench.client();
            thread::spawn(move || {
                let data = pattern(8192, n);
                let mut rounds = 0u32;
                while matches!(client.write(u64::from(n) * 8192, &data), Ok(0)) {
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    until("some load", || ram.seen.lock().unwrap().len() > 1000);
    ram.finish();
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
}

#[test]
fn cancel_hands_reads_out_again_and_disconnects_writers() {
    let bench = Bench::new(&plan());
    let (mut reader, mut writer) = (bench.client(), bench.client());
    reader.send(READ, 0, 512, 512, &[]).unwrap();
    let read = bench.start();
    writer.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    let write = bench.start();
    bench
        .gates
        .cancel(&GateId::Unit(bench.unit), Cancel::All)
        .unwrap();
    writer.closed().unwrap();
    assert_eq!(bench.start(), read);
    bench.done(&write, Outcome::Done);
    bench.done(&read, Outcome::Data(&[6; 512]));
    assert_eq!(reader.reply().unwrap().data, [6; 512]);
}

/// A client dies with a write outstanding, comes again, repeats it and writes
/// something newer. Were the new connection served at once, the first write
/// could be executed last.
#[test]
fn who_comes_again_waits_for_the_requests_it_left_behind() {
    let bench = Bench::new(&plan());
    let mut client = bench.client();
    client.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    let left_behind = bench.start();
    drop(client);
    let mut again = bench.client();
    again.send(WRITE, 0, 0, 512, &[2; 512]).unwrap();
    thread::scope(|scope| {
        let next = scope.spawn(|| bench.start());
        // Not a wait for something to happen: nothing must.
        thread::sleep(Duration::from_millis(100));
        assert!(!next.is_finished());
        let config = bench.gates.list().unwrap()[0].config.clone().unwrap();
        assert_eq!(config.queue_count, 1);
        bench.done(&left_behind, Outcome::Done);
        bench.done(&next.join().unwrap(), Outcome::Done);
    });
    assert_eq!(again.reply().unwrap().error, 0);
}

#[test]
fn requests_that_nobody_takes_fail_after_their_time() {
    let bench = Bench::new(&Create {
        timeout: 1,
        ..plan()
    });
    let mut client = bench.client();
    let began = Instant::now();
    client.send(READ, 0, 0, 512, &[]).unwrap();
    client.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    assert_eq!(client.reply().unwrap().error, EIO);
    assert_eq!(client.reply().unwrap().error, EIO);
    let age = began.elapsed();
    assert!(age > Duration::from_secs(5), "{age:?}");
    assert!(age < Duration::from_secs(8), "{age:?}");
}

#[test]
fn a_gate_that_is_taken_over_is_found_by_clients_that_reconnect() {
    let ram = Ram::new();
    let mut client = ram.bench.client();
    assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    let next = Software::new(ram.bench.dir.path().join("run")).unwrap();
    let unit = next.cancel(&GateId::Named("ggate0".into()), Cancel::All);
    assert_eq!(unit, Ok(ram.bench.unit));
    client.closed().unwrap();
    let log = Mutex::new(vec![]);
    thread::scope(|scope| {
        scope.spawn(|| serve(&next, ram.bench.unit, &log));
        let mut again = Client::connect(&ram.bench.socket).unwrap();
        assert_eq!(again.read(0, 512).unwrap(), Ok(vec![0xee; 512]));
        drop(again);
        next.destroy(&GateId::Unit(ram.bench.unit), true).unwrap();
    });
}

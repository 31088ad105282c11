//! Peers that break the rules, in every stage of a link: the link ends with a
//! reason in the log, or the request is refused; the worker lives, and lets
//! the next peer in.

use crate::harness::{Nodes, Worker, settings, tcp};
use crate::peers::{
    FakePrimary, FakeSecondary, Verdict, accepted, first_step, node, second_step, verbatim,
    wait_for_end,
};
use hast::ipc::{Event, Peer, ToWorker};
use hast_core::errno::Errno;
use hast_core::message::{Extensions, Node, Opening, Reply, Request};
use hast_core::metadata::Consistency;
use hast_core::nv::Text;
use hast_core::payload::{Checksum, Compression, Digest, Header};
use hast_core::primary::Replication;
use hast_core::role::SyncSource;
use hast_core::units::{ByteRange, Counters, Seq, Version};
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use testkit::nbd::Client;
use testkit::noise::Noise;

const SIZE: u64 = 4 << 20;

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

fn write(n: u64, range: ByteRange, payload: Header) -> Request {
    Request::Write {
        seq: seq(n),
        range,
        memsync: false,
        payload,
    }
}

/// A node's secondary.
struct Bench {
    nodes: Nodes,
    secondary: Worker,
}

impl Bench {
    fn new() -> Self {
        let nodes = Nodes::new(SIZE);
        let secondary = nodes.start(false, settings(Replication::Memsync));
        Self { nodes, secondary }
    }

    fn primary(&mut self) -> FakePrimary {
        let primary = FakePrimary::connect(&mut self.secondary);
        self.secondary.event(Event::Connect);
        primary
    }

    /// The secondary must hang up after this, and say why.
    fn loses_its_link(&mut self, does: impl FnOnce(&mut FakePrimary), why: &str) {
        let mut primary = self.primary();
        does(&mut primary);
        primary.loses_its_link();
        self.secondary.event(Event::Disconnect);
        self.secondary.logged(why);
    }
}

impl Drop for Bench {
    /// The secondary still works, and has written nothing but what it should.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut primary = self.primary();
        let data = [5; 512];
        primary.send(&write(1, range(1024, 512), verbatim(&data)), &data);
        assert_eq!(primary.reply().0, Reply::done(seq(1)));
        let bytes = self.nodes.data(&self.nodes.b);
        assert!(bytes[1024..1536] == data);
        assert!(bytes[..1024] == [0; 1024] && bytes[1536..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_request_with_bytes_that_are_none_ends_the_link() {
    let mut bench = Bench::new();
    let too_long = [2, 1, 0, 1, 0];
    bench.loses_its_link(|primary| primary.raw(&too_long), "message of 65537 bytes");
    let version = [3, 0, 0, 0, 0];
    bench.loses_its_link(|primary| primary.raw(&version), "protocol version 3");
    let mut noise = vec![2, 100, 0, 0, 0];
    noise.extend(Noise::new(3).bytes(100).iter().map(|byte| byte | 0x40));
    bench.loses_its_link(|primary| primary.raw(&noise), "message");
    // No entries at all: a request without a command. Base aborts.
    let empty = [2, 0, 0, 0, 0];
    bench.loses_its_link(|primary| primary.raw(&empty), "lacks the entry \"cmd\"");
}

#[test]
fn a_payload_that_is_not_the_data_ends_the_link_and_writes_nothing() {
    let mut bench = Bench::new();
    let data = [9; 512];
    let place = range(0, 512);
    let short = Header {
        size: 256,
        ..verbatim(&data)
    };
    let of_wrong_length = "payload of the wrong length";
    bench.loses_its_link(
        |primary| primary.send(&write(1, place, short), &data[..256]),
        of_wrong_length,
    );
    bench.loses_its_link(
        |primary| primary.send(&write(1, place, Header::EMPTY), &[]),
        of_wrong_length,
    );
    for checksum in [Checksum::Crc32, Checksum::Sha256] {
        let wrong = Header {
            digest: Digest::of(checksum, b"other data"),
            ..verbatim(&data)
        };
        bench.loses_its_link(
            |primary| primary.send(&write(1, place, wrong), &data),
            "does not match its checksum",
        );
    }
    // A hole of another length, and LZF that is none.
    let hole = Header {
        compression: Compression::Hole,
        size: 4,
        ..Header::EMPTY
    };
    bench.loses_its_link(
        |primary| primary.send(&write(1, place, hole), &4096_u32.to_le_bytes()),
        of_wrong_length,
    );
    let lzf = Header {
        compression: Compression::Lzf,
        size: 300,
        ..Header::EMPTY
    };
    let mut stream = 512_u32.to_le_bytes().to_vec();
    stream.extend([0xff; 296]);
    bench.loses_its_link(
        |primary| primary.send(&write(1, place, lzf), &stream),
        "lzf stream",
    );
}

/// K8: base takes what came for the whole.
#[test]
fn a_write_that_ends_in_the_middle_is_not_carried_out() {
    let mut bench = Bench::new();
    let data = [9; 4096];
    for cut in [0, 1, 511, 4095] {
        let mut primary = bench.primary();
        let request = write(1, range(0, 4096), verbatim(&data));
        primary.send(&request, &data[..cut]);
        drop(primary);
        bench.secondary.event(Event::Disconnect);
        bench.secondary.logged("closed the connection");
    }
}

/// K28: base loses its place in the stream.
#[test]
fn a_request_that_cannot_be_carried_out_is_refused_and_the_next_is_not() {
    let mut bench = Bench::new();
    let mut primary = bench.primary();
    let end = bench.nodes.metadata.datasize;
    let data = [9; 1024];
    for (n, place) in (1..).zip([
        range(end, 1024),
        range(end - 512, 1024),
        range(u64::MAX - 1023, 1023),
        range(1, 1024),
        range(511, 1024),
    ]) {
        let length = usize::try_from(place.length()).unwrap();
        let request = write(n, place, verbatim(&data[..length]));
        primary.send(&request, &data[..length]);
        assert_eq!(primary.reply().0, Reply::failed(seq(n), Errno::EINVAL));
    }
    bench.secondary.logged("refusing a request");
    let read = Request::Read {
        seq: seq(9),
        range: range(0, 8 << 20),
    };
    primary.send(&read, &[]);
    assert_eq!(primary.reply().0, Reply::failed(seq(9), Errno::EINVAL));
    primary.send(&Request::Flush { seq: seq(10) }, &[]);
    assert_eq!(primary.reply().0, Reply::done(seq(10)));
}

/// Resident memory in KiB.
fn resident(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// Sends this until the secondary takes no more of it, or a million; how
/// often.
fn flood(requests: &mut TcpStream, message: &[u8]) -> usize {
    let many = message.repeat(1000);
    requests
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut sent = 0;
    while sent < 1_000_000 * message.len() {
        match requests.write(&many[sent % many.len()..]) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent / message.len()
}

fn encoded(request: &Request) -> Vec<u8> {
    let mut room = [0; 256];
    let length = request.encode(Version::V2, &mut room).unwrap();
    room[..length].to_vec()
}

/// Replies to what needed no room among the requests waited without limit for
/// a primary that did not read them.
#[test]
fn a_primary_that_reads_no_replies_is_not_listened_to_for_ever() {
    let mut bench = Bench::new();
    let before = resident(&bench.secondary);
    let refused = Request::Read {
        seq: seq(1),
        range: range(1, 1),
    };
    let keepalive = Request::Keepalive { seq: Some(seq(2)) };
    for request in [refused, keepalive] {
        let mut primary = bench.primary();
        let sent = flood(&mut primary.requests, &encoded(&request));
        assert!(sent < 1_000_000, "everything was taken");
        assert!(resident(&bench.secondary) < before + (16 << 10));
        drop(primary);
        bench.secondary.event(Event::Disconnect);
    }
}

fn hello(extensions: Extensions) -> impl Fn(&mut Worker, TcpStream, TcpStream) {
    move |secondary, a, b| secondary.greet_as(extensions, a, b)
}

/// Requests that only change the metadata left their places without a word,
/// and the thread that waited for one waited for good.
#[test]
fn more_changes_of_state_than_there_is_room_for_are_all_stored() {
    const MANY: u64 = 2000;
    let mut bench = Bench::new();
    let mut primary = FakePrimary::with(
        &mut bench.secondary,
        hello(hast_core::secondary::EXTENSIONS),
    );
    bench.secondary.event(Event::Connect);
    let mut sender = primary.requests.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for n in 1..=MANY {
            let state = Request::State {
                seq: seq(n),
                consistency: Consistency::Consistent,
                generation: None,
                raise: None,
            };
            sender.write_all(&encoded(&state)).unwrap();
        }
    });
    let mut answered: Vec<u64> = (0..MANY)
        .map(|_| primary.reply().0.seq.unwrap().get())
        .collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(1..=MANY));
    sending.join().unwrap();
    drop(primary);
    bench.secondary.event(Event::Disconnect);
}

#[test]
fn a_second_step_that_makes_no_sense_is_told_of_and_forgotten() {
    let mut bench = Bench::new();
    let mut noise = Noise::new(4);
    let first_step = encoded(&Request::Keepalive { seq: None });
    for hello in [Vec::new(), noise.bytes(300), first_step[5..].to_vec()] {
        let (mut requests, a) = tcp();
        let (mut replies, b) = tcp();
        let peer = ToWorker::Peer(Box::new(Peer {
            address: "tcp://127.0.0.1:1".into(),
            version: 2,
            extensions: 0,
            hello,
        }));
        bench.secondary.tell_with(&peer, vec![a.into(), b.into()]);
        bench.secondary.logged("step 2");
        wait_for_end(&mut requests);
        wait_for_end(&mut replies);
    }
}

#[test]
fn a_primary_that_connects_again_replaces_itself() {
    let mut bench = Bench::new();
    let mut first = bench.primary();
    // In the middle of a write.
    let data = [9; 4096];
    first.send(&write(1, range(0, 4096), verbatim(&data)), &data[..100]);
    let second = bench.primary();
    first.loses_its_link();
    drop(second);
    bench.secondary.event(Event::Disconnect);
    bench.secondary.event(Event::Disconnect);
}

/// A node's primary without a peer.
struct Alone {
    nodes: Nodes,
    primary: Worker,
}

impl Alone {
    fn new() -> Self {
        let nodes = Nodes::new(SIZE);
        let primary = nodes.start(true, settings(Replication::Fullsync));
        Self { nodes, primary }
    }

    /// As the primary likes it.
    fn node(&self) -> Node {
        node(&self.nodes.metadata)
    }

    fn secondary(&mut self) -> FakeSecondary {
        let node = self.node();
        let from = SyncSource::Primary;
        let secondary = FakeSecondary::accept(&mut self.primary, Version::V2, node, from, None);
        self.primary.event(Event::Connect);
        secondary
    }

    /// The primary looks for its peer again, at once.
    fn again(&mut self) {
        self.primary.reconnect(settings(Replication::Fullsync));
    }

    /// The answer to step 2 is to end the attempt, and why.
    fn refuses(&mut self, answer: &[u8], why: &str) {
        let mut requests = first_step(&mut self.primary);
        let (mut replies, _) = second_step(
            &mut self.primary,
            &mut requests,
            Version::V2,
            Extensions::NONE,
        );
        // It may hang up before all is sent.
        let _ = requests.write_all(answer);
        wait_for_end(&mut requests);
        wait_for_end(&mut replies);
        self.primary.logged(why);
        self.again();
    }
}

impl Drop for Alone {
    /// The primary still takes a peer, and serves.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let _served = self.secondary().serve(vec![0; 4 << 20], |_| Verdict::Do);
        let mut client = Client::connect(&self.nodes.socket()).unwrap();
        assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
        assert_eq!(client.read(0, 512).unwrap().unwrap(), [1; 512]);
    }
}

#[test]
fn an_answer_to_step_1_that_makes_no_sense_ends_the_attempt() {
    let mut alone = Alone::new();
    for answer in [
        &[2, 0, 0, 0, 0][..],
        &[9, 9, 9, 9, 9],
        &[2, 255, 255, 255, 255],
    ] {
        let mut requests = first_step(&mut alone.primary);
        requests.write_all(answer).unwrap();
        wait_for_end(&mut requests);
        alone.primary.logged("step 1");
        alone.again();
    }
}

#[test]
fn a_secondary_of_another_shape_is_refused() {
    let mut alone = Alone::new();
    let node = alone.node();
    let smaller = Node {
        datasize: node.datasize - 512,
        ..node
    };
    let coarser = Node {
        extentsize: 2 * node.extentsize,
        ..node
    };
    for wrong in [smaller, coarser] {
        let answer = accepted(wrong, SyncSource::Primary, None);
        alone.refuses(&answer, "another size");
    }
}

#[test]
fn maps_that_cannot_be_are_refused_before_they_are_read() {
    let mut alone = Alone::new();
    let map = [1; 512];
    let answer = accepted(alone.node(), SyncSource::Primary, Some(&map));
    // mapsize is the last entry but one: its value, of which the payload's is
    // a part no more.
    let at = |name: &[u8], answer: &[u8]| {
        let at = answer.windows(name.len()).position(|part| part == name);
        at.unwrap() + name.len().next_multiple_of(8)
    };
    for size in [0_u32, 511, 1 << 30, u32::MAX] {
        let mut wrong = answer.clone();
        let place = at(b"mapsize", &answer);
        wrong[place..place + 4].copy_from_slice(&size.to_le_bytes());
        alone.refuses(&wrong, "step 2");
        assert!(resident(&alone.primary) < 48 << 10);
    }
    let mut wrong = answer.clone();
    let place = at(b"syncsrc", &answer);
    wrong[place] = 3;
    alone.refuses(&wrong, "syncsrc");
}

#[test]
fn a_map_that_never_comes_is_not_waited_for_for_ever() {
    let nodes = Nodes::new(SIZE);
    let mut settings = settings(Replication::Fullsync);
    settings.timeout = Duration::from_secs(1);
    let mut primary = nodes.start(true, settings);
    let mut requests = first_step(&mut primary);
    let (mut replies, _) = second_step(&mut primary, &mut requests, Version::V2, Extensions::NONE);
    let answer = accepted(node(&nodes.metadata), SyncSource::Primary, Some(&[1; 512]));
    requests.write_all(&answer[..answer.len() - 1]).unwrap();
    wait_for_end(&mut requests);
    wait_for_end(&mut replies);
    primary.logged("in time");
}

#[test]
fn a_token_of_another_length_is_no_token() {
    let mut alone = Alone::new();
    let mut requests = first_step(&mut alone.primary);
    let mut room = [0; 256];
    let length = hast_core::frame::write(&mut room, Version::V2, |w| {
        w.put("version", 2_u8);
        w.put("token", &[1_u8; 15][..]);
    });
    requests.write_all(&room[..length.unwrap()]).unwrap();
    wait_for_end(&mut requests);
    alone.primary.logged("token");
    alone.again();
}

/// The reply to a READ or a WRITE is this; the link must end, and the client's
/// request must not fail for it.
fn ends_the_link(reply: impl Fn(Seq) -> (Reply, Vec<u8>), why: &str) {
    let mut alone = Alone::new();
    let mut secondary = alone.secondary();
    let mut client = Client::connect(&alone.nodes.socket()).unwrap();
    std::thread::scope(|scope| {
        let written = scope.spawn(|| client.write(0, &[1; 512]).unwrap());
        let seq = loop {
            let (request, _) = secondary.request().unwrap();
            match request {
                Request::Write { seq, .. } => break seq,
                Request::Flush { seq } => secondary.reply(&Reply::done(seq), &[]),
                _ => {}
            }
        };
        let (reply, data) = reply(seq);
        secondary.reply(&reply, &data);
        wait_for_end(&mut secondary.replies);
        alone.primary.event(Event::Disconnect);
        assert_eq!(written.join().unwrap(), 0);
    });
    alone.primary.logged(why);
    alone.again();
}

#[test]
fn data_that_nobody_asked_for_ends_the_link() {
    let data = vec![8; 512];
    ends_the_link(
        |seq| (Reply::data(seq, verbatim(&data)), data.clone()),
        "no answer",
    );
}

#[test]
fn a_reply_that_is_none_ends_the_link() {
    ends_the_link(
        |seq| {
            // An error beside data: nobody says that.
            let reply = Reply {
                error: Errno::new(5),
                ..Reply::data(seq, verbatim(&[8; 512]))
            };
            (reply, vec![8; 512])
        },
        "payload",
    );
}

/// Base logs and drops them.
#[test]
fn replies_to_nothing_are_dropped_and_more_than_enough_is_survived() {
    let mut alone = Alone::new();
    let mut secondary = alone.secondary();
    let mut client = Client::connect(&alone.nodes.socket()).unwrap();
    let data = [8; 4096];
    for n in [1, 77, u64::MAX] {
        secondary.reply(&Reply::done(seq(n)), &[]);
        secondary.reply(&Reply::received(seq(n)), &[]);
        secondary.reply(&Reply::data(seq(n), verbatim(&data)), &data);
    }
    std::thread::scope(|scope| {
        let written = scope.spawn(|| client.write(0, &[1; 512]).unwrap());
        loop {
            let (request, _) = secondary.request().unwrap();
            let Some(seq) = request.seq() else { continue };
            // Twice what base would abort on, twice the end.
            for _ in 0..2 {
                secondary.reply(&Reply::received(seq), &[]);
            }
            for _ in 0..2 {
                secondary.reply(&Reply::done(seq), &[]);
            }
            if matches!(request, Request::Write { .. }) {
                break;
            }
        }
        assert_eq!(written.join().unwrap(), 0);
    });
    assert!(alone.primary.status().complete);
    drop(secondary);
    alone.primary.event(Event::Disconnect);
    alone.again();
}

/// A READ of a primary that lacks data is answered by the peer alone.
#[test]
fn data_that_does_not_match_its_checksum_reaches_no_client() {
    let nodes = Nodes::new(SIZE);
    let mut primary = nodes.start(true, settings(Replication::Fullsync));
    // The peer has everything, and everything is to be copied.
    let node = Node {
        virgin: false,
        counters: Counters {
            local: 1,
            remote: 0,
        },
        ..node(&nodes.metadata)
    };
    let from = SyncSource::Secondary;
    let map = [0xff; 512];
    let mut secondary = FakeSecondary::accept(&mut primary, Version::V2, node, from, Some(&map));
    primary.event(Event::Connect);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| client.read(4096, 512).unwrap());
        loop {
            let (request, _) = secondary.request().unwrap();
            let Request::Read { seq, range } = request else {
                let seq = request.seq().unwrap();
                secondary.reply(&Reply::done(seq), &[]);
                continue;
            };
            if range.length() == 512 {
                let header = Header {
                    digest: Digest::of(Checksum::Crc32, b"something else"),
                    ..verbatim(&[8; 512])
                };
                secondary.reply(&Reply::data(seq, header), &[8; 512]);
                break;
            }
        }
        // There is nobody else to ask.
        assert!(read.join().unwrap().is_err());
    });
    wait_for_end(&mut secondary.replies);
    primary.logged("does not match its checksum");
    primary.becomes("stale");
}

#[test]
fn the_step_a_primary_says_names_the_resource_and_no_more_than_it_knows() {
    let mut alone = Alone::new();
    let mut requests = first_step(&mut alone.primary);
    let (replies, hello) = second_step(
        &mut alone.primary,
        &mut requests,
        Version::V2,
        Extensions::NONE,
    );
    let Ok(Opening::Step2(step2)) = Opening::decode(&hello.entries) else {
        panic!("{hello:?}");
    };
    assert_eq!(step2.resource, Text(b"data"));
    assert!(step2.virgin && step2.counters == Counters::default());
    drop((requests, replies));
    alone.again();
}

//! ggated under load: 200 connections that say nothing, 200 of which one half of
//! a session never comes, and a client that asks and never reads, beside 64
//! sessions at work. Nobody at work slows by more than a tenth, and memory is
//! bounded. Part of `make test-clients`; alone: `cargo test -p clients --test load`.

use ggate::gate::{Access, Seq};
use ggate::range::ByteRange;
use ggate::wire::{
    ClientInitial, Command, Direction, ExportPath, Reply, Request, Token, exchange_initial,
    exchange_versions,
};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use testkit::process::{DEADLINE, Running, Sandbox, free_port, wait_for, wait_for_port};

const SESSIONS: u32 = 64;
const IDLE: usize = 200;
const HALF_OPEN: u32 = 200;
const MEDIA: u64 = 16 << 20;
const BLOCK: u32 = 4096;

/// How long throughput is measured at a time.
const SLICE: Duration = Duration::from_millis(250);

/// Slices with and without the others, alternately.
const SLICES: usize = 5;

/// What must be left of the throughput, in percent.
const LEFT: u64 = 90;

/// Other programs make a machine slow at any time, those under test whenever
/// they are tried: so often it is tried until the throughput is there.
const ATTEMPTS: usize = 5;

/// Resident memory of ggated in MiB: what it holds for the client that never
/// reads (16), input buffers of the sessions (16), and as much again three
/// times: the system's allocator keeps some.
const MEMORY: u64 = 128;

struct Server {
    address: SocketAddr,
    path: ExportPath,
    ggated: Running,
    _sandbox: Sandbox,
}

impl Server {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let image = sandbox.write(
            "disk.img",
            vec![0x5a; usize::try_from(MEDIA).expect("small")],
        );
        sandbox.write("exports", format!("127.0.0.1 RW {}\n", image.display()));
        let port = free_port();
        let text = port.to_string();
        let ggated = sandbox.spawn("ggated", ["-v", "-p", &text, "-F", "pid", "exports"]);
        let address = ([127, 0, 0, 1], port).into();
        wait_for_port(address);
        Self {
            address,
            path: ExportPath::new(image).expect("a short path"),
            ggated,
            _sandbox: sandbox,
        }
    }

    /// One of a session's two connections.
    fn connection(&self, token: u32, direction: Direction) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a socket option");
        exchange_versions(&mut stream, false).expect("a version");
        let initial = ClientInitial {
            path: self.path.clone(),
            // Readers do not replace one another.
            access: Access::ReadOnly,
            direct: false,
            direction,
            token: Token(token),
        };
        exchange_initial(&mut stream, &initial, None).expect("an answer");
        stream
    }

    fn session(&self, token: u32) -> Session {
        Session {
            replies: self.connection(token, Direction::Send),
            requests: self.connection(token, Direction::Recv),
        }
    }

    /// Resident memory in MiB.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.ggated.pid());
        let status = fs::read_to_string(Path::new(&path)).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = number.and_then(|n| n.parse().ok()).expect("VmRSS in kB");
        kib >> 10
    }
}

struct Session {
    requests: TcpStream,
    replies: TcpStream,
}

impl Session {
    fn ask(&mut self, number: u64, length: u32) -> std::io::Result<()> {
        let offset = number * u64::from(length) % MEDIA;
        let range = ByteRange::new(offset, length.into());
        let request = Request::new(Command::Read, range, Seq(number)).expect("a short one");
        self.requests.write_all(&request.encode())
    }

    fn read(&mut self, number: u64) {
        self.ask(number, BLOCK).expect("a connection");
        let mut reply = [0; Reply::SIZE + BLOCK as usize];
        self.replies.read_exact(&mut reply).expect("a reply");
        assert!(reply[Reply::SIZE..].iter().all(|&byte| byte == 0x5a));
    }
}

/// Those who only hold on to something.
struct Others {
    _idle: Vec<TcpStream>,
    _half_open: Vec<TcpStream>,
    _greedy: Session,
}

impl Others {
    fn new(server: &Server) -> Self {
        let connect = |_| TcpStream::connect(server.address).expect("a connection");
        let half = |token| server.connection(1000 + token, Direction::Send);
        Self {
            _idle: (0..IDLE).map(connect).collect(),
            _half_open: (0..HALF_OPEN).map(half).collect(),
            _greedy: greedy(server),
        }
    }
}

/// A client that asks until nothing is taken any more, and reads nothing.
fn greedy(server: &Server) -> Session {
    let mut session = server.session(999);
    let patience = Some(Duration::from_millis(200));
    session
        .requests
        .set_write_timeout(patience)
        .expect("a socket option");
    let mut number = 1;
    while session.ask(number, 128 << 10).is_ok() && number < 200_000 {
        number += 1;
    }
    session
}

/// Lets the threads at work end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn those_at_work_do_not_notice_those_who_are_not() {
    let server = Server::start();
    let (stop, pause) = (AtomicBool::new(false), AtomicBool::new(false));
    let done: Vec<AtomicU64> = (0..SESSIONS).map(|_| AtomicU64::new(0)).collect();
    let work = |token: u32, done: &AtomicU64, mut session: Session| {
        let mut number = u64::from(token);
        while !stop.load(SeqCst) {
            if pause.load(SeqCst) {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            number += 1;
            session.read(number);
            done.fetch_add(1, SeqCst);
        }
    };
    let counts = || -> Vec<u64> { done.iter().map(|done| done.load(SeqCst)).collect() };
    let throughput = || {
        let (before, began) = (counts(), Instant::now());
        // Everybody goes on, and for long enough.
        wait_for("progress of every session", || {
            let progress = counts()
                .iter()
                .zip(&before)
                .all(|(now, before)| now > before);
            (progress && began.elapsed() >= SLICE).then_some(())
        });
        let total = counts().iter().sum::<u64>() - before.iter().sum::<u64>();
        u64::try_from(u128::from(total) * 1_000_000 / began.elapsed().as_micros()).expect("small")
    };
    let attempt = || {
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..SLICES {
            figures[0].push(throughput());
            // That hundreds of handshakes cost something is not the question.
            pause.store(true, SeqCst);
            let others = Others::new(&server);
            pause.store(false, SeqCst);
            figures[1].push(throughput());
            let memory = server.memory();
            assert!(memory < MEMORY, "ggated has {memory} MiB");
            drop(others);
        }
        let [alone, disturbed] = figures.map(median);
        println!("{alone} requests/s alone, {disturbed} beside the others");
        disturbed * 100 / alone
    };
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for (token, done) in (0..SESSIONS).zip(&done) {
            let session = server.session(token);
            let work = &work;
            scope.spawn(move || work(token, done, session));
        }
        let fast_enough = (0..ATTEMPTS).any(|_| attempt() >= LEFT);
        assert!(fast_enough, "less than {LEFT} percent, {ATTEMPTS} times");
    });
}

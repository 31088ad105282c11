//! Shows that a daemon allocates nothing per request.
//!
//! A test program (without cargo's harness) makes [`Counting`] its allocator
//! and is both: started by cargo it is the test, which starts the program once
//! more as the daemon, beside the other one and a client.
#![allow(unsafe_code)]

use crate::nbd::{Client, FLUSH, READ, WRITE};
use crate::process::{Running, Sandbox, free_port, wait_for, wait_for_port};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The environment variable that makes the test program the daemon: the socket
/// on which it tells how often it has allocated.
const MARK: &str = "HIGHGATE_COUNTED";

/// Bytes and depth of the request patterns.
pub const PATTERNS: [(u32, u32); 3] = [(4 << 10, 32), (128 << 10, 8), (1 << 20, 2)];

/// Bytes of one round, many times what can be in flight.
pub const ROUND: u32 = 16 << 20;

/// Flushes of one round.
const FLUSHES: u32 = 64;

/// Rounds until one must have passed without an allocation: tables grow to
/// their size at first, and disk threads come and go.
const ROUNDS: u32 = 50;

/// The system's allocator, counting.
#[derive(Debug)]
pub struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !EXEMPT.get() {
        COUNT.fetch_add(1, SeqCst);
    }
}

// SAFETY: every call goes to the system's allocator as it came; the counters
// neither allocate nor have destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Whether this process is the daemon, which tells from now on how often it
/// allocates.
pub fn is_counted() -> bool {
    let Some(socket) = std::env::var_os(MARK) else {
        return false;
    };
    // One that ran before may have left it.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        EXEMPT.set(true);
        for asked in listener.incoming() {
            let count = COUNT.load(SeqCst).to_le_bytes();
            asked.and_then(|mut asked| asked.write_all(&count))?;
        }
        std::io::Result::Ok(())
    });
    true
}

/// A daemon that is the test program.
#[derive(Debug)]
pub struct Counted(PathBuf);

impl Counted {
    /// One that will tell here.
    pub const fn at(socket: PathBuf) -> Self {
        Self(socket)
    }

    /// Makes a command that runs the [`program`] start it.
    pub fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.0);
    }

    /// How often it has allocated.
    pub fn allocations(&self) -> u64 {
        let mut count = [0; 8];
        UnixStream::connect(&self.0)
            .and_then(|mut daemon| daemon.read_exact(&mut count))
            .expect("a counting daemon");
        u64::from_le_bytes(count)
    }

    /// Asserts that a round soon passes in which it allocates nothing.
    pub fn stops_allocating(&self, what: &str, mut round: impl FnMut()) {
        // Without its allocator it would never have.
        assert!(self.allocations() > 0, "{}: counts", self.0.display());
        let mut counts = (0..ROUNDS).map(|_| {
            let before = self.allocations();
            round();
            self.allocations() - before
        });
        let none = counts.any(|count| count == 0);
        assert!(
            none,
            "{}: every round of {what} allocates",
            self.0.display()
        );
    }
}

/// The test program as a command.
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the path of this test")
}

/// The main function of the test program for the daemon called `name`, which is
/// `ggatec` or `ggated`; `daemon` runs it.
pub fn main(name: &str, daemon: impl FnOnce(Vec<OsString>) -> ExitCode) -> ExitCode {
    if is_counted() {
        return daemon(std::env::args_os().collect());
    }
    test(name);
    ExitCode::SUCCESS
}

fn test(name: &str) {
    let sandbox = Sandbox::new();
    let counted = Counted::at(sandbox.file(name));
    let start = |program: &str, args: &[&str]| {
        let mut command = if program == name {
            let mut command = sandbox.command(self::program());
            counted.mark(&mut command);
            command
        } else {
            sandbox.command(program)
        };
        Running::start(command.args(args))
    };
    let image = sandbox.write("disk.img", vec![0x5a; ROUND as usize]);
    let image = image.to_str().expect("a path in UTF-8");
    sandbox.write("exports", format!("127.0.0.1 RW {image}\n"));
    let port = free_port();
    let text = port.to_string();
    let _server = start("ggated", &["-v", "-p", &text, "-F", "pid", "exports"]);
    wait_for_port(([127, 0, 0, 1], port).into());
    let client = start("ggatec", &["create", "-v", "-p", &text, "127.0.0.1", image]);
    client.wait_for_line("ggate0");
    let provider = sandbox.run_dir().join("ggate0");
    wait_for("a provider", || provider.exists().then_some(()));
    let mut nbd = Client::connect(&provider).expect("a provider");
    for (bytes, depth) in PATTERNS {
        for command in [READ, WRITE] {
            let what = format!("requests of {bytes} bytes (command {command})");
            counted.stops_allocating(&what, || round(&mut nbd, command, bytes, depth));
        }
    }
    counted.stops_allocating("flushes", || flushes(&mut nbd));
    println!("{name}: rounds without an allocation in every pattern");
}

/// Flushes, one after the other.
pub fn flushes(client: &mut Client) {
    for _ in 0..FLUSHES {
        let reply = client.call(FLUSH, 0, 0, 0, &[]).expect("a reply");
        assert_eq!(reply.error, 0);
    }
}

/// Requests over the whole image, `depth` of them in flight.
pub fn round(client: &mut Client, command: u16, bytes: u32, depth: u32) {
    let payload = vec![0xa5; bytes as usize];
    let payload = if command == WRITE { &payload[..] } else { &[] };
    let finish = |client: &mut Client| {
        let reply = client.reply().expect("a reply");
        assert_eq!(reply.error, 0);
    };
    let count = ROUND / bytes;
    for number in 0..count {
        if number >= depth {
            finish(client);
        }
        let offset = u64::from(number) * u64::from(bytes);
        client
            .send(command, 0, offset, bytes, payload)
            .expect("a request");
    }
    (0..depth).for_each(|_| finish(client));
}

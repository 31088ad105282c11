//! Shows that a daemon allocates nothing per request.
//!
//! A test program (without cargo's harness) makes [`Counting`] its allocator
//! and is both: started by cargo it is the test, which starts the program once
//! more as the daemon, beside the other one and a client.
#![allow(unsafe_code)]

use crate::nbd::{Client, READ, WRITE};
use crate::process::{Running, Sandbox, free_port, wait_for, wait_for_port};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The environment variable that makes the test program the daemon.
const MARK: &str = "HIGHGATE_COUNTED";

/// Where the daemon tells how often it has allocated, in its working directory.
const SOCKET: &str = "allocations";

/// Bytes and depth of the request patterns.
const PATTERNS: [(u32, u32); 3] = [(4 << 10, 32), (128 << 10, 8), (1 << 20, 2)];

/// Bytes of one round, many times what can be in flight.
const ROUND: u32 = 16 << 20;

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

/// The main function of the test program for the daemon called `name`, which is
/// `ggatec` or `ggated`; `daemon` runs it.
pub fn main(name: &str, daemon: impl FnOnce(Vec<OsString>) -> ExitCode) -> ExitCode {
    if std::env::var_os(MARK).is_none() {
        test(name);
        return ExitCode::SUCCESS;
    }
    let listener = UnixListener::bind(SOCKET).expect("a socket");
    std::thread::spawn(move || {
        EXEMPT.set(true);
        for asked in listener.incoming() {
            let count = COUNT.load(SeqCst).to_le_bytes();
            asked.and_then(|mut asked| asked.write_all(&count))?;
        }
        std::io::Result::Ok(())
    });
    daemon(std::env::args_os().collect())
}

fn test(counted: &str) {
    let sandbox = Sandbox::new();
    let start = |name: &str, args: &[&str]| {
        let mut command = if name == counted {
            let own = std::env::current_exe().expect("the path of this test");
            let mut command = sandbox.command(own);
            command.env(MARK, "1");
            command
        } else {
            sandbox.command(name)
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
            let mut counts = (0..ROUNDS).map(|_| {
                let before = allocations(&sandbox);
                round(&mut nbd, command, bytes, depth);
                allocations(&sandbox) - before
            });
            let least = counts.find(|&count| count == 0);
            assert!(
                least.is_some(),
                "{counted}: every round of requests of {bytes} bytes (command {command}) allocates"
            );
        }
    }
    println!("{counted}: rounds without an allocation in every pattern");
}

/// How often the daemon has allocated.
fn allocations(sandbox: &Sandbox) -> u64 {
    let mut count = [0; 8];
    UnixStream::connect(sandbox.file(SOCKET))
        .and_then(|mut daemon| daemon.read_exact(&mut count))
        .expect("a counting daemon");
    u64::from_le_bytes(count)
}

/// Requests over the whole image, `depth` of them in flight.
fn round(client: &mut Client, command: u16, bytes: u32, depth: u32) {
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

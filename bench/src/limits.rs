//! What this machine can do at most: the same bytes, moved by the system calls
//! that they need and nothing else; and what a digest costs.

use crate::Options;
use crate::figures::{Cost, Figures};
use crate::stats::Latency;
use hast_core::payload::{Checksum, Digest};
use nix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use testkit::process::Sandbox;

/// Bytes of a request, and of its reply.
const MESSAGE: usize = 4 << 10;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// MiB of the file that is copied.
const COPIED: u32 = 512;

/// Seconds of processor time that a digest is measured for.
const DIGESTING: f64 = 0.05;

/// Both limits, by round.
pub(crate) fn measure(options: &Options) -> Figures {
    let sandbox = Sandbox::new();
    let files = ["from", "to"].map(|name| sandbox.write(name, vec![0x5a; COPIED as usize * PIECE]));
    let mut figures = Figures::default();
    for _ in 0..options.runs {
        let latency = echo(Duration::from_secs(options.seconds.into()));
        let cost = Cost {
            latency: Some(latency),
            used: None,
        };
        figures.add_throughput("echo 4k", "requests/s", 1e6 / latency.mean, cost);
        let took = copy(&files[0], &files[1], COPIED);
        figures.add("copy 1m", "MB/s", mb_per_second(COPIED, took));
    }
    figures
}

pub(crate) fn mb_per_second(mib: u32, took: Duration) -> f64 {
    f64::from(mib) * 1.048_576 / took.as_secs_f64()
}

/// Sends messages over TCP, one at a time, to a thread that sends them back;
/// how long each took.
fn echo(time: Duration) -> Latency {
    let (mut client, mut server) = connection();
    let mut message = [0x5a; MESSAGE];
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut message = [0; MESSAGE];
            while server.read_exact(&mut message).is_ok() {
                server.write_all(&message).expect("a client");
            }
        });
        let mut times = Vec::new();
        let began = Instant::now();
        while began.elapsed() < time {
            let sent = Instant::now();
            client.write_all(&message).expect("a server");
            client.read_exact(&mut message).expect("a server");
            times.push(sent.elapsed());
        }
        // The server's thread ends with the connection.
        drop(client);
        Latency::of(times)
    })
}

/// Reads pieces of a file and sends them over TCP to a thread that writes them
/// to another file; how long that took.
pub(crate) fn copy(from: &Path, to: &Path, mib: u32) -> Duration {
    let (mut sender, mut receiver) = connection();
    let from = File::open(from).expect("a file");
    let to = OpenOptions::new().write(true).open(to).expect("a file");
    let offsets = || (0..mib).map(|n| u64::from(n) << 20);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = vec![0; PIECE];
            for offset in offsets() {
                receiver.read_exact(&mut piece).expect("a sender");
                to.write_all_at(&piece, offset).expect("room for the file");
            }
        });
        let mut piece = vec![0; PIECE];
        for offset in offsets() {
            from.read_exact_at(&mut piece, offset).expect("a file");
            sender.write_all(&piece).expect("a receiver");
        }
    });
    began.elapsed()
}

/// Seconds of processor time that hastd's SHA-256 of so many bytes takes.
pub(crate) fn sha256(bytes: u32) -> f64 {
    let data = vec![0x5a; bytes as usize];
    let now = || {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        Duration::from(time.expect("a thread's clock")).as_secs_f64()
    };
    let (began, mut digests) = (now(), 0);
    while now() - began < DIGESTING {
        black_box(Digest::of(Checksum::Sha256, black_box(&data)));
        digests += 1;
    }
    (now() - began) / f64::from(digests)
}

/// Both ends of a connection over TCP.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).expect("our own listener");
    let (server, _) = listener.accept().expect("our own client");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("a connection");
    }
    (client, server)
}

//! Silence, babble and noise at both sockets: nobody else notices.

use crate::node::{Hastd, Node, PLAIN, request};
use hast_core::message::Command;
use hast_core::role::Role;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::noise::Noise;
use testkit::process::{DEADLINE, wait_for};

/// What hastctl may wait at most.
const PATIENCE: Duration = Duration::from_millis(100);

fn hastd() -> Hastd {
    let node = Node::new().with("data", "tcp4://127.0.0.1");
    let hastd = node.start();
    hastd.role_ready(Role::Primary, "data");
    hastd
}

fn peer(hastd: &Hastd) -> String {
    hastd.node.address.strip_prefix("tcp4://").unwrap().into()
}

/// Resident memory in KiB, and descriptors.
#[cfg(target_os = "linux")]
fn footprint(hastd: &Hastd) -> (u64, usize) {
    let proc = format!("/proc/{}", hastd.running.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    let descriptors = std::fs::read_dir(format!("{proc}/fd")).unwrap().count();
    (rss, descriptors)
}

#[cfg(not(target_os = "linux"))]
fn footprint(_: &Hastd) -> (u64, usize) {
    (0, 0)
}

/// A flood of half messages and noise, until told to stop.
fn babble(peer: &str, control: &Path, stop: &AtomicBool) {
    let mut noise = Noise::new(1);
    while !stop.load(Ordering::Relaxed) {
        let bytes = noise.bytes(200);
        let half = [&[2, 0, 200, 0, 0], &bytes[..]].concat();
        for bytes in [&bytes, &half] {
            // Who is full may turn us away.
            if let Ok(mut stream) = TcpStream::connect(peer) {
                let _ = stream.write_all(bytes);
            }
            if let Ok(mut stream) = UnixStream::connect(control) {
                let _ = stream.write_all(bytes);
            }
        }
    }
}

/// The measure. The machine may be busy with other things, so only a
/// daemon that is always too slow fails.
#[test]
fn two_hundred_silent_and_babbling_connections_slow_no_answer() {
    let hastd = hastd();
    let (address, control) = (peer(&hastd), hastd.node.sandbox.file("ctl"));
    let before = footprint(&hastd);
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let also_silent: Vec<_> = (0..200).map(|_| hastd.connect()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let babbling = std::thread::spawn(move || babble(&address, &control, &stopping));

    let deadline = Instant::now() + DEADLINE;
    let mut worst = Duration::MAX;
    while worst > PATIENCE {
        assert!(Instant::now() < deadline, "answers take {worst:?}");
        worst = Duration::ZERO;
        for _ in 0..20 {
            let begin = Instant::now();
            assert_eq!(hastd.status("data").status, "degraded");
            worst = worst.max(begin.elapsed());
        }
        println!("worst of 20 answers: {worst:?}");
    }
    let meanwhile = footprint(&hastd);
    assert!(
        meanwhile.0 < before.0 + (32 << 10),
        "{meanwhile:?}, was {before:?}"
    );
    stop.store(true, Ordering::Relaxed);
    babbling.join().unwrap();
    drop((silent, also_silent));
    wait_for("the descriptors to be closed", || {
        (footprint(&hastd).1 <= before.1 + 2).then_some(())
    });
    // The log stays readable.
    let lines = hastd.running.stderr().lines().count();
    assert!(lines < 1000, "{lines} lines");
}

#[test]
fn noise_at_both_sockets_harms_nobody() {
    let hastd = hastd();
    let control = hastd.node.sandbox.file("ctl");
    let good = request(Command::Status, &["data", "all", "nosuch"], PLAIN);
    for seed in 0..200 {
        let noise = &mut Noise::new(seed);
        let bytes = match seed % 3 {
            0 => {
                let length = noise.below(3000);
                noise.bytes(length)
            }
            _ => noise.spoil(&good),
        };
        if seed % 2 == 0 {
            let mut stream = TcpStream::connect(peer(&hastd)).unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            let mut stream = UnixStream::connect(&control).unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(hastd.status("data").status, "degraded");
    hastd.wait_for_line("receiving the first message: ");
    hastd.wait_for_line("Control socket: receiving a request: ");
}

/// K42: base allocates what a header claims, up to 4 GiB.
#[test]
fn a_claimed_length_is_not_believed() {
    let hastd = hastd();
    let before = footprint(&hastd);
    let header = [2, 0xff, 0xff, 0xff, 0xff];
    for _ in 0..50 {
        let mut stream = TcpStream::connect(peer(&hastd)).unwrap();
        stream.write_all(&header).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        let mut stream = hastd.connect();
        stream.write_all(&header).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    let after = footprint(&hastd);
    assert!(after.0 < before.0 + (8 << 10), "{after:?}, was {before:?}");
    hastd.wait_for_line("message of 4294967295 bytes, more than 65536 are not accepted");
}

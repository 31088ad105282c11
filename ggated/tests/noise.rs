//! Anything but the protocol, at every stage of it: the server lives, holds no
//! more than before, and another client's session goes on.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{Client, Server, greet, make_file, request, start};
use ggate::gate::Access;
use ggate::wire::{Direction, Hello, InstanceId, Version};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use testkit::noise::Noise;
use testkit::process::{Sandbox, wait_for};

const READ: u8 = 0;
const WRITE: u8 = 1;

/// A server of `disk`, which the witness uses, and of `other`.
fn server() -> (Server, Client) {
    let sandbox = common::sandbox_with_disk(1 << 20);
    make_file(&sandbox, "other", 1 << 20);
    let server = start(sandbox, "127.0.0.1 RW DIR/disk\n127.0.0.1 RW DIR/other\n");
    let mut witness = server.session(Access::ReadWrite, 1);
    assert_eq!(witness.ask(request(WRITE, 0, 512, 1), &[7; 512]).0, 0);
    (server, witness)
}

fn still_serves(witness: &mut Client, seq: u64) {
    let read = witness.ask(request(READ, 0, 512, seq), &[]);
    assert_eq!(read, (0, vec![7; 512]));
}

/// Sends what the server may have ceased to listen to, and leaves in one of
/// the ways in which clients leave.
fn send_and_leave(mut stream: TcpStream, bytes: &[u8], noise: &mut Noise) {
    let _ = stream.write_all(bytes);
    match noise.below(3) {
        0 => drop(stream),
        1 => {
            let reset = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            reset.unwrap();
        }
        _ => {
            // It may have closed the connection already.
            let _ = stream.shutdown(Shutdown::Write);
            stream
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// Resident memory in KiB, and descriptors.
#[cfg(target_os = "linux")]
fn footprint(server: &Server) -> (u64, usize) {
    let proc = format!("/proc/{}", server.running.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    let descriptors = std::fs::read_dir(format!("{proc}/fd")).unwrap().count();
    (rss, descriptors)
}

#[cfg(not(target_os = "linux"))]
fn footprint(_: &Server) -> (u64, usize) {
    (0, 0)
}

/// `half_open` sessions may still wait for their second connections.
fn leaves_no_trace(server: &Server, before: (u64, usize), half_open: usize) {
    wait_for("the descriptors to be closed", || {
        (footprint(server).1 <= before.1 + 2 * half_open).then_some(())
    });
    let after = footprint(server).0;
    assert!(
        after < before.0 + (48 << 10),
        "{after} KiB, was {}",
        before.0
    );
}

#[test]
fn noise_at_every_stage_of_the_handshake() {
    let (server, mut witness) = server();
    let before = footprint(&server);
    for seed in 0..120 {
        let noise = &mut Noise::new(seed);
        let mut stream = server.connect();
        let direction = [Direction::Send, Direction::Recv][noise.below(2)];
        let access = [Access::ReadOnly, Access::ReadWrite][noise.below(2)];
        let token = u32::try_from(seed).unwrap();
        let initial = server.initial_for("other", access, direction, token);
        let hello = Hello {
            id: InstanceId([3; 16]),
        };
        let bytes = match seed % 4 {
            0 => {
                let length = noise.below(2000);
                noise.bytes(length)
            }
            1 => noise.spoil(&Version::EXTENDED.encode()),
            2 => {
                stream.write_all(&Version::PLAIN.encode()).unwrap();
                noise.spoil(&initial.encode())
            }
            _ => {
                stream.write_all(&Version::EXTENDED.encode()).unwrap();
                noise.spoil(&[&initial.encode()[..], &hello.encode()].concat())
            }
        };
        send_and_leave(stream, &bytes, noise);
        still_serves(&mut witness, 10 + seed);
    }
    // As many as one address may have.
    leaves_no_trace(&server, before, 64);
}

#[test]
fn noise_in_a_session() {
    let (server, mut witness) = server();
    let before = footprint(&server);
    for seed in 0..60 {
        let noise = &mut Noise::new(1000 + seed);
        let token = 100 + u32::try_from(seed).unwrap();
        let connect = |direction| {
            let initial = server.initial_for("other", Access::ReadWrite, direction, token);
            greet(server.connect(), &initial).0
        };
        let replies = connect(Direction::Send);
        let requests = connect(Direction::Recv);
        let mut bytes = Vec::new();
        for seq in 0..20 {
            let command = u8::try_from(noise.below(5)).unwrap();
            let offset = 512 * noise.below(3000) as u64;
            let length = 512 * u32::try_from(noise.below(64)).unwrap();
            let header = request(command, offset, length, seq).encode();
            bytes.extend(match noise.below(8) {
                0 => noise.spoil(&header),
                _ => header.to_vec(),
            });
            if command == WRITE {
                bytes.extend(noise.bytes(length as usize));
            }
        }
        if noise.below(4) == 0 {
            bytes.truncate(noise.below(bytes.len()));
        }
        // What is said on the wrong connection is not even read.
        let _ = (&replies).write_all(&noise.bytes(100));
        send_and_leave(requests, &bytes, noise);
        still_serves(&mut witness, 10 + seed);
    }
    leaves_no_trace(&server, before, 0);
}

#[test]
fn an_exports_file_of_noise_is_refused_with_its_place() {
    for seed in 0..10 {
        let mut noise = Noise::new(2000 + seed);
        let sandbox = Sandbox::new();
        let good = b"127.0.0.1 RO /x\n".repeat(20);
        let text = match seed % 2 {
            0 => noise.bytes(4000),
            _ => [&good[..], &noise.bytes(40)].concat(),
        };
        sandbox.write("exports", &text);
        let arguments = ["-v", "-a", "127.0.0.1", "-p", "0", "-F", "pid", "exports"];
        let refused = sandbox.run("ggated", arguments).expect_code(1);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("line ") && said.contains("column "), "{said}");
    }
}

#[test]
fn an_endless_exports_file_is_refused_and_not_read() {
    let sandbox = Sandbox::new();
    let refused = sandbox.run("ggated", ["-v", "-F", "pid", "/dev/zero"]);
    let refused = refused.expect_code(1);
    assert!(refused.stdout.contains("/dev/zero"), "{refused:?}");
}

#[test]
fn absurd_numbers_are_told_with_their_option() {
    let sandbox = Sandbox::new();
    for (option, value) in [("-p", "99999"), ("-p", "-1"), ("-R", "0"), ("-S", "1e9")] {
        let refused = sandbox.run("ggated", [option, value]).expect_code(1);
        let told = format!("{option} {value}: ");
        assert!(refused.stderr.contains(&told), "{refused:?}");
    }
}

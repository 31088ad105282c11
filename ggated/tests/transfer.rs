//! Requests against a whole ggated: results, limits, order, ends.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{Client, greet_extended, request, simple, start};
use ggate::gate::Access;
use ggate::wire::{Direction, InstanceId, Request};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use testkit::process::wait_for;

const READ: u8 = 0;
const WRITE: u8 = 1;
const FLUSH: u8 = 3;
const MEDIA_SIZE: u64 = 1 << 20;
const EINVAL: u16 = 22;
const EOPNOTSUPP: u16 = 45;
const EBADF: u16 = 9;

#[test]
fn what_is_written_is_read_and_in_the_file() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    let data: Vec<u8> = (0..=255).cycle().take(131_072).collect();
    assert_eq!(client.ask(request(WRITE, 65_536, 131_072, 1), &data).0, 0);
    assert_eq!(client.ask(request(FLUSH, MEDIA_SIZE, 0, 2), &[]).0, 0);
    let (error, read) = client.ask(request(READ, 65_536, 131_072, 3), &[]);
    assert!(error == 0 && read == data);
    let file = std::fs::read(server.sandbox.file("disk")).unwrap();
    assert!(file[65_536..].starts_with(&data));
    assert_eq!(file.len() as u64, MEDIA_SIZE);
}

/// 12.1's session process aborted for each of these.
#[test]
fn bad_requests_are_answered_and_the_next_one_is_found() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    for (request, payload, expected) in [
        (request(READ, MEDIA_SIZE, 512, 1), 0, EINVAL),
        (request(READ, MEDIA_SIZE - 512, 1024, 2), 0, EINVAL),
        (request(READ, u64::MAX - 511, 1024, 3), 0, EINVAL),
        (request(READ, 100, 512, 4), 0, EINVAL),
        (request(READ, 0, 100, 5), 0, EINVAL),
        (request(READ, 0, u32::MAX, 6), 0, EINVAL),
        (request(WRITE, MEDIA_SIZE, 512, 7), 512, EINVAL),
        (request(WRITE, 3, 1000, 8), 1000, EINVAL),
        (request(WRITE, 0, 2 << 20, 9), 2 << 20, EINVAL),
        (request(2, 0, 0, 10), 0, EOPNOTSUPP),
        (request(2, 0, 4096, 11), 0, EOPNOTSUPP),
        (request(255, u64::MAX, u32::MAX, 12), 0, EOPNOTSUPP),
    ] {
        let result = client.ask(request, &vec![1; payload]);
        assert_eq!(result, (expected, vec![]), "{request:?}");
    }
    assert_eq!(
        client.ask(request(READ, 0, 512, 99), &[]),
        (0, vec![0; 512])
    );
}

#[test]
fn requests_that_are_too_long_are_refused_without_being_kept() {
    let sandbox = common::sandbox_with_disk(256 << 20);
    let server = start(sandbox, "127.0.0.1 RW DIR/disk\n");
    let mut client = server.session(Access::ReadWrite, 1);
    let longest: u32 = 32 << 20;
    let payload = vec![7; (longest + 512) as usize];
    assert_eq!(
        client.ask(request(READ, 0, longest + 512, 1), &[]).0,
        EINVAL
    );
    assert_eq!(
        client.ask(request(WRITE, 0, longest + 512, 2), &payload).0,
        EINVAL
    );
    let longest_payload = &payload[..longest as usize];
    assert_eq!(
        client.ask(request(WRITE, 0, longest, 3), longest_payload).0,
        0
    );
    let (error, read) = client.ask(request(READ, 0, longest, 4), &[]);
    assert!(error == 0 && read == longest_payload);
}

/// What clients of FreeBSD 12.1 send for a flush.
#[test]
fn empty_requests_at_the_end_of_the_medium_succeed() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(
        client.ask(request(WRITE, MEDIA_SIZE, 0, 1), &[]),
        (0, vec![])
    );
    assert_eq!(
        client.ask(request(READ, MEDIA_SIZE, 0, 2), &[]),
        (0, vec![])
    );
    assert_eq!(
        client.ask(request(WRITE, MEDIA_SIZE + 512, 0, 3), &[]).0,
        EINVAL
    );
}

#[test]
fn a_medium_is_used_as_it_was_opened() {
    let server = simple();
    let mut reader = server.session(Access::ReadOnly, 1);
    assert_eq!(reader.ask(request(WRITE, 0, 512, 1), &[1; 512]).0, EBADF);
    assert_eq!(reader.ask(request(FLUSH, MEDIA_SIZE, 0, 2), &[]).0, 0);
    let mut writer = server.session(Access::WriteOnly, 2);
    assert_eq!(writer.ask(request(READ, 0, 512, 1), &[]).0, EBADF);
    assert_eq!(writer.ask(request(WRITE, 0, 512, 2), &[1; 512]).0, 0);
}

/// Far more than the session may hold, sent without reading a reply: the
/// server makes the client wait instead of growing, and nothing is lost.
#[test]
fn a_client_that_does_not_read_is_made_to_wait_and_then_gets_everything() {
    let sandbox = common::sandbox_with_disk(64 << 20);
    let server = start(sandbox, "127.0.0.1 RW DIR/disk\n");
    let mut client = server.session(Access::ReadWrite, 1);
    let count = 3000_u64;
    let mut requests = client.requests.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for seq in 0..count {
            let offset = seq % 500 * 131_072;
            requests
                .write_all(&request(READ, offset, 131_072, seq).encode())
                .unwrap();
        }
    });
    sender.join().unwrap();
    let mut missing: BTreeSet<u64> = (0..count).collect();
    for _ in 0..count {
        let (reply, data) = client.receive();
        assert!(reply.error.is_none() && data.len() == 131_072);
        assert!(missing.remove(&reply.request.seq.0), "answered twice");
    }
    assert!(missing.is_empty());
    if cfg!(target_os = "linux") {
        let status = format!("/proc/{}/status", server.running.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .unwrap();
        let peak: u64 = peak.trim_end_matches("kB").trim().parse().unwrap();
        assert!(peak < 150 << 10, "held {peak} KiB");
    }
}

#[test]
fn many_requests_in_flight_are_each_answered_once() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    let mut frames = Vec::new();
    let mut seed = 1_u64;
    for seq in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let sector = (seed >> 33) % 2040;
        let length = 512 * (1 + u32::try_from((seed >> 50) % 8).unwrap());
        let command = [READ, WRITE, READ, WRITE, FLUSH][usize::try_from(seed >> 60).unwrap() % 5];
        let request: Request = match command {
            FLUSH => request(FLUSH, MEDIA_SIZE, 0, seq),
            _ => request(command, sector * 512, length, seq),
        };
        frames.extend(request.encode());
        frames.extend(vec![7; request.payload_len() as usize]);
    }
    let mut requests = client.requests.try_clone().unwrap();
    let sender = std::thread::spawn(move || requests.write_all(&frames).unwrap());
    let mut missing: BTreeSet<u64> = (0..20_000).collect();
    while !missing.is_empty() {
        let (reply, _) = client.receive();
        assert_eq!(reply.error, None);
        assert!(missing.remove(&reply.request.seq.0), "answered twice");
    }
    sender.join().unwrap();
}

/// 12.1 executed a WRITE whose payload was cut short with whatever memory held.
#[test]
fn a_write_cut_short_is_not_executed() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    client.send(request(WRITE, 0, 4096, 1), &[7; 2048]);
    client.requests.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.replies.read(&mut [0]).unwrap(), 0);
    server.running.wait_for_line("in the middle of a request");
    let file = std::fs::read(server.sandbox.file("disk")).unwrap();
    assert!(file.iter().all(|byte| *byte == 0));
}

#[test]
fn headers_may_arrive_in_pieces() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    let bytes = [
        &request(WRITE, 0, 512, 1).encode()[..],
        &[9; 512],
        &request(READ, 0, 512, 2).encode(),
    ]
    .concat();
    for piece in bytes.chunks(7) {
        client.requests.write_all(piece).unwrap();
    }
    assert_eq!(client.receive().0.error, None);
    assert_eq!(client.receive().1, vec![9; 512]);
}

/// The connection the server sends on is only noticed when it is written to;
/// the other one tells at once.
#[test]
fn a_session_ends_when_the_client_goes() {
    let server = simple();
    drop(server.session(Access::ReadWrite, 1));
    server.running.wait_for_line("session closed by the client");
}

/// A client that comes back (base's: same address, path and write access)
/// replaces its old session, whose connections may look alive for ever.
#[test]
fn a_client_that_comes_back_ends_its_old_session() {
    let server = simple();
    let mut old = server.session(Access::ReadWrite, 1);
    let mut reader = server.session(Access::ReadOnly, 2);
    let mut new = server.session(Access::ReadWrite, 3);
    assert_eq!(old.replies.read(&mut [0]).unwrap(), 0);
    server.running.wait_for_line("came back with a new session");
    assert_eq!(new.ask(request(WRITE, 0, 512, 1), &[5; 512]).0, 0);
    assert_eq!(reader.ask(request(READ, 0, 512, 1), &[]), (0, vec![5; 512]));
}

#[test]
fn threads_carry_base_s_names() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(READ, 0, 512, 1), &[]).0, 0);
    if cfg!(target_os = "linux") {
        let tasks = format!("/proc/{}/task", server.running.pid());
        let names = || -> BTreeSet<String> {
            let tasks = std::fs::read_dir(&tasks).unwrap();
            tasks
                .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
                .map(|name| name.trim().to_owned())
                .collect()
        };
        wait_for("all names", || {
            let names = names();
            let all = ["recvtd", "sendtd", "disktd"];
            all.iter().all(|name| names.contains(*name)).then_some(())
        });
    }
}

/// Between programs of ours the instance decides, not the address: two gates of
/// one host live side by side, and a reader that comes back is known, too.
#[test]
fn instances_tell_clients_of_one_address_apart() {
    let server = simple();
    let session = |access, token, instance| {
        let ask = |direction| {
            let initial = server.initial(access, direction, token);
            let id = InstanceId([instance; 16]);
            let (stream, answer, _) = greet_extended(server.connect(), &initial, id);
            assert!(answer.result.is_ok());
            stream
        };
        Client {
            replies: ask(Direction::Send),
            requests: ask(Direction::Recv),
        }
    };
    let mut writers = [1, 2].map(|n| session(Access::ReadWrite, n.into(), n));
    for writer in &mut writers {
        assert_eq!(writer.ask(request(WRITE, 0, 512, 1), &[1; 512]).0, 0);
    }
    let mut old = session(Access::ReadOnly, 3, 3);
    let mut new = session(Access::ReadOnly, 4, 3);
    assert_eq!(old.replies.read(&mut [0]).unwrap(), 0);
    assert_eq!(new.ask(request(READ, 0, 512, 1), &[]).0, 0);
    for writer in &mut writers {
        assert_eq!(writer.ask(request(READ, 0, 512, 2), &[]).0, 0);
    }
}

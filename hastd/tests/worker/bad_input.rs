//! What a worker is given that makes no sense: a clear error, and nothing is
//! overwritten.

use crate::harness::{Nodes, Worker, connect, entries, settings, tcp};
use hast::ipc::{Event, FromWorker};
use hast_core::frame;
use hast_core::message::{Opening, Step1Reply};
use hast_core::primary::Replication;
use hast_core::units::{Token, Version};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use testkit::nbd::Client;
use testkit::noise::Noise;
use testkit::process::wait_for;

/// `EX_NOINPUT`.
const NO_INPUT: i32 = 66;

/// Starts a worker over this content; it must refuse, and leave it alone.
fn refuses(content: &[u8], words: &[&str]) {
    let nodes = Nodes::new(1 << 20);
    std::fs::write(&nodes.a, content).unwrap();
    for primary in [true, false] {
        let settings = settings(Replication::Fullsync);
        let mut worker = Worker::start(&nodes.sandbox, &nodes.a, primary, settings);
        let error = worker.wait("an error", |message| match message {
            FromWorker::Log { text, .. } if text.contains("a.img") => Some(text.clone()),
            _ => None,
        });
        for word in words {
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(worker.ended().code(), Some(NO_INPUT), "{error}");
        assert!(std::fs::read(&nodes.a).unwrap() == content);
    }
}

fn created(size: u64) -> Vec<u8> {
    std::fs::read(Nodes::new(size).a).unwrap()
}

#[test]
fn a_component_of_zeros_is_not_initialised() {
    refuses(
        &vec![0; 1 << 20],
        &["not initialised", "hastctl create data"],
    );
}

#[test]
fn what_is_no_component_is_not_taken_for_one() {
    refuses(&vec![0x5a; 1 << 20], &["hastctl create data"]);
    refuses(b"short", &["too small"]);
}

#[test]
fn a_component_of_another_resource_is_left_alone() {
    let mut content = created(1 << 20);
    let name = content
        .windows(5)
        .position(|bytes| bytes == b"data\0")
        .unwrap();
    content[name..name + 4].copy_from_slice(b"dato");
    // The checksum covers it.
    refuses(&content, &["damaged"]);
}

#[test]
fn metadata_that_were_torn_or_cut_are_left_alone() {
    let whole = created(1 << 20);
    for cut in [100, 200, 300] {
        let mut torn = whole.clone();
        torn[cut..4096].fill(0);
        refuses(&torn, &[]);
    }
    refuses(&whole[..1 << 19], &["do not fit"]);
}

#[test]
fn a_component_that_another_worker_has_is_not_shared() {
    let nodes = Nodes::new(1 << 20);
    let start = || {
        Worker::start(
            &nodes.sandbox,
            &nodes.a,
            false,
            settings(Replication::Fullsync),
        )
    };
    let mut first = start();
    first.ready();
    let mut second = start();
    second.wait("an error", |message| match message {
        FromWorker::Log { text, .. } if text.contains("locked") => Some(()),
        _ => None,
    });
    assert_eq!(second.ended().code(), Some(NO_INPUT));
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let line = |status: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    line(&status.unwrap()).unwrap()
}

#[test]
fn a_secondary_outlives_whatever_a_primary_sends() {
    let nodes = Nodes::new(1 << 20);
    let settings = || settings(Replication::Memsync);
    let mut secondary = Worker::start(&nodes.sandbox, &nodes.b, false, settings());
    secondary.ready();
    let before = std::fs::read(&nodes.b).unwrap();
    let mut noise = Noise::new(1);
    for round in 0..60 {
        let (mut requests, a) = tcp();
        let (_replies, b) = tcp();
        secondary.greet(a, b);
        let _answer = entries(&mut requests);
        let length = 1 + noise.below(2000);
        let mut bytes = noise.bytes(length);
        if round % 2 == 0 {
            // A header that promises much.
            bytes[0] = 2;
            bytes[1..].iter_mut().take(4).for_each(|byte| *byte = 0xff);
        }
        let _ = requests.write_all(&bytes);
        let _ = requests.shutdown(Shutdown::Write);
        // The link ends, at the latest here.
        let _ = requests.read_to_end(&mut Vec::new());
        secondary.event(Event::Disconnect);
    }
    assert!(resident(secondary.pid()) < 32 << 10);
    // Data behind the metadata block is as it was.
    assert!(std::fs::read(&nodes.b).unwrap()[4608..] == before[4608..]);
    // A primary of sound mind, and of the same resource, is welcome.
    std::fs::copy(&nodes.b, &nodes.a).unwrap();
    let mut primary = Worker::start(&nodes.sandbox, &nodes.a, true, settings());
    primary.ready();
    let _link = connect(&mut primary, &mut secondary);
    primary.event(Event::Connect);
}

#[test]
fn a_primary_outlives_whatever_a_secondary_answers() {
    let nodes = Nodes::new(1 << 20);
    let mut primary = Worker::start(
        &nodes.sandbox,
        &nodes.a,
        true,
        settings(Replication::Fullsync),
    );
    primary.ready();
    let mut noise = Noise::new(2);
    // In step 1.
    let attempt = primary.asks_to_connect();
    let (requests, mut a) = tcp();
    primary.connected(attempt, Some(requests));
    let _asked = entries(&mut a);
    let _ = a.write_all(&noise.bytes(500));
    drop(a);
    // It serves without a peer.
    let client = wait_for("the provider", || Client::connect(&nodes.socket()).ok());
    let mut client = client;
    assert_eq!(client.write(0, &[7; 4096]).unwrap(), 0);
    // In step 2.
    let attempt = primary.asks_to_connect();
    let (requests, mut a) = tcp();
    primary.connected(attempt, Some(requests));
    let asked = entries(&mut a);
    assert!(matches!(Opening::decode(&asked), Ok(Opening::Step1(_))));
    let accepted = Step1Reply::Accepted {
        version: Version::V2,
        token: Token([1; 16]),
        extensions: hast_core::message::Extensions::NONE,
    };
    let mut room = [0; 256];
    let length = accepted.encode(&mut room).unwrap();
    a.write_all(&room[..length]).unwrap();
    let attempt = primary.asks_to_connect();
    let (replies, mut b) = tcp();
    primary.connected(attempt, Some(replies));
    let _hello = entries(&mut b);
    let mut bytes = noise.bytes(frame::HEADER + 300);
    bytes[..frame::HEADER].copy_from_slice(&[2, 44, 1, 0, 0]);
    let _ = a.write_all(&bytes);
    primary.wait("the reason", |message| match message {
        FromWorker::Log { text, .. } if text.contains("step 2") => Some(()),
        _ => None,
    });
    assert_eq!(client.write(4096, &[8; 4096]).unwrap(), 0);
    assert_eq!(client.read(0, 4096).unwrap().unwrap(), [7; 4096]);
}

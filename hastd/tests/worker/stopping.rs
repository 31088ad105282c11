//! The end of a worker, in order and otherwise, and what it leaves behind.

use crate::harness::{Nodes, Pair, Worker, settings, start_of};
use crate::peers::{FakeSecondary, Verdict, node};
use hast::ipc::{Event, FromWorker, ToWorker};
use hast_core::message::Request;
use hast_core::primary::Replication;
use hast_core::role::SyncSource;
use hast_core::units::Version;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::nbd::{Client, WRITE};

/// `EX_TEMPFAIL`.
const TEMPORARY: i32 = 75;

fn alone(nodes: &Nodes) -> Worker {
    let mut worker = nodes.start(true, settings(Replication::Fullsync));
    let attempt = worker.asks_to_connect();
    worker.connected(attempt, None);
    worker
}

#[test]
fn a_stop_in_order_leaves_nothing_to_copy() {
    let pair = Pair::new(16 << 20, settings(Replication::Async));
    let mut client = pair.client();
    for n in 0..64 {
        let data = [1; 4096];
        client.send(WRITE, 0, n << 18, 4096, &data).unwrap();
    }
    // The last of them may not have been taken yet.
    for _ in 0..32 {
        assert_eq!(client.reply().unwrap().error, 0);
    }
    let Pair {
        nodes,
        primary,
        mut secondary,
        ..
    } = pair;
    assert!(primary.stop().success());
    secondary.event(Event::Disconnect);
    assert!(secondary.stop().success());
    nodes.assert_same();
    for component in [&nodes.a, &nodes.b] {
        let bytes = std::fs::read(component).unwrap();
        assert!(bytes[4096..4608] == [0; 512], "the map is not empty");
    }
    assert!(!nodes.socket().exists());
}

#[test]
fn a_stop_waits_for_a_silent_peer_only_so_long() {
    let nodes = Nodes::new(4 << 20);
    let mut settings = settings(Replication::Fullsync);
    settings.timeout = Duration::from_secs(1);
    let mut primary = nodes.start(true, settings);
    let source = SyncSource::Primary;
    let new = node(&nodes.metadata);
    let secondary = FakeSecondary::accept(&mut primary, Version::V2, new, source, None);
    primary.event(Event::Connect);
    let data = vec![0; 4 << 20];
    let silent = |request: &Request| match request {
        Request::Write { .. } | Request::Flush { .. } => Verdict::Silence,
        _ => Verdict::Do,
    };
    let serving = secondary.serve(data, silent);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    client.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    let begin = Instant::now();
    assert!(primary.stop().success());
    assert!(begin.elapsed() < Duration::from_secs(10));
    serving.join().unwrap();
}

#[test]
fn if_closed_stops_what_is_closed_and_nothing_else() {
    let nodes = Nodes::new(4 << 20);
    let mut primary = alone(&nodes);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    primary.tell(&ToWorker::Stop { if_closed: true });
    primary.wait("InUse", |message| {
        (*message == FromWorker::InUse).then_some(())
    });
    assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    client.disconnect().unwrap();
    loop {
        // Until the gate has noticed that the client is gone.
        primary.tell(&ToWorker::Stop { if_closed: true });
        let stops = primary.wait("an answer", |message| match message {
            FromWorker::InUse => Some(false),
            FromWorker::Log { text, .. } if text.contains("Stopping") => Some(true),
            _ => None,
        });
        if stops {
            break;
        }
    }
    assert!(primary.ended().success());
    assert!(!nodes.socket().exists());
}

#[test]
fn a_worker_whose_daemon_goes_leaves_the_provider_to_the_next() {
    let nodes = Nodes::new(4 << 20);
    let primary = alone(&nodes);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    assert_eq!(primary.abandon().code(), Some(TEMPORARY));
    let mut next = alone(&nodes);
    next.logged("recovered");
    let mut client = Client::connect(&nodes.socket()).unwrap();
    assert_eq!(client.read(0, 512).unwrap().unwrap(), [1; 512]);
    drop(client);
    assert!(next.stop().success());
}

#[test]
fn a_secondary_whose_daemon_goes_ends_in_order() {
    let pair = Pair::new(4 << 20, settings(Replication::Memsync));
    let Pair {
        mut primary,
        secondary,
        ..
    } = pair;
    assert_eq!(secondary.abandon().code(), Some(TEMPORARY));
    primary.event(Event::Disconnect);
}

fn orphan(nodes: &Nodes) {
    alone(nodes).kill();
    assert!(nodes.socket().exists());
}

#[test]
fn a_secondary_destroys_the_provider_that_a_primary_left_behind() {
    let nodes = Nodes::new(4 << 20);
    orphan(&nodes);
    let start = start_of("data", &nodes.a, false, settings(Replication::Fullsync));
    let mut secondary = Worker::run(&nodes.sandbox, start, |_| {});
    secondary.logged("which nobody served");
    secondary.ready();
    assert!(secondary.stop().success());
    assert!(!nodes.socket().exists());
    alone(&nodes).logged("created");
}

#[test]
fn an_orphan_is_destroyed_by_a_worker_that_only_cleans() {
    let nodes = Nodes::new(4 << 20);
    let clean = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hastd"));
        std::os::unix::process::CommandExt::arg0(&mut command, "hastd: data (primary)");
        let mut worker = Worker::spawn(&nodes.sandbox, &nodes.a, command);
        worker.tell(&ToWorker::Clean {
            provider: "data".into(),
        });
        worker.ended()
    };
    orphan(&nodes);
    assert!(clean().success());
    assert!(!nodes.socket().exists());
    // There is none any more, which is fine.
    assert!(clean().success());
}

#[test]
fn sigterm_stops_a_worker_of_either_role_in_order() {
    let pair = Pair::new(4 << 20, settings(Replication::Memsync));
    let mut client = pair.client();
    assert_eq!(client.write(0, &[1; 4096]).unwrap(), 0);
    let Pair {
        nodes,
        primary,
        secondary,
        ..
    } = pair;
    for mut worker in [primary, secondary] {
        let pid = Pid::from_raw(worker.pid().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(worker.ends().success());
    }
    nodes.assert_same();
    assert!(!nodes.socket().exists());
}

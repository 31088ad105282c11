//! A node dies, and another one, or another worker, goes on with its data.

use crate::harness::{Nodes, Pair, Worker, connect, in_sync, settings};
use hast::ipc::Event;
use hast_core::primary::Replication;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::nbd::{Client, FLUSH};
use testkit::process::wait_for;

const BLOCK: u32 = 4096;

/// What block `n` has once it was written.
fn block(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(1024)
}

fn place(n: u32) -> u64 {
    // All over the provider, so that many extents are touched.
    let n = u64::from(n);
    (n % 7) * (2 << 20) + n / 7 * u64::from(BLOCK)
}

/// Writes one block after the other until the provider goes; `written` says how
/// many were answered.
fn write_until_it_ends(socket: &Path, written: &AtomicU32) {
    let mut client = Client::connect(socket).unwrap();
    for n in 0.. {
        match client.write(place(n), &block(n)) {
            Ok(error) => assert_eq!(error, 0),
            Err(_) => return,
        }
        written.store(n + 1, Ordering::SeqCst);
        if n % 16 == 15 && client.call(FLUSH, 0, 0, 0, &[]).is_err() {
            return;
        }
    }
}

fn assert_written(client: &mut Client, count: u32) {
    for n in 0..count {
        let data = client.read(place(n), BLOCK).unwrap().unwrap();
        assert!(data == block(n), "block {n} of {count}");
    }
}

fn alone(nodes: &Nodes, local: &Path, replication: Replication) -> Worker {
    let mut worker = Worker::start(&nodes.sandbox, local, true, settings(replication));
    worker.ready();
    let attempt = worker.asks_to_connect();
    worker.connected(attempt, None);
    worker
}

/// Kills the primary while it is written to and promotes the secondary.
fn fails_over(replication: Replication) {
    let pair = Pair::new(16 << 20, settings(replication));
    let socket = pair.nodes.socket();
    let Pair {
        nodes,
        mut primary,
        mut secondary,
        ..
    } = pair;
    let written = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| write_until_it_ends(&socket, &written));
        wait_for("some writes", || {
            (written.load(Ordering::SeqCst) > 300).then_some(())
        });
        primary.kill();
    });
    secondary.event(Event::Disconnect);
    assert!(secondary.stop().success());
    let promoted = alone(&nodes, &nodes.b, replication);
    let mut client = Client::connect(&nodes.socket_of(&nodes.b)).unwrap();
    assert_written(&mut client, written.load(Ordering::SeqCst));
    drop(client);
    assert!(promoted.stop().success());
}

#[test]
fn what_was_answered_is_there_after_a_failover_in_fullsync() {
    fails_over(Replication::Fullsync);
}

#[test]
fn what_was_answered_is_there_after_a_failover_in_memsync() {
    fails_over(Replication::Memsync);
}

/// Writes so many blocks, whatever becomes of the provider's server: connects
/// again and repeats what was not answered.
fn write_all(socket: &Path, written: &AtomicU32, count: u32) {
    let mut n = 0;
    while n < count {
        let Ok(mut client) = Client::connect(socket) else {
            continue;
        };
        while n < count {
            match client.write(place(n), &block(n)) {
                Ok(error) => assert_eq!(error, 0, "block {n}"),
                Err(_) => break,
            }
            n += 1;
            written.store(n, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_worker_that_was_killed_has_a_successor_that_loses_nothing() {
    const COUNT: u32 = 1500;
    let pair = Pair::new(16 << 20, settings(Replication::Memsync));
    let socket = pair.nodes.socket();
    let Pair {
        nodes,
        mut primary,
        mut secondary,
        ..
    } = pair;
    let written = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write_all(&socket, &written, COUNT));
        for round in 1..=3 {
            wait_for("some writes", || {
                (written.load(Ordering::SeqCst) >= round * COUNT / 4).then_some(())
            });
            primary.kill();
            secondary.event(Event::Disconnect);
            primary = nodes.start(true, settings(Replication::Memsync));
            primary.logged("recovered");
            let _link = connect(&mut primary, &mut secondary);
            primary.event(Event::Connect);
            secondary.event(Event::Connect);
        }
        writing.join().unwrap();
    });
    let mut client = Client::connect(&socket).unwrap();
    assert_written(&mut client, COUNT);
    assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
    in_sync(&mut primary);
    nodes.assert_same();
    drop(client);
    assert!(primary.stop().success());
    assert!(secondary.stop().success());
}

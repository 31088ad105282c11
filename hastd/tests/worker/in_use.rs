//! `--if-closed`, answered by a provider that is open.

use crate::harness::{Nodes, Worker, settings};
use hast::ipc::{FromWorker, ToWorker};
use hast_core::primary::Replication;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use testkit::nbd::Client;

/// While a worker found out that its provider is open, it took requests and
/// left them to the gate, which handed them to nobody: their clients hung for
/// good although nothing had been changed.
#[test]
fn no_request_is_lost_when_a_worker_finds_that_it_must_not_stop() {
    let nodes = Nodes::new(16 << 20);
    let settings = settings(Replication::Fullsync);
    let mut primary = Worker::start(&nodes.sandbox, &nodes.a, true, settings);
    primary.ready();
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, None);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(&nodes.socket()).unwrap();
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.write(4096, &[1; 512]).unwrap(), 0);
                }
            });
        }
        // Somebody has it open throughout.
        let _client = Client::connect(&nodes.socket()).unwrap();
        for _ in 0..200 {
            primary.tell(&ToWorker::Stop { if_closed: true });
            primary.wait("InUse", |message| {
                (*message == FromWorker::InUse).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(primary.stop().success());
}

//! Both nodes have data that the other has not.

use crate::harness::{Nodes, Pair, Worker, connect, in_sync, settings};
use hast::ipc::{Event, FromWorker, ToWorker};
use hast_core::metadata::{BLOCK_LENGTH, Metadata};
use hast_core::primary::Replication;
use hast_core::units::ResUid;
use std::os::unix::fs::FileExt as _;
use testkit::nbd::{Client, FLUSH};

const EXTENT: u64 = 2 << 20;
const RESOLVE: &str = "hastctl resolve --discard-local data";

/// Two nodes of which a is primary and wrote to extent 1, b had been primary
/// and wrote to extent 2, and neither knows of the other's.
struct Split {
    nodes: Nodes,
    primary: Worker,
    secondary: Worker,
}

impl Split {
    fn new() -> Self {
        let mut pair = Pair::new(16 << 20, settings(Replication::Fullsync));
        let mut client = pair.client();
        for extent in 0..4 {
            let error = client.write(extent * EXTENT, &[1; 4096]).unwrap();
            assert_eq!(error, 0);
        }
        assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
        pair.wait_for_sync();
        pair.cut();
        assert_eq!(client.write(EXTENT, &[2; 4096]).unwrap(), 0);
        let Pair {
            nodes,
            primary,
            secondary,
            ..
        } = pair;
        assert!(secondary.stop().success());
        let settings = settings(Replication::Fullsync);
        let mut other = Worker::start(&nodes.sandbox, &nodes.b, true, settings.clone());
        other.ready();
        let attempt = other.asks_to_connect();
        other.connected(attempt, None);
        let mut client = Client::connect(&nodes.socket_of(&nodes.b)).unwrap();
        assert_eq!(client.write(2 * EXTENT, &[3; 4096]).unwrap(), 0);
        drop(client);
        assert!(other.stop().success());
        let secondary = nodes.start(false, settings);
        Self {
            nodes,
            primary,
            secondary,
        }
    }

    fn meet(&mut self) {
        self.primary.reconnect(settings(Replication::Fullsync));
        let _link = connect(&mut self.primary, &mut self.secondary);
    }

    /// What `hastctl resolve` asks for; the error, if there is one.
    fn discard(worker: &mut Worker) -> Option<String> {
        worker.tell(&ToWorker::Discard { question: 5 });
        worker.wait("an answer", |message| match message {
            FromWorker::Discarded { question, error } => {
                assert_eq!(*question, 5);
                Some(error.clone())
            }
            _ => None,
        })
    }
}

#[test]
fn split_brain_is_told_once_on_both_sides_with_what_to_do() {
    let mut split = Split::new();
    split.meet();
    split.primary.event(Event::SplitBrain);
    split.secondary.event(Event::SplitBrain);
    split.primary.logged(RESOLVE);
    split.secondary.logged(RESOLVE);
    split.secondary.logged("split-brain");
    for worker in [&mut split.primary, &mut split.secondary] {
        let status = worker.becomes("split-brain");
        assert!(!status.complete);
        assert!(status.report.next.contains(RESOLVE));
        // What either would lose.
        assert!(status.report.dirty_here >= Some(EXTENT));
        assert!(status.report.dirty_there >= Some(EXTENT));
    }
    // They meet again, and nobody's hooks run again.
    split.meet();
    split.primary.logged("refuses");
    split.secondary.logged("Refusing");
    split.primary.catch_up();
    split.secondary.catch_up();
    assert_eq!(split.primary.events, []);
    assert_eq!(split.secondary.events, []);
    // Nobody lost anything.
    let (a, b) = (
        split.nodes.data(&split.nodes.a),
        split.nodes.data(&split.nodes.b),
    );
    assert!(a[2 << 20..][..4096] == [2; 4096] && a[4 << 20..][..4096] == [1; 4096]);
    assert!(b[2 << 20..][..4096] == [1; 4096] && b[4 << 20..][..4096] == [3; 4096]);
}

#[test]
fn what_was_given_up_is_overwritten_by_copying_what_differs() {
    let mut split = Split::new();
    split.meet();
    split.secondary.event(Event::SplitBrain);
    assert_eq!(Split::discard(&mut split.secondary), None);
    assert_eq!(split.secondary.status().report.state, "discarded");
    // Given up it stays, whatever becomes of the worker.
    assert!(split.secondary.stop().success());
    split.secondary = split.nodes.start(false, settings(Replication::Fullsync));
    assert_eq!(split.secondary.status().report.state, "discarded");
    split.meet();
    split.secondary.logged("discard");
    split.primary.event(Event::SyncDone);
    in_sync(&mut split.primary);
    // Of all eight extents those that either may have changed.
    let copied = split.secondary.status().statistics.writes;
    assert!((4..=8).contains(&copied), "{copied}");
    split.nodes.assert_same();
    let data = split.nodes.data(&split.nodes.b);
    assert!(data[2 << 20..][..4096] == [2; 4096] && data[4 << 20..][..4096] == [1; 4096]);
}

#[test]
fn only_a_secondary_without_a_primary_can_give_up_its_data() {
    let mut pair = Pair::new(4 << 20, settings(Replication::Fullsync));
    let error = Split::discard(&mut pair.primary);
    assert!(error.unwrap().contains("make it secondary first"));
    let error = Split::discard(&mut pair.secondary);
    assert!(error.unwrap().contains("a primary is connected"));
}

/// The advice once lacked the option without which create refuses to do it.
#[test]
fn of_two_pairs_one_component_has_to_be_created_by_force() {
    let mut split = Split::new();
    assert!(split.secondary.stop().success());
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&split.nodes.b)
        .unwrap();
    let mut block = [0; BLOCK_LENGTH];
    file.read_exact_at(&mut block, 0).unwrap();
    let mut metadata = Metadata::decode(&block).unwrap();
    metadata.resuid = ResUid::new(7);
    metadata.encode(&mut block).unwrap();
    file.write_all_at(&block, 0).unwrap();
    let settings = settings(Replication::Fullsync);
    split.secondary = split.nodes.start(false, settings);
    split.meet();
    let next = split.primary.becomes("refused").report.next;
    assert!(next.contains("hastctl create --force data"), "{next}");
}

//! What is copied when two nodes meet, and in which direction.

use crate::harness::{Nodes, Pair, Worker, connect, in_sync, metadata, settings};
use crate::peers::{FakeSecondary, Verdict, node};
use hast::ipc::Event;
use hast_core::message::{Node, Request};
use hast_core::primary::Replication;
use hast_core::role::SyncSource;
use hast_core::units::{Counters, Version};
use testkit::nbd::{Client, FLUSH};
use testkit::noise::Noise;
use testkit::process::wait_for;

/// Bytes of an extent, and what is copied at a time.
const EXTENT: u64 = 2 << 20;
const CHUNK: u64 = 1 << 20;

fn write(client: &mut Client, extent: u64, seed: u64) {
    let data = Noise::new(seed).bytes(4096);
    assert_eq!(client.write(extent * EXTENT, &data).unwrap(), 0);
}

fn flush(client: &mut Client) {
    assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
}

fn writes(worker: &mut Worker) -> u64 {
    worker.status().statistics.writes
}

/// A worker for node b as primary, without a peer.
fn b_alone(nodes: &Nodes) -> Worker {
    let settings = settings(Replication::Fullsync);
    let mut worker = Worker::start(&nodes.sandbox, &nodes.b, true, settings);
    worker.ready();
    let attempt = worker.asks_to_connect();
    worker.connected(attempt, None);
    worker
}

#[test]
fn after_a_loss_of_contact_only_what_differs_is_copied() {
    let mut pair = Pair::new(16 << 20, settings(Replication::Memsync));
    let mut client = pair.client();
    for extent in 0..4 {
        write(&mut client, extent, extent);
    }
    pair.wait_for_sync();
    flush(&mut client);
    pair.cut();
    for extent in [1, 5] {
        write(&mut client, extent, 100 + extent);
    }
    let before = writes(&mut pair.secondary);
    pair.reconnect();
    pair.primary.event(Event::SyncStart);
    pair.primary.event(Event::SyncDone);
    pair.wait_for_sync();
    let copied = writes(&mut pair.secondary) - before;
    assert_eq!(copied, 2 * EXTENT / CHUNK);
    pair.nodes.assert_same();
    // The next time there is nothing to do.
    flush(&mut client);
    pair.cut();
    pair.reconnect();
    pair.wait_for_sync();
    assert_eq!(writes(&mut pair.secondary) - before, copied);
    assert!(!pair.primary.events.contains(&Event::SyncStart));
}

#[test]
fn a_node_that_was_created_anew_gets_everything() {
    let mut pair = Pair::new(8 << 20, settings(Replication::Fullsync));
    let mut client = pair.client();
    write(&mut client, 3, 1);
    pair.wait_for_sync();
    let Pair {
        nodes,
        mut primary,
        secondary,
        ..
    } = pair;
    assert!(secondary.stop().success());
    primary.event(Event::Disconnect);
    crate::harness::create_named("data", &nodes.b, 8 << 20);
    let mut secondary = nodes.start(false, settings(Replication::Fullsync));
    primary.reconnect(settings(Replication::Fullsync));
    let _link = connect(&mut primary, &mut secondary);
    secondary.logged("new-secondary");
    primary.event(Event::SyncDone);
    in_sync(&mut primary);
    assert_eq!(writes(&mut secondary), 8);
    nodes.assert_same();
    assert_eq!(metadata(&nodes.a).resuid, metadata(&nodes.b).resuid);
}

/// Failback: the node that was primary first has old data. It serves the new
/// ones at once, through its peer.
#[test]
fn what_only_the_secondary_has_is_read_through_it_and_copied_back() {
    let mut pair = Pair::new(16 << 20, settings(Replication::Async));
    let mut client = pair.client();
    for extent in 0..3 {
        write(&mut client, extent, extent);
    }
    pair.wait_for_sync();
    drop(client);
    let Pair {
        nodes,
        primary,
        secondary,
        ..
    } = pair;
    assert!(primary.stop().success());
    assert!(secondary.stop().success());
    let other = b_alone(&nodes);
    let mut client = Client::connect(&nodes.socket_of(&nodes.b)).unwrap();
    write(&mut client, 1, 77);
    write(&mut client, 6, 78);
    drop(client);
    assert!(other.stop().success());
    let mut secondary = nodes.start(false, settings(Replication::Async));
    let mut primary = nodes.start(true, settings(Replication::Async));
    let _link = connect(&mut primary, &mut secondary);
    // Nothing had to be stored first: it is connected at once, and still says
    // to whom.
    secondary.logged("Primary tcp://127.0.0.1:1 connected.");
    secondary.logged("primary-outdated");
    let mut client = Client::connect(&nodes.socket()).unwrap();
    let read = client.read(EXTENT, 4096).unwrap().unwrap();
    assert!(read == Noise::new(77).bytes(4096));
    primary.event(Event::SyncDone);
    in_sync(&mut primary);
    nodes.assert_same();
    // Only what differs was asked for.
    let reads = secondary.status().statistics.reads;
    assert!(reads <= 2 * EXTENT / CHUNK + 1, "{reads}");
    assert!(primary.stop().success());
    let (a, b) = (metadata(&nodes.a).counters, metadata(&nodes.b).counters);
    assert_eq!((a.local, a.remote), (b.remote, b.local));
}

/// A secondary of base that carries out so many writes and then says nothing
/// more.
fn until(count: u32) -> impl FnMut(&Request) -> Verdict {
    let mut left = count;
    move |request| {
        if matches!(request, Request::Write { .. }) {
            if left == 0 {
                return Verdict::Silence;
            }
            left -= 1;
        }
        Verdict::Do
    }
}

#[test]
fn a_synchronization_that_was_interrupted_goes_on() {
    let nodes = Nodes::new(8 << 20);
    let mut primary = nodes.start(true, settings(Replication::Memsync));
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, None);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    for extent in 0..3 {
        let data = Noise::new(extent).bytes(1 << 18);
        assert_eq!(client.write(extent * EXTENT, &data).unwrap(), 0);
    }
    let empty = vec![0; usize::try_from(nodes.metadata.datasize).unwrap()];
    primary.reconnect(settings(Replication::Memsync));
    let source = SyncSource::Primary;
    let new = node(&nodes.metadata);
    let secondary =
        FakeSecondary::accept(&mut primary, Version::V2, new, source, Some(&[0xff; 512]));
    let connections = [&secondary.requests, &secondary.replies].map(|c| c.try_clone().unwrap());
    let serving = secondary.serve(empty, until(20));
    primary.event(Event::SyncStart);
    let sync = wait_for("some of it to be copied", || {
        let sync = primary.status().report.sync?;
        (sync.copied >= 1 << 20).then_some(sync)
    });
    assert_eq!(sync.source, "primary");
    assert!(sync.left > 0 && sync.left < 8 << 20);
    assert_eq!(primary.status().report.state, "synchronizing");
    for connection in connections {
        connection.shutdown(std::net::Shutdown::Both).unwrap();
    }
    primary.event(Event::SyncInterrupted);
    let past = serving.join().unwrap();
    let counters = metadata(&nodes.a).counters;
    let known = Node {
        virgin: false,
        counters: Counters {
            local: counters.remote,
            remote: 0,
        },
        ..new
    };
    primary.reconnect(settings(Replication::Memsync));
    let secondary =
        FakeSecondary::accept(&mut primary, Version::V2, known, source, Some(&[0; 512]));
    let serving = secondary.serve(past.data, |_| Verdict::Do);
    primary.event(Event::SyncDone);
    in_sync(&mut primary);
    assert!(primary.stop().success());
    assert!(serving.join().unwrap().data == nodes.data(&nodes.a));
}

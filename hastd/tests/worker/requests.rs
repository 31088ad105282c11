//! What clients of the provider may ask for.

use crate::harness::{Nodes, Pair, Worker, connect, settings, start_of};
use hast::config::Settings;
use hast::ipc::{Event, Start};
use hast_core::metadata::CreateOptions;
use hast_core::payload::Compression;
use hast_core::primary::Replication;
use testkit::nbd::{Client, FLUSH, FUA, READ, TRIM, WRITE, WRITE_ZEROES};
use testkit::noise::Noise;

/// NBD's EINVAL.
const EINVAL: u32 = 22;

const MIB: u32 = 1 << 20;

/// NBD's longest request.
const LONGEST: u32 = 32 * MIB;

fn pair(replication: Replication) -> Pair {
    Pair::new(16 << 20, settings(replication))
}

#[test]
fn a_request_as_long_as_nbd_allows_needs_no_more_memory_than_there_is() {
    let nodes = Nodes::new(40 << 20);
    let start = |local, primary| {
        let start = Start {
            memory: 16 << 20,
            ..start_of("data", local, primary, settings(Replication::Fullsync))
        };
        let mut worker = Worker::run(&nodes.sandbox, start, |_| {});
        worker.ready();
        worker
    };
    let mut secondary = start(&nodes.b, false);
    let mut primary = start(&nodes.a, true);
    let _link = connect(&mut primary, &mut secondary);
    primary.event(Event::Connect);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    let data = Noise::new(1).bytes(1 << 16).repeat(512);
    // More than one of them, and others beside.
    for n in 0..2 {
        let offset = u64::from(n * MIB);
        client.send(WRITE, 0, offset, LONGEST, &data).unwrap();
        client.send(READ, 0, 0, 4096, &[]).unwrap();
    }
    for _ in 0..4 {
        assert_eq!(client.reply().unwrap().error, 0);
    }
    for _ in 0..2 {
        client.send(READ, 0, u64::from(MIB), LONGEST, &[]).unwrap();
    }
    for _ in 0..2 {
        assert!(client.reply().unwrap().data == data);
    }
    nodes.assert_same();
    assert!(primary.stop().success());
    assert!(secondary.stop().success());
}

/// What is copied at a time was as long as an extent, up to what the peer
/// takes, and the memory for it was not: threads waited for memory that only
/// they could have given back.
#[test]
fn extents_of_any_size_are_copied() {
    let options = CreateOptions {
        extentsize: Some(64 << 20),
        ..CreateOptions::default()
    };
    let nodes = Nodes::with(65 << 20, options);
    let settings = Settings {
        compression: Compression::None,
        ..settings(Replication::Async)
    };
    let mut primary = nodes.start(true, settings.clone());
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, None);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    let data = Noise::new(1).bytes(1 << 20);
    assert_eq!(client.write(20 << 20, &data).unwrap(), 0);
    let mut secondary = nodes.start(false, settings.clone());
    primary.reconnect(settings);
    let _link = connect(&mut primary, &mut secondary);
    primary.event(Event::SyncDone);
    nodes.assert_same();
}

#[test]
fn zeros_reach_both_nodes() {
    let pair = pair(Replication::Memsync);
    let mut client = pair.client();
    assert_eq!(client.write(0, &vec![7; 1 << 20]).unwrap(), 0);
    let zeroes = client.call(WRITE_ZEROES, 0, 4096, 65536, &[]).unwrap();
    assert_eq!(zeroes.error, 0);
    let data = client.read(0, MIB).unwrap().unwrap();
    let expected = |at: usize| {
        if (4096..4096 + 65536).contains(&at) {
            0
        } else {
            7
        }
    };
    assert!((0..).zip(&data).all(|(at, byte)| *byte == expected(at)));
    assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
    pair.nodes.assert_same();
}

#[test]
fn what_is_deleted_is_the_same_on_both_nodes() {
    let pair = pair(Replication::Fullsync);
    let mut client = pair.client();
    assert_eq!(client.write(0, &vec![7; 4 << 20]).unwrap(), 0);
    // Across extents, not aligned to anything but sectors.
    let deleted = client.call(TRIM, 0, 512, 3 * MIB, &[]).unwrap();
    assert_eq!(deleted.error, 0);
    assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
    pair.nodes.assert_same();
    let kept = client.read(u64::from(3 * MIB) + 512, 512).unwrap();
    assert_eq!(kept.unwrap(), [7; 512]);
}

#[test]
fn a_write_with_fua_is_flushed_on_both_nodes() {
    let mut pair = pair(Replication::Async);
    let mut client = pair.client();
    let reply = client.call(WRITE, FUA, 0, 512, &[1; 512]).unwrap();
    assert_eq!(reply.error, 0);
    assert!(pair.primary.status().statistics.flushes >= 1);
    assert!(pair.secondary.status().statistics.flushes >= 1);
    pair.nodes.assert_same();
}

#[test]
fn what_is_not_aligned_or_beyond_the_end_is_refused() {
    let pair = pair(Replication::Fullsync);
    let mut client = pair.client();
    let end = pair.nodes.metadata.datasize;
    for (offset, length) in [(1, 512), (0, 513), (end, 512), (end - 512, 1024)] {
        let data = vec![9; usize::try_from(length).unwrap()];
        assert_ne!(client.write(offset, &data).unwrap(), 0, "{offset}");
        let refused = client.read(offset, length).unwrap();
        assert_eq!(refused.unwrap_err(), EINVAL, "{offset}");
    }
    assert_eq!(client.write(end - 512, &[3; 512]).unwrap(), 0);
    pair.nodes.assert_same();
    assert!(pair.nodes.data(&pair.nodes.a)[..1024] == [0; 1024]);
}

/// Each completion began the next of the requests that waited for the same
/// blocks, inside of itself: half a thread's stack was used up.
#[test]
fn hundreds_of_writes_to_one_block_need_no_more_stack_than_one() {
    let nodes = Nodes::new(16 << 20);
    let start = start_of("data", &nodes.a, true, settings(Replication::Fullsync));
    let mut primary = Worker::run(&nodes.sandbox, start, |command| {
        command.env("RUST_MIN_STACK", "262144");
    });
    primary.ready();
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, None);
    let mut client = Client::connect(&nodes.socket()).unwrap();
    // The disk gets to know that small writes are fast.
    for n in 0..64 {
        assert_eq!(client.write(n * 512, &[1; 512]).unwrap(), 0);
    }
    for round in 0..10 {
        let last = in_a_row(&mut client, round);
        assert_eq!(client.read(0, 512).unwrap().unwrap(), [last; 512]);
    }
    assert!(primary.stop().success());
}

/// Many small writes behind a large one; what the last of them wrote.
fn in_a_row(client: &mut Client, round: u8) -> u8 {
    const COUNT: u8 = 250;
    client
        .send(WRITE, 0, 0, 2 * MIB, &vec![0; 2 << 20])
        .unwrap();
    for n in 0..COUNT {
        let byte = n.wrapping_add(round);
        client.send(WRITE, 0, 0, 512, &[byte; 512]).unwrap();
    }
    for _ in 0..=COUNT {
        assert_eq!(client.reply().unwrap().error, 0);
    }
    (COUNT - 1).wrapping_add(round)
}

//! Two workers.

use crate::harness::{Nodes, Worker, connect, settings};
use hast::ipc::Event;
use hast_core::primary::Replication;
use testkit::nbd::Client;
use testkit::process::wait_for;

/// Bytes that differ from block to block and from seed to seed.
fn patterned(seed: u8, length: usize) -> Vec<u8> {
    (0..=250)
        .cycle()
        .map(|n: u8| n.wrapping_add(seed))
        .take(length)
        .collect()
}

#[test]
fn what_is_written_is_on_both_nodes_in_every_mode() {
    for replication in [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ] {
        let nodes = Nodes::new(16 << 20);
        let mut secondary = Worker::start(&nodes.sandbox, &nodes.b, false, settings(replication));
        secondary.ready();
        let mut primary = Worker::start(&nodes.sandbox, &nodes.a, true, settings(replication));
        primary.ready();
        let _link = connect(&mut primary, &mut secondary);
        primary.event(Event::Connect);
        secondary.event(Event::Connect);
        let mut client = Client::connect(&nodes.socket()).unwrap();
        for (n, length) in (0_u8..).zip([512_usize, 4096, 65536, 131_072, 1 << 20]) {
            let data = patterned(n, length);
            let offset = u64::from(n) << 21;
            assert_eq!(client.write(offset, &data).unwrap(), 0);
            let got = client.read(offset, u32::try_from(length).unwrap()).unwrap();
            assert!(got.unwrap() == data);
        }
        wait_for("nothing dirty", || {
            (primary.status().dirty == 0).then_some(())
        });
        assert!(primary.status().complete);
        assert!(
            nodes.data(&nodes.a) == nodes.data(&nodes.b),
            "{replication:?}"
        );
        assert!(primary.stop().success());
        assert!(secondary.stop().success());
    }
}

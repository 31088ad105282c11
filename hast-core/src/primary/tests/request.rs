//! Requests from the provider to their answers.

use super::*;

#[test]
fn a_write_waits_for_its_dirty_bit() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    assert_eq!(bench.out, [Action::StoreMap]);
    assert!(bench.store_map(true));
    assert_eq!(bench.local(Ok(())), Some(Op::Write(range(0, 512))));
    assert_eq!(bench.completed(), None, "the peer has not answered");
    assert!(bench.answer(None).is_some());
    assert_eq!(bench.completed(), Some(Ok(())));
    bench.write();
    assert!(bench.local(Ok(())).is_some(), "the bit is there already");
}

#[test]
fn a_write_whose_dirty_bit_cannot_be_stored_fails() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    assert!(bench.store_map(false));
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    assert_eq!(bench.local(Ok(())), None);
    assert_eq!(bench.sent(), None);
}

/// K3: base reports success if the peer's part failed first.
#[test]
fn a_write_that_failed_on_both_fails_in_every_mode() {
    for mode in [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ] {
        for peer_first in [false, true] {
            let mut bench = Bench::new(mode);
            bench.connect();
            bench.write();
            bench.store_map(true);
            if peer_first {
                bench.answer(Some(Errno::EIO));
            }
            bench.local(Err(Errno::EIO));
            bench.answer(Some(Errno::EIO));
            assert_eq!(bench.completed(), Some(Err(Errno::EIO)), "{mode:?}");
        }
    }
}

#[test]
fn a_long_write_goes_to_base_in_pieces() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.primary.link.peer.as_mut().unwrap().longest = 1024;
    let op = Op::Write(range(512, 2560));
    bench.primary.request(1, op, &mut bench.out).unwrap();
    bench.store_map(true);
    bench.local(Ok(()));
    let mut pieces = vec![];
    while let Some(Outgoing::Request { op, .. }) = bench.answer(None) {
        pieces.push(op.range().unwrap());
    }
    assert_eq!(
        pieces,
        [range(512, 1024), range(1536, 1024), range(2560, 512)]
    );
    assert_eq!(bench.completed(), Some(Ok(())));
}

#[test]
fn impossible_requests_are_refused() {
    let mut bench = Bench::new(Replication::Fullsync);
    let end = bench.primary.extents.datasize();
    for (offset, length) in [(1, 512), (0, 511), (end, 512), (end - 512, 1024)] {
        let op = Op::Write(range(offset, length));
        bench.primary.request(1, op, &mut bench.out).unwrap();
        assert_eq!(bench.completed(), Some(Err(Errno::EINVAL)));
    }
    assert_eq!(bench.primary.in_flight(), 0);
}

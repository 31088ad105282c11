//! Flushes that failed: the system tells once that what was confirmed may be
//! gone, and a later flush of the same component succeeds.

use super::*;
use crate::units::ExtentIndex;

/// A write that both have confirmed, in a cache each.
fn written() -> Bench {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    bench.answer(None);
    assert_eq!(bench.completed(), Some(Ok(())));
    bench
}

fn flush(bench: &mut Bench, local: Result<(), Errno>, peer: Option<Errno>) {
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    assert_eq!(bench.local(local), Some(Op::Flush));
    assert!(bench.answer(peer).is_some());
}

/// Whether the extent is clean again, and what was written to get there: to
/// the local component, and to the peer.
fn copied(bench: &mut Bench) -> (bool, bool) {
    let write = |op: Op| matches!(op, Op::Write(_));
    let (mut to_local, mut to_peer) = (false, false);
    while bench.primary.behind() != Behind::Neither {
        let stored = bench.store_map(true) | bench.store_metadata(true);
        let local = bench.local(Ok(()));
        to_local |= local.is_some_and(write);
        let peer = bench.answer(None);
        to_peer |= matches!(peer, Some(Outgoing::Request { op, .. }) if write(op));
        let worked = stored || local.is_some() || peer.is_some();
        assert!(worked | bench.direct_reads(true), "nothing left to do");
    }
    (to_local, to_peer)
}

/// Found by the simulator: the flush after the one that failed was answered
/// with success, and the next start served what had never reached the disk.
#[test]
fn after_a_flush_that_failed_none_succeeds_before_that_is_written_down() {
    let mut bench = written();
    flush(&mut bench, Err(Errno::EIO), None);
    assert_eq!(bench.primary.behind(), Behind::Local);
    assert_eq!(bench.completed(), None);
    flush(&mut bench, Ok(()), None);
    assert_eq!(bench.completed(), None);
    assert!(bench.store_metadata(true) & bench.direct_reads(true));
    assert_eq!(bench.completed(), Some(Ok(())));
    assert_eq!(bench.completed(), Some(Ok(())));
}

/// The copy that can be read is in the cache alone; to read it is not to have
/// it on the disk.
#[test]
fn what_a_flush_failed_for_is_written_to_both_again() {
    for (local, peer) in [(Err(Errno::EIO), None), (Ok(()), Some(Errno::EIO))] {
        let mut bench = written();
        flush(&mut bench, local, peer);
        assert_eq!(copied(&mut bench), (true, true));
    }
}

/// Of flushes that run at the same time any may be the one that is told.
#[test]
fn a_flush_beside_one_that_failed_has_failed_too() {
    let mut bench = written();
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    bench.primary.request(3, Op::Flush, &mut bench.out).unwrap();
    bench.local(Err(Errno::EIO));
    bench.local(Ok(()));
    bench.answer(Some(Errno::EIO));
    bench.answer(None);
    let results = [bench.completed(), bench.completed()];
    assert_eq!(results, [Some(Err(Errno::EIO)); 2], "neither has the write");
}

/// A store is told in place of the FLUSH that its flush concerns.
#[test]
fn a_store_that_fails_makes_the_local_component_doubtful() {
    let mut bench = written();
    let other = Op::Write(range(4096, 512));
    bench.primary.request(2, other, &mut bench.out).unwrap();
    assert!(bench.store_map(false));
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    assert_eq!(bench.primary.behind(), Behind::Local);
    assert_eq!(copied(&mut bench), (true, true));
}

/// Found by the simulator: the peer, which had not got it yet, was called the
/// one that has everything.
#[test]
fn what_only_the_local_component_has_is_not_overwritten_because_a_flush_failed() {
    let mut bench = Bench::new(Replication::Async);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    assert_eq!(bench.completed(), Some(Ok(())), "the peer has not answered");
    let other = Op::Write(range(4096, 512));
    bench.primary.request(2, other, &mut bench.out).unwrap();
    assert!(bench.store_map(false));
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    assert_ne!(bench.primary.behind(), Behind::Local);
    bench.primary.request(3, Op::Flush, &mut bench.out).unwrap();
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)), "that may be gone");
}

/// Found by the simulator: what the peer had failed to flush was known only to
/// a worker that was killed; the next one copied it from there and called the
/// pair the same.
#[test]
fn a_worker_that_starts_behind_writes_what_it_copies_to_the_peer_too() {
    for consistency in [Consistency::Inconsistent, Consistency::Consistent] {
        let bench = Bench::new(Replication::Fullsync);
        let mut map = [0; 512];
        map[0] = 0x80;
        let primary = Primary::new(Start {
            map: &map,
            ..bench.successor(consistency)
        });
        let extent = primary.map.next_to_sync(ExtentIndex(0)).unwrap();
        let behind = consistency == Consistency::Inconsistent;
        assert_eq!(primary.map.is_doubtful(extent), behind);
    }
}

/// Found by the simulator: a flush failed while it was being recorded that both
/// have everything, and the component went on without what it lacked, or under
/// a flag that says the opposite of what is served.
#[test]
fn a_flush_that_fails_at_the_very_end_opens_it_again() {
    let mut bench = written();
    flush(&mut bench, Err(Errno::EIO), None);
    let consistency = |bench: &Bench| bench.primary.metadata().consistency;
    assert_eq!(consistency(&bench), Consistency::Inconsistent);
    assert!(bench.store_metadata(true));
    while consistency(&bench) == Consistency::Inconsistent {
        let worked = bench.store_map(true) | bench.local(Ok(())).is_some();
        assert!(worked | bench.answer(None).is_some() | bench.direct_reads(true));
    }
    assert_eq!(bench.primary.behind(), Behind::Local, "not stored yet");
    bench.write();
    bench.store_map(true);
    assert!(bench.store_metadata(false));
    assert_eq!(consistency(&bench), Consistency::Inconsistent);
    assert_eq!(bench.primary.behind(), Behind::Local);
    bench.primary.tick(Millis(26_000), &mut bench.out);
    assert_eq!(copied(&mut bench), (true, true));
    assert_eq!(consistency(&bench), Consistency::Consistent);
}

/// Found by the simulator: nobody was promised anything when a flush of our own
/// failed at the peer, so nothing was written down; the next FLUSH promised it.
#[test]
fn a_flush_after_one_that_nobody_asked_for_waits_until_it_is_known_who_lacks_what() {
    let mut bench = written();
    bench.primary.flush_for_the_map(&mut bench.out);
    assert_eq!(bench.local(Ok(())), Some(Op::Flush));
    assert!(bench.answer(Some(Errno::EIO)).is_some());
    assert_eq!(bench.primary.behind(), Behind::Peer);
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    while bench.local(Ok(())).is_some() | bench.answer(None).is_some() {}
    assert_eq!(bench.completed(), None);
    assert!(bench.store_metadata(true));
    assert_eq!(bench.completed(), Some(Ok(())));
    assert_eq!(bench.primary.metadata().counters.local, 1);
    copied(&mut bench);
    assert_eq!(bench.primary.metadata().counters.local, 0);
}

/// Clients that flush all the time would keep a synchronisation from its end:
/// each flush came while the end of the last attempt was being stored, and
/// began another.
#[test]
fn a_flush_while_it_is_stored_that_both_are_the_same_does_not_undo_that() {
    let mut bench = written();
    flush(&mut bench, Ok(()), Some(Errno::EIO));
    while !bench.primary.sync_is_being_recorded() {
        let stored = bench.store_map(true);
        let worked = bench.local(Ok(())).is_some() | bench.answer(None).is_some();
        assert!(stored || worked || bench.store_metadata(true));
    }
    assert_eq!(bench.completed(), Some(Ok(())));
    flush(&mut bench, Ok(()), None);
    assert_eq!(
        bench.completed(),
        None,
        "the disk still says that they differ"
    );
    assert!(bench.store_metadata(true));
    assert_eq!(bench.completed(), Some(Ok(())));
    assert_eq!(bench.primary.behind(), Behind::Neither);
}

/// What a lost cache took is forgotten with the worker that was to tell, and
/// its clients go on with the next.
#[test]
fn a_worker_that_takes_over_behind_its_peer_fails_one_flush() {
    let fails = |takes_over, consistency| {
        let start = Start {
            takes_over,
            ..Bench::new(Replication::Fullsync).successor(consistency)
        };
        Primary::new(start).standing.flush_must_fail
    };
    assert!(fails(true, Consistency::Inconsistent));
    assert!(!fails(false, Consistency::Inconsistent));
    assert!(!fails(true, Consistency::Consistent));
}

#[test]
fn what_no_client_flushes_is_flushed_every_five_seconds() {
    let mut bench = written();
    let flushed = |bench: &mut Bench, at| {
        bench.primary.tick(Millis(at), &mut bench.out);
        let flushed = bench.local(Ok(())) == Some(Op::Flush);
        while bench.work() {}
        flushed
    };
    assert!(!flushed(&mut bench, 20_500), "a client may");
    assert!(!flushed(&mut bench, 25_400));
    assert!(flushed(&mut bench, 25_500));
    assert!(!bench.primary.map.is_unflushed());
    bench.write();
    while bench.work() {}
    assert!(!flushed(&mut bench, 26_000), "however much is written");
    assert!(!flushed(&mut bench, 30_400));
    assert!(flushed(&mut bench, 30_500));
    assert!(!flushed(&mut bench, 40_000), "nothing is to be flushed");
}

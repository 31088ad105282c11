//! Which component is behind, and who must know before anything is answered.

use super::*;

/// K7, K10: base compares with a counter it may not know, and does not flush.
#[test]
fn a_write_alone_waits_for_the_counters() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.write();
    assert!(bench.store_map(true));
    assert!(bench.local(Ok(())).is_some());
    assert_eq!(bench.completed(), None);
    assert_eq!(bench.primary.metadata().counters.local, 1);
    assert!(bench.store_metadata(true));
    assert_eq!(bench.completed(), Some(Ok(())));
}

/// What the peer had not flushed when it went it may have lost, although the
/// client was told that it is permanent.
#[test]
fn a_flush_alone_waits_for_the_counters() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    let session = bench.primary.link.session();
    bench.primary.peer_down(session, &mut bench.out);
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    assert_eq!(bench.local(Ok(())), Some(Op::Flush));
    assert_eq!(bench.completed(), None);
    assert!(bench.store_metadata(true));
    assert_eq!(bench.completed(), Some(Ok(())));
    assert!(!bench.primary.peer_is_current());
}

/// K4: base reports success and goes on reading what was there before.
#[test]
fn after_a_local_error_the_peer_is_read() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.answer(None);
    bench.local(Err(Errno::EIO));
    assert_eq!(bench.completed(), None);
    assert_eq!(bench.primary.behind(), Behind::Local);
    assert!(bench.store_metadata(true), "the local component is behind");
    assert_eq!(bench.completed(), None, "the kernel may still read it");
    assert!(bench.direct_reads(true));
    assert_eq!(bench.completed(), Some(Ok(())));
    bench.out.clear();
    let read = Op::Read(range(0, 512));
    bench.primary.request(2, read, &mut bench.out).unwrap();
    let asked = |a: &Action| match *a {
        Action::Send {
            what: Outgoing::Request { op, .. },
            ..
        } => (op == read).then_some(()),
        _ => None,
    };
    assert!(bench.take(asked).is_some());
}

/// K15: a predecessor may have left them on.
#[test]
fn a_stale_copy_is_not_read_by_the_kernel_either() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.primary = Primary::new(bench.successor(Consistency::Inconsistent));
    bench.primary.tick(Millis(1), &mut bench.out);
    assert!(bench.out.contains(&Action::DirectReads(false)));
    assert!(bench.direct_reads(false));
    assert!(!bench.direct_reads(true), "not again at once");
    bench.primary.tick(Millis(2), &mut bench.out);
    assert!(bench.direct_reads(true));
}

/// A write that only the peer has, on a node whose disk stores nothing more.
fn only_the_peer_has_it(extensions: Extensions) -> Bench {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.primary.link.extensions = extensions;
    bench.write();
    bench.store_map(true);
    bench.local(Err(Errno::EIO));
    bench.answer(None);
    assert!(bench.direct_reads(true));
    assert!(bench.store_metadata(false));
    bench
}

/// A disk that fails writes cannot say that it is behind; the next start
/// would serve it.
#[test]
fn a_component_that_cannot_say_that_it_is_behind_is_given_away_by_the_peer() {
    let mut bench = only_the_peer_has_it(OURS);
    assert_eq!(bench.completed(), None);
    let raise = Outgoing::State {
        consistency: Consistency::Consistent,
        generation: bench.primary.metadata().generation,
        raise: Some(bench.primary.metadata().counters.remote + 1),
    };
    assert_eq!(bench.answer(None), Some(raise));
    assert_eq!(bench.completed(), Some(Ok(())));
}

#[test]
fn a_write_that_nobody_can_record_fails() {
    let mut bench = only_the_peer_has_it(Extensions::STATE);
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    let mut bench = only_the_peer_has_it(OURS);
    assert!(bench.answer(Some(Errno::EIO)).is_some());
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    let mut bench = only_the_peer_has_it(OURS);
    let session = bench.primary.link.session();
    bench.primary.peer_down(session, &mut bench.out);
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
}

/// Found by the simulator: a flush was under way when the peer went, and then
/// nobody knew any more that there was something to lose.
#[test]
fn what_only_a_lost_peer_had_is_told_of_by_the_next_flush() {
    for flushing in [false, true] {
        let mut bench = Bench::new(Replication::Fullsync);
        bench.connect();
        bench.write();
        bench.store_map(true);
        bench.local(Err(Errno::EIO));
        bench.answer(None);
        while bench.completed().is_none() {
            assert!(bench.store_metadata(true) | bench.direct_reads(true));
        }
        bench.out.clear();
        if flushing {
            bench.primary.flush_both(&mut bench.out);
        }
        let session = bench.primary.link.session();
        bench.primary.peer_down(session, &mut bench.out);
        for expected in [Some(Err(Errno::EIO)), None] {
            bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
            assert_eq!(bench.completed(), expected);
        }
    }
}

/// Found by the simulator: the peer had stored a generation that the own disk
/// could not, and was then taken for one that had written alone.
#[test]
fn the_peer_is_told_nothing_that_is_not_on_the_own_disk() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    bench.answer(Some(Errno::EIO));
    assert!(bench.store_metadata(false));
    assert_eq!(bench.sent(), None);
    bench.primary.tick(Millis(21_000), &mut bench.out);
    assert!(bench.store_metadata(true));
    let states = |a: &Action| {
        matches!(
            a,
            Action::Send {
                what: Outgoing::State { .. },
                ..
            }
        )
    };
    assert!(bench.out.iter().any(states));
}

/// Found by the simulator: the peer could not store at once that its counter
/// is raised, but did later, and the pair was called the same with counters
/// that were not.
#[test]
fn a_counter_that_may_have_been_raised_is_asked_for_before_the_end() {
    let mut bench = only_the_peer_has_it(OURS);
    assert!(bench.answer(Some(Errno::EIO)).is_some());
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    bench.primary.tick(Millis(30_000), &mut bench.out);
    while bench.work() {}
    assert_eq!(bench.primary.behind(), Behind::Neither);
    assert_eq!(bench.primary.metadata().counters.remote, 1);
}

/// Found by the simulator: a write that only the peer had was answered after
/// the FLUSH that told that it may be gone.
#[test]
fn a_write_that_only_a_lost_peer_had_fails() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Err(Errno::EIO));
    bench.answer(None);
    let session = bench.primary.link.session();
    bench.primary.peer_down(session, &mut bench.out);
    assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
}

/// Found by the simulator: the kernel had not answered whether direct reads
/// are off before the component was complete again, and the write waited for
/// ever.
#[test]
fn a_write_does_not_wait_for_direct_reads_once_nothing_is_lacking() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Err(Errno::EIO));
    bench.answer(None);
    while bench.primary.behind() == Behind::Local {
        let stored = bench.store_map(true) | bench.store_metadata(true);
        assert!(stored | bench.local(Ok(())).is_some() | bench.answer(None).is_some());
    }
    assert_eq!(bench.completed(), Some(Ok(())));
}

/// Found by the simulator: the FLUSH made permanent what had been answered
/// early, and a power cut left nobody who knew that the peer lacks it.
#[test]
fn a_flush_waits_until_it_is_known_who_lacks_what_was_answered_early() {
    let mut bench = Bench::new(Replication::Async);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    assert_eq!(bench.completed(), Some(Ok(())));
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    assert_eq!(bench.local(Ok(())), None, "the peer has not answered");
    bench.answer(Some(Errno::EIO));
    assert_eq!(bench.local(Ok(())), Some(Op::Flush));
    while bench.answer(None).is_some() {}
    assert_eq!(bench.completed(), None);
    assert!(bench.store_metadata(true));
    assert_eq!(bench.completed(), Some(Ok(())));
}

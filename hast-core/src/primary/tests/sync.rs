//! What may differ is copied, and when the pair is the same.

use super::*;

/// K1: base forgets what was under way when the link broke.
#[test]
fn what_the_peer_did_not_answer_is_copied() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    let (session, ..) = bench.sent().unwrap();
    bench.primary.peer_down(session, &mut bench.out);
    bench.store_metadata(true);
    assert_eq!(bench.completed(), Some(Ok(())));
    assert_eq!(bench.primary.dirty_bytes(), 2048);
    assert_eq!(bench.primary.behind(), Behind::Peer);
}

/// Found by the simulator: the peer had confirmed the write, lost it with its
/// cache, and only then the local component was done.
#[test]
fn what_the_peer_confirmed_of_a_running_write_is_copied() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.answer(None);
    let session = bench.primary.link.session();
    bench.primary.peer_down(session, &mut bench.out);
    bench.local(Ok(()));
    bench.store_metadata(true);
    assert_eq!(bench.completed(), Some(Ok(())));
    assert_eq!(bench.primary.dirty_bytes(), 2048);
}

/// Found by the simulator: a write reached a peer that lacked an earlier one,
/// which had been flushed, before it had stored that it is inconsistent (K12).
#[test]
fn a_peer_that_lacks_something_changes_only_after_it_has_said_so() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    bench.answer(Some(Errno::EIO));
    bench.store_metadata(true);
    assert_eq!(bench.completed(), Some(Ok(())));
    let state = bench.sent().unwrap();
    let inconsistent = |what: Outgoing| match what {
        Outgoing::State { consistency, .. } => consistency == Consistency::Inconsistent,
        _ => false,
    };
    assert!(inconsistent(state.2));
    bench.write();
    bench.local(Ok(()));
    assert_eq!(bench.sent(), None, "it is copied later");
    assert_eq!(bench.completed(), Some(Ok(())));
    let reply = Reply::done(state.1.unwrap());
    bench.primary.reply(state.0, &reply, &mut bench.out);
    let copies = |a: &Action| {
        matches!(
            a,
            Action::Local {
                op: Op::Read(_),
                ..
            }
        )
    };
    assert!(bench.out.iter().any(copies));
    bench.write();
    while !matches!(
        bench.answer(None),
        Some(Outgoing::Request {
            op: Op::Write(_),
            ..
        })
    ) {
        assert!(bench.work());
    }
}

impl Bench {
    /// Lets the peer miss a write, and everything be copied until the end is
    /// being recorded: the flush that ends it has been sent.
    fn sync_to_its_end(&mut self) {
        self.connect();
        self.write();
        self.store_map(true);
        self.local(Ok(()));
        self.answer(Some(Errno::EIO));
        self.store_metadata(true);
        while self.primary.map.sync_left() > 0 {
            assert!(self.work());
        }
    }
}

/// Found by the simulator: a FLUSH failed at the peer while the end of the
/// synchronisation was being stored, which then ended all the same, with
/// counters that said the opposite.
#[test]
fn what_the_peer_misses_at_the_very_end_opens_it_again() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.sync_to_its_end();
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    let client = bench
        .out
        .iter()
        .rposition(|a| matches!(a, Action::Send { .. }));
    let Action::Send { session, seq, .. } = bench.out.remove(client.unwrap()) else {
        panic!("a FLUSH was sent")
    };
    while bench.answer(None).is_some() | bench.local(Ok(())).is_some() {}
    let stored = bench.primary.metadata().clone();
    assert_eq!(stored.counters.local, 0, "both are said to be the same");
    let reply = Reply::failed(seq.unwrap(), Errno::EIO);
    bench.primary.reply(session, &reply, &mut bench.out);
    assert_eq!(bench.primary.metadata().counters.local, 1);
    assert!(bench.store_metadata(true));
    assert_eq!(bench.primary.behind(), Behind::Peer);
    while bench.work() {}
    assert_eq!(bench.primary.behind(), Behind::Neither);
    assert_eq!(bench.primary.metadata().counters.local, 0);
}

/// Found by review: a flush of before the last write was copied was taken for
/// the one that ends it.
#[test]
fn an_older_flush_does_not_end_a_synchronisation() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.sync_to_its_end();
    while bench.local(Ok(())).is_some() {}
    let flush = bench.sent().unwrap();
    assert!(matches!(flush.2, Outgoing::Request { op: Op::Flush, .. }));
    bench.write();
    bench.store_map(true);
    bench.local(Ok(()));
    bench.answer(Some(Errno::EIO));
    while bench.primary.map.sync_left() > 0 {
        assert!(bench.work());
    }
    let reply = Reply::done(flush.1.unwrap());
    bench.primary.reply(flush.0, &reply, &mut bench.out);
    let consistent = |a: &Action| match *a {
        Action::Send {
            what: Outgoing::State { consistency, .. },
            ..
        } => consistency == Consistency::Consistent,
        _ => false,
    };
    assert!(
        !bench.out.iter().any(consistent),
        "the last copy may be lost"
    );
    while bench.work() {}
    assert_eq!(bench.primary.behind(), Behind::Neither);
}

/// Memory is bounded by it.
#[test]
fn no_more_is_copied_at_a_time_than_there_may_be() {
    let mut bench = Bench::new(Replication::Fullsync);
    // Two extents.
    bench.primary.copying = 4096;
    bench.connect();
    for extent in 0..4 {
        let op = Op::Write(range(extent * 2048, 512));
        bench.primary.request(extent, op, &mut bench.out).unwrap();
    }
    while bench.store_map(true) | bench.local(Ok(())).is_some() {}
    while bench.primary.in_flight() > 0 {
        assert!(bench.answer(Some(Errno::EIO)).is_some() | bench.store_metadata(true));
    }
    let mut most = 0;
    while bench.primary.map.sync_left() > 0 {
        most = most.max(bench.primary.in_flight());
        assert!(bench.work());
    }
    assert_eq!(most, 2);
    while bench.work() {}
    assert_eq!(bench.primary.behind(), Behind::Neither);
}

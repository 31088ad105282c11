//! Start and end, configuration, and what is told.

use super::*;

#[test]
fn a_silent_peer_is_given_up() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.primary.request(2, Op::Flush, &mut bench.out).unwrap();
    bench.local(Ok(()));
    bench.primary.tick(Millis(39_999), &mut bench.out);
    assert!(bench.primary.is_connected());
    bench.primary.tick(Millis(40_000), &mut bench.out);
    assert!(!bench.primary.is_connected());
    bench.store_metadata(true);
    assert_eq!(bench.completed(), Some(Ok(())));
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_leaves_nothing_to_copy() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.primary.stop(&mut bench.out);
    assert!(!bench.stopped());
    while bench.completed().is_none() {
        assert!(bench.work());
    }
    assert!(!bench.stopped(), "nothing was flushed");
    assert_eq!(bench.local(Ok(())), Some(Op::Flush));
    assert!(bench.answer(None).is_some());
    assert!(!bench.stopped(), "the map still says that it is dirty");
    assert!(bench.store_map(true));
    assert!(bench.primary.map.image().is_empty());
    assert!(bench.stopped());
    let last = bench.out.last();
    assert!(matches!(last, Some(Action::Disconnect(_, Why::Stopping))));
    bench.out.clear();
    bench.primary.tick(Millis(90_000), &mut bench.out);
    assert_eq!(bench.out, [], "it is over");
}

/// Neither the peer nor the disk keeps it from ending.
#[test]
fn a_stop_ends_whatever_fails() {
    for peer_goes in [false, true] {
        let mut bench = Bench::new(Replication::Fullsync);
        bench.connect();
        bench.write();
        bench.store_map(true);
        bench.primary.stop(&mut bench.out);
        let session = bench.primary.link.session();
        if peer_goes {
            bench.primary.peer_down(session, &mut bench.out);
        }
        let mut events = 0;
        while !bench.stopped() {
            events += 1;
            assert!(events < 20, "{:?}", bench.primary);
            let _ = bench.local(Err(Errno::EIO)).is_some()
                | bench.answer(Some(Errno::EIO)).is_some()
                | bench.store_map(false)
                | bench.store_metadata(false)
                | bench.direct_reads(false);
        }
        assert_eq!(bench.completed(), Some(Err(Errno::EIO)));
    }
}

#[test]
fn a_stop_without_a_peer_looks_for_none() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.primary.tick(Millis(20_000), &mut bench.out);
    bench.out.clear();
    bench.primary.stop(&mut bench.out);
    assert_eq!(bench.local(Ok(())), Some(Op::Flush));
    assert!(bench.stopped());
    bench.primary.stop(&mut bench.out);
    assert!(!bench.stopped(), "told once");
}

/// K29, and requests keep what they were promised.
#[test]
fn a_mode_is_for_requests_that_begin_later() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    bench.write();
    bench.store_map(true);
    let primary = &mut bench.primary;
    primary.reconfigure(Replication::Async, 5_000, &mut bench.out);
    bench.local(Ok(()));
    assert_eq!(bench.completed(), None);
    assert!(bench.answer(None).is_some());
    assert_eq!(bench.completed(), Some(Ok(())));
    bench.write();
    bench.local(Ok(()));
    assert_eq!(bench.completed(), Some(Ok(())));
    bench.primary.reconnect(&mut bench.out);
    bench.out.clear();
    bench.primary.tick(Millis(20_000), &mut bench.out);
    assert!(matches!(bench.out[..], [Action::Connect(_), ..]));
    assert_eq!(bench.primary.replication, Replication::Async);
}

/// K25: base tells of it at every attempt.
#[test]
fn a_refusal_is_told_once_and_another_attempt_made() {
    let mut bench = Bench::new(Replication::Fullsync);
    for attempt in 0..3 {
        let now = Millis(20_000 + attempt * 10_000);
        bench.primary.tick(now, &mut bench.out);
        let session = bench.primary.link.session();
        let refusal = Refusal::SplitBrain;
        bench
            .primary
            .refused(session, refusal, None, &mut bench.out);
    }
    let told = |a: &&Action| matches!(a, Action::Notify(Notice::SplitBrain));
    let attempts = |a: &&Action| matches!(a, Action::Connect(_));
    assert_eq!(bench.out.iter().filter(told).count(), 1);
    assert_eq!(bench.out.iter().filter(attempts).count(), 3);
}

/// K69: base counts reads that it never asked the component for, and its own
/// requests have no place among the clients'.
#[test]
fn only_what_clients_asked_and_the_component_failed_is_counted() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.connect();
    let updates = bench.primary.statistics().activemap_updates;
    bench.write();
    bench.store_map(true);
    assert_eq!(bench.primary.statistics().local_queue, 1);
    assert_eq!(bench.primary.statistics().recv_queue, 1);
    bench.local(Err(Errno::EIO));
    bench.answer(None);
    while bench.completed().is_none() {
        assert!(bench.store_metadata(true) | bench.direct_reads(true));
    }
    let read = Op::Read(range(0, 512));
    bench.primary.request(2, read, &mut bench.out).unwrap();
    bench.primary.request(3, Op::Flush, &mut bench.out).unwrap();
    assert_eq!(bench.local(Err(Errno::EOPNOTSUPP)), Some(Op::Flush));
    let statistics = bench.primary.statistics();
    let expected = crate::message::Statistics {
        reads: 1,
        writes: 1,
        flushes: 1,
        write_errors: 1,
        activemap_updates: updates + 1,
        idle_queue: statistics.idle_queue,
        recv_queue: statistics.recv_queue,
        local_queue: statistics.local_queue,
        ..Default::default()
    };
    assert_eq!(statistics, expected);
}

#[test]
fn a_report_says_how_it_is_and_why_and_what_comes_next() {
    let mut bench = Bench::new(Replication::Fullsync);
    let report = bench.primary.report();
    assert_eq!(
        (report.state, report.behind),
        (State::Waiting, Behind::Peer)
    );
    bench.connect();
    let report = bench.primary.report();
    assert_eq!(
        (report.state, report.since),
        (State::Complete, Millis(20_000))
    );
    assert_eq!((report.next_attempt, report.progress), (None, None));
    bench.primary.tick(Millis(25_000), &mut bench.out);
    bench.write();
    bench.store_map(true);
    let session = bench.primary.link.session();
    bench.primary.peer_down(session, &mut bench.out);
    bench.local(Ok(()));
    let report = bench.primary.report();
    assert_eq!(
        (report.state, report.since),
        (State::Waiting, Millis(25_000))
    );
    assert_eq!(report.next_attempt, Some(Millis(35_000)));
    let lost = Failure {
        at: Millis(25_000),
        what: Trouble::Lost,
    };
    assert_eq!(report.failure, Some(lost));
    let progress = report.progress.unwrap();
    assert_eq!((progress.left, progress.seconds_left), (2048, None));
    bench.primary.tick(Millis(35_000), &mut bench.out);
    let session = bench.primary.link.session();
    let refusal = Refusal::PeerIsPrimary;
    bench
        .primary
        .refused(session, refusal, None, &mut bench.out);
    assert_eq!(bench.primary.report().state, State::Refused(refusal));
    bench.primary.stop(&mut bench.out);
    assert_eq!(bench.primary.report().state, State::Stopping);
}

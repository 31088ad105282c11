use super::*;
use crate::errno::Errno;
use crate::message::{Extensions, Node, Reply};
use crate::metadata::{BLOCK_LENGTH, CreateOptions, Provider};
use crate::payload::Header;
use crate::role::SyncSource;
use crate::units::{ByteRange, Counters, Seq};
use std::vec;

const PROVIDER: Provider = Provider {
    mediasize: 4096 + 512 + 64 * 512,
    sectorsize: 512,
};

const OURS: Extensions = Extensions::STATE.or(Extensions::RAISE);

/// A primary and what it asked for, carried out in the order it asked.
struct Bench {
    primary: Primary,
    out: Vec<Action>,
}

impl Bench {
    fn new(replication: Replication) -> Self {
        let options = CreateOptions {
            extentsize: Some(2048),
            keepdirty: Some(2),
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("shared", PROVIDER, options).unwrap();
        let extents = metadata.validate(PROVIDER).unwrap();
        let primary = Primary::new(Start {
            metadata,
            extents,
            sectorsize: 512,
            map: &[0; 512],
            replication,
            timeout: 20_000,
            entropy: 1,
            now: Millis(0),
        });
        Self {
            primary,
            out: Vec::new(),
        }
    }

    /// Takes out the only action that `choose` wants.
    fn take<T>(&mut self, choose: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let at = self
            .out
            .iter()
            .position(|action| choose(action).is_some())?;
        choose(&self.out.remove(at))
    }

    fn store_map(&mut self, stored: bool) -> bool {
        let asked = self.take(|a| (*a == Action::StoreMap).then_some(()));
        if asked.is_some() {
            self.primary.begin_map_store(|_| {});
            self.primary.map_stored(stored, &mut self.out);
        }
        asked.is_some()
    }

    fn store_metadata(&mut self, stored: bool) -> bool {
        let asked = self.take(|a| (*a == Action::StoreMetadata).then_some(()));
        if asked.is_some() {
            let mut block = [0; BLOCK_LENGTH];
            self.primary.begin_metadata_store(&mut block).unwrap();
            self.primary.metadata_stored(stored, &mut self.out);
        }
        asked.is_some()
    }

    fn local(&mut self, result: Result<(), Errno>) -> Option<Op> {
        let local = |a: &Action| match *a {
            Action::Local { id, op } => Some((id, op)),
            _ => None,
        };
        let (id, op) = self.take(local)?;
        self.primary.local_done(id, result, &mut self.out);
        Some(op)
    }

    fn sent(&mut self) -> Option<(Session, Option<Seq>, Outgoing)> {
        self.take(|a| match *a {
            Action::Send { session, seq, what } => Some((session, seq, what)),
            _ => None,
        })
    }

    fn answer(&mut self, error: Option<Errno>) -> Option<Outgoing> {
        let (session, seq, what) = self.sent()?;
        let data = match what {
            Outgoing::Request {
                op: Op::Read(range),
                ..
            } if error.is_none() => u32::try_from(range.length()).ok(),
            _ => None,
        };
        let reply = Reply {
            seq,
            error,
            received: false,
            payload: data.map(|size| Header {
                size,
                ..Header::EMPTY
            }),
        };
        self.primary.reply(session, &reply, &mut self.out);
        if data.is_some() {
            self.primary.data_received(session, &mut self.out);
        }
        Some(what)
    }

    fn completed(&mut self) -> Option<Result<(), Errno>> {
        self.take(|a| match *a {
            Action::Complete { result, .. } => Some(result),
            _ => None,
        })
    }

    /// The kernel does what it was asked for, or refuses.
    fn direct_reads(&mut self, ok: bool) -> bool {
        let asked = self.take(|a| match *a {
            Action::DirectReads(on) => Some(on),
            _ => None,
        });
        if let Some(on) = asked {
            self.primary.direct_reads_set(on, ok, &mut self.out);
        }
        asked.is_some()
    }

    fn write(&mut self) {
        let op = Op::Write(range(0, 512));
        self.primary.request(1, op, &mut self.out).unwrap();
    }

    /// A peer that has everything, until both say so.
    fn connect(&mut self) {
        self.primary.tick(Millis(20_000), &mut self.out);
        let connect = |a: &Action| match *a {
            Action::Connect(session) => Some(session),
            _ => None,
        };
        let session = self.take(connect).unwrap();
        self.primary.accepted(session, OURS, &mut self.out);
        self.store_metadata(true);
        let hello = |a: &Action| match *a {
            Action::Hello(_, hello) => Some(hello),
            _ => None,
        };
        let hello = self.take(hello).unwrap();
        let node = Node {
            datasize: self.primary.extents.datasize(),
            extentsize: 2048,
            counters: Counters {
                local: hello.counters.remote,
                remote: hello.counters.local,
            },
            virgin: false,
            generation: hello.generation,
            consistency: Consistency::Consistent,
            longest: 1 << 20,
            dirty: None,
        };
        let source = SyncSource::Primary;
        let primary = &mut self.primary;
        primary.peer_up(session, node, source, None, &mut self.out);
        while self.primary.behind() != Behind::Neither {
            assert!(self.work(), "nothing left to do: {:?}", self.primary);
        }
        self.direct_reads(true);
        self.out.clear();
    }

    /// Whatever is asked for is done.
    fn work(&mut self) -> bool {
        let stored = self.store_map(true) | self.store_metadata(true);
        let done = self.local(Ok(())).is_some() | self.answer(None).is_some();
        stored | done | self.direct_reads(true)
    }

    fn stopped(&mut self) -> bool {
        self.take(|a| (*a == Action::Stopped).then_some(()))
            .is_some()
    }
}

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

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

/// K15: a predecessor may have left them on.
#[test]
fn a_stale_copy_is_not_read_by_the_kernel_either() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.primary = {
        let mut metadata = bench.primary.metadata().clone();
        metadata.consistency = Consistency::Inconsistent;
        Primary::new(Start {
            metadata,
            extents: bench.primary.extents,
            sectorsize: 512,
            map: &[0; 512],
            replication: Replication::Fullsync,
            timeout: 20_000,
            entropy: 1,
            now: Millis(0),
        })
    };
    bench.primary.tick(Millis(1), &mut bench.out);
    assert!(bench.out.contains(&Action::DirectReads(false)));
    assert!(bench.direct_reads(false));
    assert!(!bench.direct_reads(true), "not again at once");
    bench.primary.tick(Millis(2), &mut bench.out);
    assert!(bench.direct_reads(true));
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

use super::*;
use crate::decision;
use crate::message::Request;
use crate::metadata::{Consistency, CreateOptions, Provider};
use crate::payload::Header;
use crate::units::{Counters, ResUid};
use std::vec;

const PROVIDER: Provider = Provider {
    mediasize: 4096 + 512 + 64 * 512,
    sectorsize: 512,
};

fn secondary() -> Secondary {
    let options = CreateOptions {
        extentsize: Some(2048),
        ..CreateOptions::default()
    };
    let metadata = Metadata::create("shared", PROVIDER, options).unwrap();
    let extents = metadata.validate(PROVIDER).unwrap();
    Secondary::new(Start {
        metadata,
        extents,
        sectorsize: 512,
        map: &[1; 512],
        on_impossible: OnImpossible::Stop,
        now: Millis(0),
    })
}

fn hello() -> Hello {
    Hello {
        primary: decision::Primary {
            virgin: true,
            resuid: ResUid::new(7).unwrap(),
            counters: Counters::default(),
            generation: None,
            consistency: Consistency::Consistent,
        },
        extensions: EXTENSIONS,
        dirty: None,
    }
}

fn store(secondary: &mut Secondary, stored: bool, out: &mut Vec<Action>) {
    let mut block = [0; BLOCK_LENGTH];
    secondary.begin_metadata_store(&mut block).unwrap();
    secondary.metadata_stored(stored, out);
}

fn connected() -> (Secondary, Session) {
    let mut secondary = secondary();
    let mut out = vec![];
    let session = secondary.hello(hello(), &mut out);
    assert_eq!(
        out,
        [Action::StoreMetadata],
        "no answer before the id is stored"
    );
    out.clear();
    store(&mut secondary, true, &mut out);
    assert!(matches!(
        out[..],
        [
            Action::Answer(_, Rule::VirginPair, _),
            Action::Notify(Notice::Connected)
        ]
    ));
    (secondary, session)
}

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn write(n: u64) -> Request {
    Request::Write {
        seq: seq(n),
        range: ByteRange::new(0, 512).unwrap(),
        memsync: true,
        payload: Header {
            size: 512,
            ..Header::EMPTY
        },
    }
}

#[test]
fn a_secondary_that_cannot_store_the_id_does_not_answer() {
    let mut secondary = secondary();
    let mut out = vec![];
    let session = secondary.hello(hello(), &mut out);
    out.clear();
    store(&mut secondary, false, &mut out);
    assert!(out.contains(&Action::Close(session)));
    assert!(!out.iter().any(|a| matches!(a, Action::Answer(..))));
}

/// K8: base writes what it has of a payload that never ended.
#[test]
fn a_write_without_all_its_data_is_forgotten() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let taken = secondary.request(session, &write(1), &mut out);
    let Taken::Payload(id) = taken else {
        panic!("{taken:?}")
    };
    secondary.peer_down(session, &mut out);
    secondary.received(session, id, &mut out);
    assert!(!out.iter().any(|a| matches!(a, Action::Local { .. })));
    assert_eq!(secondary.in_flight(), 0);
}

#[test]
fn a_flush_waits_for_what_came_before_and_for_nothing_else() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let Taken::Payload(id) = secondary.request(session, &write(1), &mut out) else {
        panic!("a payload follows")
    };
    secondary.received(session, id, &mut out);
    assert!(out.contains(&Action::Reply(session, seq(1), Outcome::Received)));
    secondary.request(session, &Request::Flush { seq: seq(2) }, &mut out);
    let flushes = |out: &[Action]| {
        let flush = |a: &Action| matches!(a, Action::Local { op: Op::Flush, .. });
        out.iter().any(flush)
    };
    assert!(!flushes(&out));
    secondary.local_done(id, Ok(()), &mut out);
    assert!(out.contains(&Action::Reply(session, seq(1), Outcome::Done)));
    assert!(flushes(&out));
}

#[test]
fn a_handshake_is_answered_when_nothing_of_the_last_link_runs() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let Taken::Payload(id) = secondary.request(session, &write(1), &mut out) else {
        panic!("a payload follows")
    };
    secondary.received(session, id, &mut out);
    out.clear();
    let next = secondary.hello(hello(), &mut out);
    assert_eq!(out, [Action::Notify(Notice::Disconnected)]);
    out.clear();
    assert_eq!(
        secondary.request(session, &write(2), &mut out),
        Taken::Stale
    );
    secondary.local_done(id, Ok(()), &mut out);
    assert!(
        matches!(out[..], [Action::Release(_)]),
        "the map is being cleared"
    );
    secondary.map_cleared(true, &mut out);
    assert!(matches!(out[1..], [Action::Answer(s, ..), _] if s == next));
}

#[test]
fn the_map_is_cleared_with_the_first_request_and_again_if_that_fails() {
    let (mut secondary, session) = connected();
    let read = |n| Request::Read {
        seq: seq(n),
        range: ByteRange::new(0, 512).unwrap(),
    };
    let mut out = vec![];
    secondary.request(session, &Request::Keepalive { seq: None }, &mut out);
    assert_eq!(out, []);
    for n in 1..3 {
        secondary.request(session, &read(n), &mut out);
        assert!(out.contains(&Action::ClearMap));
        out.clear();
        secondary.map_cleared(false, &mut out);
    }
    secondary.request(session, &read(3), &mut out);
    secondary.map_cleared(true, &mut out);
    assert!(secondary.map().is_empty());
}

/// K12: what a promotion of this node must know survives a power cut.
#[test]
fn a_state_is_confirmed_when_it_is_stored() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let state = Request::State {
        seq: seq(9),
        consistency: Consistency::Inconsistent,
        generation: None,
        raise: None,
    };
    secondary.request(session, &state, &mut out);
    assert_eq!(out, [Action::StoreMetadata]);
    store(&mut secondary, true, &mut out);
    assert!(out.contains(&Action::Reply(session, seq(9), Outcome::Done)));
    let consistency = secondary.metadata().consistency;
    assert_eq!(consistency, Consistency::Inconsistent);
}

/// Found by review: the answer that promised a full copy was lost, and the
/// next handshake found two nodes that knew each other and copied what was
/// dirty.
#[test]
fn a_full_copy_is_promised_until_it_was_taken_up() {
    let mut secondary = secondary();
    let mut out = vec![];
    let mut knows = hello();
    knows.primary.virgin = false;
    knows.primary.counters.local = 1;
    secondary.hello(knows, &mut out);
    assert_eq!(out, [Action::FillMap], "before the id is stored");
    secondary.map_filled(true, &mut out);
    store(&mut secondary, true, &mut out);
    let full = |out: &[Action], secondary: &Secondary| {
        let mut map = vec![];
        let sent = out.iter().find_map(|action| match action {
            Action::Answer(_, rule, Answer::Accepted { map, .. }) => Some((*rule, *map)),
            _ => None,
        });
        let (rule, sent) = sent.unwrap();
        secondary.write_map(sent, &mut map);
        (rule, map[0])
    };
    assert_eq!(full(&out, &secondary), (Rule::NewSecondary, 0xff));
    let half = secondary.metadata().consistency;
    assert_eq!(half, Consistency::Inconsistent, "it has nothing yet");
    out.clear();
    secondary.hello(knows, &mut out);
    assert_eq!(full(&out, &secondary).0, Rule::SecondaryOutdated);
    assert_eq!(secondary.map().count(), secondary.extents.count());
}

#[test]
fn a_map_of_ones_that_was_not_stored_is_not_promised() {
    let mut secondary = secondary();
    let mut out = vec![];
    let mut knows = hello();
    knows.primary.virgin = false;
    for _ in 0..2 {
        let session = secondary.hello(knows, &mut out);
        assert_eq!(out, [Action::FillMap]);
        secondary.map_filled(false, &mut out);
        assert_eq!(out[1..], [Action::Close(session)]);
        out.clear();
    }
}

fn split() -> Hello {
    let mut split = hello();
    split.primary.virgin = false;
    split.primary.counters = Counters {
        local: 4,
        remote: 2,
    };
    split.dirty = Some(4096);
    split
}

/// A node that wrote alone, as the primary of [`split`] did.
fn wrote_alone() -> Secondary {
    let mut secondary = secondary();
    secondary.metadata.change(|metadata| {
        metadata.resuid = ResUid::new(7);
        metadata.counters = Counters {
            local: 3,
            remote: 3,
        };
    });
    let mut out = vec![];
    secondary.tick(Millis(0), &mut out);
    store(&mut secondary, true, &mut out);
    secondary
}

/// K25: base tells of it every ten seconds.
#[test]
fn a_split_brain_is_told_once() {
    let mut secondary = wrote_alone();
    let mut out = vec![];
    for _ in 0..3 {
        secondary.hello(split(), &mut out);
    }
    let told = out
        .iter()
        .filter(|a| **a == Action::Notify(Notice::SplitBrain));
    assert_eq!(told.count(), 1);
}

/// K61. Whatever interrupts it, the data that was given up never wins.
#[test]
fn data_that_was_given_up_is_made_up_for_and_never_wins() {
    let mut secondary = wrote_alone();
    let map = secondary.map().count();
    let mut out = vec![];
    secondary.discard(&mut out);
    assert_eq!(out, [Action::StoreMetadata]);
    out.clear();
    store(&mut secondary, true, &mut out);
    assert_eq!(out, [Action::Discard(Discard::Stored)]);
    out.clear();
    secondary.hello(split(), &mut out);
    assert_eq!(out, [Action::StoreMetadata], "before it is answered");
    out.clear();
    store(&mut secondary, true, &mut out);
    let Action::Answer(
        _,
        rule,
        Answer::Accepted {
            node,
            source,
            map: sent,
        },
    ) = out[0]
    else {
        panic!("{out:?}")
    };
    let copied = (rule, source, sent);
    assert_eq!(copied, (Rule::Discard, SyncSource::Primary, MapSent::Own));
    assert_eq!(node.consistency, Consistency::Inconsistent);
    // The link is lost before the primary has the map.
    out.clear();
    secondary.hello(split(), &mut out);
    let Action::Answer(_, rule, _) = out[1] else {
        panic!("{out:?}")
    };
    assert_eq!(rule, Rule::SecondaryOutdated);
    assert_eq!(secondary.map().count(), map);
    assert!(!secondary.metadata().discard);
    out.clear();
    secondary.discard(&mut out);
    assert_eq!(out, [Action::Discard(Discard::Connected)]);
}

#[test]
fn data_is_not_given_up_if_that_cannot_be_stored() {
    let mut secondary = wrote_alone();
    let mut out = vec![];
    secondary.discard(&mut out);
    store(&mut secondary, false, &mut out);
    assert!(out.contains(&Action::Discard(Discard::Failed)));
    store(&mut secondary, true, &mut out);
    out.clear();
    secondary.hello(split(), &mut out);
    assert!(matches!(
        out[0],
        Action::Answer(_, Rule::SplitBrain, Answer::Refused(_))
    ));
}

/// The primary's own disk cannot say that it is behind, so this one does.
#[test]
fn a_primary_may_raise_this_node_s_counter() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    for (raise, local) in [(5, 5), (3, 5)] {
        let state = Request::State {
            seq: seq(9),
            consistency: Consistency::Consistent,
            generation: None,
            raise: Some(raise),
        };
        secondary.request(session, &state, &mut out);
        store(&mut secondary, true, &mut out);
        assert_eq!(secondary.metadata().counters.local, local);
    }
}

#[test]
fn a_report_says_how_the_secondary_is_and_why() {
    let mut secondary = wrote_alone();
    let mut out = vec![];
    secondary.hello(split(), &mut out);
    let report = secondary.report();
    assert_eq!(report.state, State::Refused(Rule::SplitBrain));
    assert_eq!((report.dirty, report.peer_dirty), (2 * 2048, Some(4096)));
    let (mut secondary, session) = connected();
    assert_eq!(secondary.report().state, State::Connected);
    let flush = Request::Flush { seq: seq(1) };
    secondary.request(session, &flush, &mut out);
    assert_eq!(secondary.statistics().local_queue, 1);
    let running = out.iter().find_map(|action| match *action {
        Action::Local { id, .. } => Some(id),
        _ => None,
    });
    secondary.local_done(running.unwrap(), Err(Errno::EIO), &mut out);
    let statistics = secondary.statistics();
    assert_eq!((statistics.flushes, statistics.flush_errors), (1, 1));
    secondary.tick(Millis(SILENCE), &mut out);
    let report = secondary.report();
    let silent = Failure {
        at: Millis(SILENCE),
        what: Trouble::Silent,
    };
    assert_eq!(
        (report.state, report.failure),
        (State::Waiting, Some(silent))
    );
}

/// memsync: the primary has answered the write, and then it was lost with the
/// node. Base loses what waits in its queues.
#[test]
fn a_write_in_memory_outlives_the_link() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let mut ids = vec![];
    for n in 1..3 {
        let Taken::Payload(id) = secondary.request(session, &write(n), &mut out) else {
            panic!("a payload follows")
        };
        secondary.received(session, id, &mut out);
        ids.push(id);
    }
    secondary.request(session, &Request::Flush { seq: seq(3) }, &mut out);
    secondary.map_cleared(true, &mut out);
    out.clear();
    secondary.stop(&mut out);
    assert!(!out.contains(&Action::Stopped));
    secondary.local_done(ids[0], Ok(()), &mut out);
    let second = Action::Local {
        id: ids[1],
        op: Op::Write(ByteRange::new(0, 512).unwrap()),
    };
    assert!(out.contains(&second), "it waited for the first");
    assert!(!out.contains(&Action::Stopped));
    secondary.local_done(ids[1], Ok(()), &mut out);
    assert_eq!(out.pop(), Some(Action::Stopped));
    let replies = |a: &Action| matches!(a, Action::Reply(..));
    assert!(!out.iter().any(replies), "nobody is there");
    secondary.stop(&mut out);
    assert!(!out.contains(&Action::Stopped), "told once");
}

/// K14, found by the simulator: a new node wrote as primary, lost power before
/// it had an id, and then met another new one.
#[test]
fn a_virgin_secondary_that_wrote_says_what() {
    let mut secondary = secondary();
    let mut out = vec![];
    secondary.hello(hello(), &mut out);
    store(&mut secondary, true, &mut out);
    let sent = out.iter().find_map(|action| match action {
        Action::Answer(_, rule, Answer::Accepted { map, .. }) => Some((*rule, *map)),
        _ => None,
    });
    assert_eq!(sent, Some((Rule::VirginPair, MapSent::Own)));
}

fn flush(secondary: &mut Secondary, session: Session, n: u64, out: &mut Vec<Action>) -> RequestId {
    secondary.request(session, &Request::Flush { seq: seq(n) }, out);
    let local = out.iter().rev().find_map(|action| match action {
        Action::Local { id, op: Op::Flush } => Some(*id),
        _ => None,
    });
    local.unwrap()
}

/// A system tells of what it could not write once, to whoever asks first.
#[test]
fn a_flush_beside_or_after_one_that_failed_unheard_fails_too() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let failed = |n| Action::Reply(session, seq(n), Outcome::Failed(Errno::EIO));
    let ids = [1, 2].map(|n| flush(&mut secondary, session, n, &mut out));
    secondary.local_done(ids[0], Err(Errno::EIO), &mut out);
    secondary.local_done(ids[1], Ok(()), &mut out);
    assert!(out.contains(&failed(1)) && out.contains(&failed(2)));
    let state = Request::State {
        seq: seq(3),
        consistency: Consistency::Inconsistent,
        generation: None,
        raise: None,
    };
    secondary.request(session, &state, &mut out);
    store(&mut secondary, false, &mut out);
    // The primary knows of the store, but not that it was told of its data.
    for (n, outcome) in [(4, Outcome::Failed(Errno::EIO)), (5, Outcome::Done)] {
        let id = flush(&mut secondary, session, n, &mut out);
        secondary.local_done(id, Ok(()), &mut out);
        assert!(out.contains(&Action::Reply(session, seq(n), outcome)));
    }
}

/// The store's own flush may succeed because another was told.
#[test]
fn a_store_during_which_a_flush_failed_has_failed() {
    let (mut secondary, session) = connected();
    let mut out = vec![];
    let state = Request::State {
        seq: seq(1),
        consistency: Consistency::Inconsistent,
        generation: None,
        raise: None,
    };
    secondary.request(session, &state, &mut out);
    let mut block = [0; BLOCK_LENGTH];
    secondary.begin_metadata_store(&mut block).unwrap();
    let id = flush(&mut secondary, session, 2, &mut out);
    secondary.local_done(id, Err(Errno::EIO), &mut out);
    secondary.metadata_stored(true, &mut out);
    let confirmed = Action::Reply(session, seq(1), Outcome::Done);
    assert!(!out.contains(&confirmed));
}

/// Found by the simulator: the answer was lost with the link, and the primary's
/// next worker took this component's cache for whole.
#[test]
fn a_primary_that_comes_after_a_flush_failed_is_told_once_more() {
    let (mut secondary, mut session) = connected();
    let mut out = vec![];
    let mut flush = |secondary: &mut Secondary, session, result| {
        out.clear();
        secondary.request(session, &Request::Flush { seq: seq(1) }, &mut out);
        let id = out.iter().find_map(|action| match *action {
            Action::Local { id, op: Op::Flush } => Some(id),
            _ => None,
        });
        secondary.local_done(id.unwrap(), result, &mut out);
        out.iter().find_map(|action| match *action {
            Action::Reply(_, _, outcome) => Some(outcome),
            _ => None,
        })
    };
    let failed = Some(Outcome::Failed(Errno::EIO));
    assert_eq!(flush(&mut secondary, session, Err(Errno::EIO)), failed);
    assert_eq!(flush(&mut secondary, session, Ok(())), Some(Outcome::Done));
    let mut ignored = vec![];
    secondary.peer_down(session, &mut ignored);
    let mut known = hello();
    known.primary.virgin = false;
    session = secondary.hello(known, &mut ignored);
    secondary.map_cleared(true, &mut ignored);
    assert!(secondary.is_connected());
    assert_eq!(flush(&mut secondary, session, Ok(())), failed);
    // It has heard by then, so nobody else is told.
    for _ in 0..5000 {
        assert_eq!(flush(&mut secondary, session, Ok(())), Some(Outcome::Done));
    }
    secondary.peer_down(session, &mut ignored);
    session = secondary.hello(known, &mut ignored);
    assert!(secondary.is_connected());
    assert_eq!(flush(&mut secondary, session, Ok(())), Some(Outcome::Done));
}

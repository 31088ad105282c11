use super::*;
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
    let metadata = Metadata::create("shared", PROVIDER, CreateOptions::default()).unwrap();
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

fn hello() -> decision::Primary {
    decision::Primary {
        virgin: true,
        resuid: ResUid::new(7).unwrap(),
        counters: Counters::default(),
        generation: None,
        consistency: Consistency::Consistent,
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
    assert!(matches!(out[..], [Action::Answer(_, Rule::VirginPair, _)]));
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
    assert_eq!(out, []);
    assert_eq!(
        secondary.request(session, &write(2), &mut out),
        Taken::Stale
    );
    secondary.local_done(id, Ok(()), &mut out);
    assert!(matches!(out[..], [Action::Release(_), Action::Answer(s, ..)] if s == next));
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
        secondary.map_cleared(false);
    }
    secondary.request(session, &read(3), &mut out);
    secondary.map_cleared(true);
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
    };
    secondary.request(session, &state, &mut out);
    assert_eq!(out, [Action::StoreMetadata]);
    store(&mut secondary, true, &mut out);
    assert!(out.contains(&Action::Reply(session, seq(9), Outcome::Done)));
    let consistency = secondary.metadata().consistency;
    assert_eq!(consistency, Consistency::Inconsistent);
}

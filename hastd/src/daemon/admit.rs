//! Whether a peer may do what its first message asks for.
//! Facts: spec/hast-wire.md sections 4.1 to 4.3.

use super::Daemon;
use super::children::Worker;
use super::greet::{Caller, Origin, Shown, Visitor, hand_over, wrong_role};
use super::inquire;
use super::unit::Unit;
use crate::ipc;
use crate::log::{self, Level};
use hast_core::message::{Inquiry, MessageError, Opening, Step1Request};
use hast_core::role::Role;
use hast_core::secondary::EXTENSIONS;
use hast_core::units::{Token, Version};
use std::time::Instant;

/// Longest second step in bytes; what exists is shorter than 1 KiB.
const LONGEST_HELLO: usize = 4 << 10;

/// Why a peer is turned away.
#[derive(Debug)]
struct No {
    /// For the peer: base's text, where base has one.
    reason: String,
    /// The peer may want to wait a little.
    wait: bool,
    /// For this node's log.
    line: String,
    level: Level,
}

impl No {
    fn new(reason: impl Into<String>, level: Level, line: String) -> Self {
        Self {
            reason: reason.into(),
            wait: false,
            line,
            level,
        }
    }
}

impl Daemon {
    /// Somebody has sent his first message.
    pub(super) fn admit(&mut self, visitor: Visitor, entries: &[u8], now: Instant) {
        let origin = visitor.origin;
        let wants = match understand(entries) {
            Ok(wants) => wants,
            Err(error) => {
                // Base says nothing to that either.
                let line = format_args!("{origin}: the first message of a handshake: {error}.");
                return self.strangers.complaints.log(Level::Error, line);
            }
        };
        let name = match &wants {
            Wants::Step(Opening::Step1(step)) => step.resource,
            Wants::Step(Opening::Step2(step)) => step.resource,
            Wants::ToKnow(inquiry) => inquiry.resource,
        };
        let Some(unit) = self.resources.find(name.0) else {
            let line = format!("No resource '{name}' as requested by {origin}.");
            let no = No::new("Resource not configured.", Level::Error, line);
            return self.turn_away(&visitor, &no);
        };
        let allowed = self.access.allows(unit.config.remote.as_deref(), origin);
        let verdict = has_access(unit, origin, allowed).and_then(|()| match &wants {
            Wants::Step(Opening::Step1(_)) => may_begin(unit, origin),
            Wants::Step(Opening::Step2(step)) => {
                may_begin(unit, origin)?;
                may_go_on(unit, origin, &step.token, entries)
            }
            Wants::ToKnow(_) => Ok(()),
        });
        match (verdict, wants) {
            (Ok(()), Wants::Step(Opening::Step1(step))) => first_step(unit, visitor, &step, now),
            (Ok(()), Wants::Step(Opening::Step2(_))) => second_step(unit, visitor, entries),
            (Ok(()), Wants::ToKnow(_)) => inquire::tell(unit, &visitor),
            (Err(no), _) => {
                unit.last_refusal = Some((format!("{origin}: {}", no.reason), now));
                self.turn_away(&visitor, &no);
            }
        }
    }

    fn turn_away(&mut self, visitor: &Visitor, no: &No) {
        let line = format_args!("{}", no.line);
        self.strangers.complaints.log(no.level, line);
        visitor.refuse(&no.reason, no.wait);
    }
}

/// What somebody wants.
enum Wants<'a> {
    /// A step of the handshake.
    Step(Opening<'a>),
    /// Only an answer.
    ToKnow(Inquiry<'a>),
}

fn understand(entries: &[u8]) -> Result<Wants<'_>, MessageError> {
    match Inquiry::decode(entries)? {
        Some(inquiry) => Ok(Wants::ToKnow(inquiry)),
        None => Ok(Wants::Step(Opening::decode(entries)?)),
    }
}

/// Whether the resource is any of that node's business.
fn has_access(unit: &Unit, origin: Origin, allowed: bool) -> Result<(), No> {
    let about = unit.about();
    if !allowed {
        let line =
            format!("{about}No access for {origin}: it is not the `remote` of the resource.");
        return Err(No::new("No access to the resource.", Level::Error, line));
    }
    Ok(())
}

/// Whether this node serves a primary.
fn may_begin(unit: &Unit, origin: Origin) -> Result<(), No> {
    let about = unit.about();
    let role = unit.machine.role();
    if role != Role::Secondary {
        let line = format!(
            "{about}We act as {role} for the resource and not as secondary as requested by {origin}."
        );
        return Err(No {
            wait: role == Role::Primary,
            ..No::new(wrong_role(role), Level::Warning, line)
        });
    }
    let listens = unit.worker.as_ref().is_some_and(Worker::listens);
    if !unit.machine.takes_peers() || !listens {
        let reason = "The secondary's worker process does not answer at the moment.";
        let line = format!("{about}{origin} turned away: the worker process does not answer.");
        return Err(No::new(reason, Level::Warning, line));
    }
    Ok(())
}

/// Whether somebody who shows a token was given it.
fn may_go_on(unit: &mut Unit, origin: Origin, token: &Token, entries: &[u8]) -> Result<(), No> {
    const REASON: &str = "Token doesn't match.";
    let about = unit.about();
    if entries.len() > LONGEST_HELLO {
        let line = format!("{about}{origin}: a second step of {} bytes.", entries.len());
        return Err(No::new("The second step is too long.", Level::Error, line));
    }
    let line = format!("{about}Token received from {origin} doesn't match.");
    let shown = unit.caller.as_ref().map(|caller| caller.look_at(token));
    match shown {
        Some(Shown::Valid) => return Ok(()),
        Some(Shown::Wrong) => {
            // A primary listens on its first connection alone.
            if let Some(caller) = unit
                .caller
                .take_if(|caller| caller.origin.is_machine_of(origin))
            {
                caller.refuse(REASON, false);
            }
        }
        Some(Shown::Superseded) | None => {}
    }
    Err(No::new(REASON, Level::Error, line))
}

fn first_step(unit: &mut Unit, visitor: Visitor, step: &Step1Request<'_>, now: Instant) {
    let about = unit.about();
    let origin = visitor.origin;
    log::debug!(1, "{about}Initial connection from {origin}.");
    let version = Version::negotiate(step.version);
    if step.version > Version::MAX.to_byte() {
        log::info!(
            "{about}Remote protocol version {} is not supported, falling back to version {}.",
            step.version,
            version.to_byte()
        );
    }
    log::debug!(
        1,
        "{about}Negotiated protocol version {}.",
        version.to_byte()
    );
    let extensions = step.extensions.and(EXTENSIONS);
    let before = unit.caller.as_ref();
    match Caller::accept(visitor, version, extensions, before, now) {
        Ok(caller) => unit.caller = Some(caller),
        Err(error) => log::error!(
            "{about}{origin}: answering the first step: {}.",
            ggate::errno::words(&error)
        ),
    }
}

fn second_step(unit: &mut Unit, visitor: Visitor, entries: &[u8]) {
    let Some(caller) = unit.caller.take() else {
        return;
    };
    let origin = visitor.origin;
    let peer = ipc::Peer {
        address: caller.origin.to_string(),
        version: caller.version.to_byte(),
        extensions: caller.extensions.bits(),
        hello: entries.to_vec(),
    };
    let connections = hand_over(caller.socket).and_then(|a| Ok([a, hand_over(visitor.socket)?]));
    match connections {
        Ok(connections) => {
            log::debug!(
                1,
                "{}Both connections from {origin} are there.",
                unit.about()
            );
            unit.take_peer(peer, connections);
        }
        Err(error) => log::error!("{}{origin}: {}.", unit.about(), ggate::errno::words(&error)),
    }
}

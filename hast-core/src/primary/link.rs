//! The link to the peer: handshake, keeping it, loss.
//! Facts: spec/hast-wire.md sections 4, 6, 8 and 9; spec/hast-behaviour.md
//! section 6.
//!
//! | state | it ends when |
//! |---|---|
//! | down | it is time to try again |
//! | connecting | the peer accepts step 1 |
//! | greeting | what step 2 says is on disk, and the peer has answered it |
//! | joining | what that answer changed is on disk |
//! | up | the link is lost |
//!
//! A link that is lost is lost at once: what the peer did not answer is what
//! it may not have, and so is what it did not flush.

use super::peer::{Target, Told};
use super::{
    Action, Behind, Hello, LONGEST_REQUEST, Millis, Notice, Outgoing, Primary, Session, Trouble,
    Why,
};
use crate::bitmap::Bitmap;
use crate::decision::Refusal;
use crate::errno::Errno;
use crate::message::{BASE_LONGEST, Extensions, Node};
use crate::metadata::Consistency;
use crate::metastore::Revision;
use crate::outstanding::Asked;
use crate::role::SyncSource;
use crate::slab::RequestId;
use alloc::vec::Vec;

/// Milliseconds between attempts to connect, and between KEEPALIVEs.
const INTERVAL: u64 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Down,
    Connecting(Millis),
    Greeting(Millis, Option<Hello>),
    Joining { map: u64, metadata: Revision },
    Up,
}

#[derive(Debug)]
pub(super) struct Link {
    session: Session,
    state: State,
    next_attempt: Millis,
    pub(super) extensions: Extensions,
    /// The id of the resource was drawn in this handshake.
    virgin: bool,
    /// The peer, as it was at the last handshake.
    pub(super) peer: Option<Node>,
    /// How long it took to answer in the handshake, at least once.
    pub(super) round_trip: Millis,
    /// What it has changed alone, as far as it said.
    pub(super) peer_dirty: Option<u64>,
    /// Why it refused the last handshake that got so far.
    pub(super) refused: Option<Refusal>,
    /// What it has confirmed since.
    pub(super) told: Option<Told>,
    pub(super) telling: bool,
    pub(super) raising: bool,
    /// What its counter was to be raised to, while nobody knows whether it
    /// was.
    pub(super) perhaps_raised: Option<u64>,
    pub(super) sent: Millis,
    pub(super) heard: Millis,
    /// The READ whose data is arriving.
    pub(super) receiving: Option<RequestId>,
}

impl Link {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            session: Session::default(),
            state: State::Down,
            next_attempt: now,
            extensions: Extensions::NONE,
            virgin: false,
            peer: None,
            round_trip: Millis(0),
            peer_dirty: None,
            refused: None,
            told: None,
            telling: false,
            raising: false,
            perhaps_raised: None,
            sent: now,
            heard: now,
            receiving: None,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    pub(super) const fn is_coming_up(&self) -> bool {
        !matches!(self.state, State::Up | State::Down)
    }

    /// When the peer is looked for again.
    pub(super) fn next_attempt(&self) -> Option<Millis> {
        (self.state == State::Down).then_some(self.next_attempt)
    }

    pub(super) const fn session(&self) -> Session {
        self.session
    }

    pub(super) const fn takes_state(&self) -> bool {
        self.extensions.contains(Extensions::STATE)
    }

    pub(super) const fn takes_raise(&self) -> bool {
        self.is_up() && self.extensions.contains(Extensions::RAISE)
    }

    /// What the peer knows of our counter, at most.
    pub(super) fn peer_knows(&self) -> u64 {
        self.peer.map_or(0, |node| node.counters.remote)
    }

    /// Longest request to the peer, in bytes, of those that copy, too.
    pub(super) fn longest(&self) -> u32 {
        self.peer
            .map_or(BASE_LONGEST, |node| node.longest.min(LONGEST_REQUEST))
    }

    /// Hangs up for good, with nothing left to be said.
    pub(super) fn end(&mut self, out: &mut Vec<Action>) {
        if self.state != State::Down {
            self.state = State::Down;
            out.push(Action::Disconnect(self.session, Why::Stopping));
        }
    }
}

impl Primary {
    /// The peer accepted step 1.
    pub fn accepted(&mut self, session: Session, extensions: Extensions, out: &mut Vec<Action>) {
        if session != self.link.session || !matches!(self.link.state, State::Connecting(_)) {
            return;
        }
        self.link.extensions = extensions;
        self.link.state = State::Greeting(self.now, None);
        self.link.virgin = self.metadata().resuid.is_none();
        if self.link.virgin {
            let resuid = self.standing.draw_resuid();
            self.stores.metadata.change(|m| m.resuid = resuid);
        }
        self.say_hello(out);
        self.pump(out);
    }

    /// Step 2, once everything it says is on disk.
    pub(super) fn say_hello(&mut self, out: &mut Vec<Action>) {
        let State::Greeting(since, None) = self.link.state else {
            return;
        };
        let Some(hello) = self.hello().filter(|_| self.stores.metadata.is_durable()) else {
            return;
        };
        self.link.state = State::Greeting(since, Some(hello));
        let dirty = self.dirty_bytes();
        let hello = Hello { dirty, ..hello };
        out.push(Action::Hello(self.link.session, hello));
    }

    /// What is decided by.
    fn hello(&self) -> Option<Hello> {
        let metadata = self.metadata();
        Some(Hello {
            virgin: self.link.virgin && metadata.counters.local == 0,
            resuid: metadata.resuid?,
            counters: metadata.counters,
            generation: metadata.generation,
            consistency: metadata.consistency,
            dirty: 0,
        })
    }

    /// The peer answered step 2: `map` has what is to be copied besides what
    /// is dirty here. An answer took `round_trip`, or less.
    pub fn peer_up(
        &mut self,
        session: Session,
        node: Node,
        source: SyncSource,
        map: Option<&Bitmap>,
        round_trip: Millis,
        out: &mut Vec<Action>,
    ) {
        let State::Greeting(_, Some(said)) = self.link.state else {
            return;
        };
        if session != self.link.session {
            return;
        }
        let size = (self.extents.datasize(), self.extents.extentsize());
        if size != (node.datasize, node.extentsize) {
            return self.disconnect(Why::Geometry, out);
        }
        if source == SyncSource::Primary && self.is_inconsistent() {
            return self.disconnect(Why::StaleSource, out);
        }
        if self.hello() != Some(said) {
            // A write was answered meanwhile, and the peer decided without
            // knowing. It must be asked again.
            return self.disconnect(Why::Changed, out);
        }
        self.link.peer = Some(node);
        self.link.round_trip = round_trip;
        self.link.perhaps_raised = None;
        self.link.peer_dirty = node.dirty;
        self.link.told = Some((node.consistency, node.generation));
        self.stand_towards(node, source);
        if let Some(map) = map {
            self.map.merge(map);
        }
        let changed = self.map.has_changed() || self.map.is_storing();
        self.link.state = State::Joining {
            map: if changed { self.stores.want_map() } else { 0 },
            metadata: self.stores.metadata.revision(),
        };
        self.join(out);
        self.pump(out);
    }

    fn stand_towards(&mut self, node: Node, source: SyncSource) {
        let counters = self.metadata().counters;
        self.standing.knows_what_differs = true;
        self.standing.recorded = counters.local > node.counters.remote;
        match source {
            SyncSource::Primary => {
                self.standing.behind = Behind::Peer;
                let consistent = node.consistency == Consistency::Consistent;
                self.standing.peer_is_current = consistent && !self.standing.recorded;
                if node.virgin {
                    self.standing.peer_is_current = false;
                    self.record_that_the_peer_misses();
                }
            }
            SyncSource::Secondary => {
                self.standing.behind = Behind::Local;
                self.standing.peer_is_current = true;
                self.stores.metadata.change(|metadata| {
                    metadata.consistency = Consistency::Inconsistent;
                    metadata.generation = node.generation;
                });
            }
        }
    }

    pub(super) fn join(&mut self, out: &mut Vec<Action>) {
        let State::Joining { map, metadata } = self.link.state else {
            return;
        };
        let stored = self.stores.has_map(map) && self.stores.metadata.has(metadata);
        if stored && self.may_be_stale() {
            self.link.state = State::Up;
            self.link.refused = None;
            if self.standing.behind != Behind::Local {
                self.direct.allow();
            }
            self.link.heard = self.now;
            self.link.sent = self.now;
            out.push(Action::Notify(Notice::Connected));
            self.sync_begins(out);
        }
    }

    /// The peer refused step 1 or 2, and said why; `node` is what it said of
    /// itself. It is asked again: an operator may act on either side.
    pub fn refused(
        &mut self,
        session: Session,
        refusal: Refusal,
        node: Option<Node>,
        out: &mut Vec<Action>,
    ) {
        if session != self.link.session || !self.link.is_coming_up() {
            return;
        }
        let before = self.link.refused.replace(refusal);
        self.link.peer_dirty = node.and_then(|node| node.dirty);
        if refusal == Refusal::SplitBrain && before != Some(refusal) {
            out.push(Action::Notify(Notice::SplitBrain));
        }
        self.note(Trouble::Refused(refusal));
        self.lose_peer(out);
        self.pump(out);
    }

    /// The peer's address has changed: it is looked for at once.
    pub fn reconnect(&mut self, out: &mut Vec<Action>) {
        if self.link.state != State::Down {
            self.disconnect(Why::Reconfigured, out);
        }
        self.link.next_attempt = self.now;
    }

    /// The link is gone, or could not be made.
    pub fn peer_down(&mut self, session: Session, out: &mut Vec<Action>) {
        if session == self.link.session && self.link.state != State::Down {
            self.note(match self.link.state {
                State::Down | State::Connecting(_) => Trouble::Connect,
                State::Greeting(..) | State::Joining { .. } => Trouble::Handshake,
                State::Up => Trouble::Lost,
            });
            self.lose_peer(out);
            self.pump(out);
        }
    }

    pub(super) fn disconnect(&mut self, why: Why, out: &mut Vec<Action>) {
        out.push(Action::Disconnect(self.link.session, why));
        self.note(Trouble::Disconnected(why));
        self.lose_peer(out);
        self.pump(out);
    }

    fn lose_peer(&mut self, out: &mut Vec<Action>) {
        let was = core::mem::replace(&mut self.link.state, State::Down);
        self.link.next_attempt = Millis(self.now.0 + INTERVAL);
        self.link.telling = false;
        self.standing.peer_knows = false;
        if matches!(was, State::Up | State::Joining { .. }) {
            self.standing.recorded = false;
            if self.standing.behind == Behind::Local {
                // What only the peer had may be gone. That is told of once, so
                // nothing of it may be answered with success after that.
                self.standing.flush_must_fail |= self.map.is_unflushed();
                self.answer_recorded(true, out);
            }
            if !cfg!(hast_bug = "k1") {
                self.map.cache_lost();
                self.unconfirm();
            }
            self.differs();
        }
        if was == State::Up {
            out.push(Action::Notify(Notice::Disconnected));
            self.sync_interrupted(out);
        }
        let mut drained = core::mem::take(&mut self.drained);
        drained.extend(self.outstanding.drain());
        let receiving = self.link.receiving.take();
        drained.extend(receiving.map(|id| Target::Request(id, None)));
        for target in drained.drain(..) {
            match target {
                Target::Request(id, _) => self.remote_done(id, Err(Errno::ENOTCONN), out),
                Target::Raised(to) => {
                    self.link.raising = false;
                    self.raised(to, Err(Errno::ENOTCONN), out);
                }
                Target::Told(_) | Target::Keepalive => {}
            }
        }
        self.drained = drained;
    }

    pub(super) fn tick_link(&mut self, out: &mut Vec<Action>) {
        let since = |then: Millis| self.now.0.saturating_sub(then.0);
        match self.link.state {
            State::Down if self.is_stopping() || self.now < self.link.next_attempt => {}
            State::Down => {
                self.link.session.0 += 1;
                self.link.state = State::Connecting(self.now);
                out.push(Action::Connect(self.link.session));
            }
            State::Connecting(then) | State::Greeting(then, _) if since(then) >= self.timeout => {
                self.disconnect(Why::Silent, out);
            }
            State::Up if !self.outstanding.is_empty() && since(self.link.heard) >= self.timeout => {
                self.disconnect(Why::Silent, out);
            }
            State::Up if since(self.link.sent) >= INTERVAL => {
                if self.link.extensions.contains(Extensions::KEEPALIVE_REPLY) {
                    self.send(Target::Keepalive, Asked::Other, Outgoing::Keepalive, out);
                } else {
                    self.push(None, Outgoing::Keepalive, out);
                }
            }
            _ => {}
        }
    }
}

//! Step 2 of the handshake: what the two nodes decide, and what of it is
//! stored before it is said. Facts: spec/hast-wire.md section 4.4;
//! spec/hast-disk.md section 6.

use super::{Action, Answer, Secondary, Session, Stage, State, Trouble};
use crate::decision::{self, Action as Decided, Decision, MapSent, Rule, decide};
use crate::message::{Extensions, LONGEST_DATA, Node};
use crate::metadata::Consistency;
use crate::primary::Notice;
use crate::role::SyncSource;
use crate::units::Counters;
use alloc::vec::Vec;

/// What a primary has said when it has shown the token of step 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// What is decided by.
    pub primary: decision::Primary,
    /// The extensions both know, as agreed on in step 1.
    pub extensions: Extensions,
    /// Bytes it may have changed since both were the same.
    pub dirty: Option<u64>,
}

/// What became of [`Secondary::discard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discard {
    /// It is on stable storage that this data is given up.
    Stored,
    /// It could not be stored; the data is not given up.
    Failed,
    /// A primary is connected: there is nothing to give up.
    Connected,
}

impl Secondary {
    /// A primary has shown the token of step 1: whatever link there was ends.
    pub fn hello(&mut self, hello: Hello, out: &mut Vec<Action>) -> Session {
        self.session.0 += 1;
        if self.is_stopping() {
            out.push(Action::Close(self.session));
            return self.session;
        }
        self.end_link(Trouble::Lost, out);
        self.primary = Some(hello);
        self.stage = Stage::Greeting;
        self.heard = self.now;
        self.greet(out);
        self.session
    }

    /// Answers step 2 as soon as nothing of an earlier link runs.
    pub(super) fn greet(&mut self, out: &mut Vec<Action>) {
        let Some(hello) = self.primary.filter(|_| self.stage == Stage::Greeting) else {
            return;
        };
        if self.slots.len() > 0 || self.map_store {
            return;
        }
        let Decision { rule, action } = self.decide(&hello);
        match action {
            Decided::Refuse => {
                self.stage = Stage::Idle;
                self.watch.set(State::Refused(rule), self.now);
                let answer = Answer::Refused(self.node());
                out.push(Action::Answer(self.session, rule, answer));
                let split_brain = matches!(rule, Rule::SplitBrain | Rule::GenerationsDiffer);
                if split_brain && !core::mem::replace(&mut self.split_brain, true) {
                    out.push(Action::Notify(Notice::SplitBrain));
                }
            }
            Decided::Sync {
                map: MapSent::Full, ..
            } if !(self.map.is_full() && self.map_is_stored) => {
                self.map.fill();
                self.map_store = true;
                self.map_is_stored = false;
                self.stage = Stage::Filling;
                out.push(Action::FillMap);
            }
            // A virgin pair has nothing in common to speak of, but this node may
            // have begun to write before it lost power.
            Decided::Sync {
                source,
                map: MapSent::None,
                ..
            } if !self.map.is_empty() => self.adopt(&hello, rule, source, MapSent::Own, out),
            Decided::Sync { source, map, .. } => self.adopt(&hello, rule, source, map, out),
        }
    }

    fn decide(&self, hello: &Hello) -> Decision {
        let own = decision::Secondary::of(self.metadata.get());
        decide(&hello.primary, &own, self.on_impossible)
    }

    /// The map of ones is on stable storage, or that failed.
    pub fn map_filled(&mut self, filled: bool, out: &mut Vec<Action>) {
        let filled = filled && !core::mem::take(&mut self.map_doubted);
        self.map_store = false;
        self.map_is_stored = filled;
        if !filled {
            self.store_failed();
        }
        if self.stage == Stage::Filling {
            self.stage = Stage::Greeting;
            if !filled {
                self.note(Trouble::Map);
                self.fail_handshake(out);
            }
        }
        self.greet(out);
        self.pump_stop(out);
    }

    /// Stores what the answer says or relies on.
    fn adopt(
        &mut self,
        hello: &Hello,
        rule: Rule,
        source: SyncSource,
        map: MapSent,
        out: &mut Vec<Action>,
    ) {
        let primary = hello.primary;
        let virgin = self.metadata().resuid.is_none();
        let given_up = rule == Rule::Discard;
        // Only a primary that says when it has copied everything can be told
        // that this component is not to be used until then.
        let unusable = rule == Rule::NewSecondary || given_up;
        let unusable = unusable && hello.extensions.contains(Extensions::STATE);
        if virgin || given_up || unusable || self.metadata().discard {
            self.metadata.change(|metadata| {
                metadata.resuid = metadata.resuid.or(Some(primary.resuid));
                metadata.discard = false;
                if given_up {
                    // From now on this node lacks something and has nothing:
                    // whatever comes next, the primary's data is newer.
                    metadata.generation = primary.generation;
                    metadata.counters = Counters {
                        local: primary.counters.remote,
                        remote: primary.counters.local.saturating_sub(1),
                    };
                }
                if unusable {
                    metadata.consistency = Consistency::Inconsistent;
                }
            });
        }
        let node = Node {
            virgin,
            ..self.node()
        };
        let answer = Answer::Accepted { node, source, map };
        self.stage = Stage::Adopting(rule, answer);
        self.accept(out);
    }

    pub(super) fn accept(&mut self, out: &mut Vec<Action>) {
        if let Stage::Adopting(rule, answer) = self.stage
            && self.metadata.is_durable()
        {
            self.stage = Stage::Connected;
            self.flush_must_fail |= self.untold.take().is_some();
            self.watch.set(State::Connected, self.now);
            self.split_brain = false;
            out.push(Action::Answer(self.session, rule, answer));
            out.push(Action::Notify(Notice::Connected));
        }
        self.ask_for_stores(out);
    }

    /// What the answer needs cannot be stored. The primary tries again.
    pub(super) fn fail_handshake(&mut self, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Adopting(..) | Stage::Greeting) {
            out.push(Action::Close(self.session));
            self.stage = Stage::Idle;
        }
    }

    fn node(&self) -> Node {
        let metadata = self.metadata.get();
        Node {
            datasize: metadata.datasize,
            extentsize: metadata.extentsize,
            counters: metadata.counters,
            virgin: metadata.resuid.is_none(),
            generation: metadata.generation,
            consistency: metadata.consistency,
            longest: LONGEST_DATA,
            dirty: Some(self.dirty_bytes()),
        }
    }

    /// Bytes that were changed here alone, or may have been.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.map.count() * u64::from(self.extents.extentsize())
    }

    /// Gives up what only this node has, to resolve a split-brain: when the
    /// nodes meet, the primary's data wins, and only what may differ is
    /// copied. Answered by [`Action::Discard`].
    pub fn discard(&mut self, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Connected | Stage::Adopting(..)) {
            return out.push(Action::Discard(Discard::Connected));
        }
        if !self.metadata().discard {
            self.metadata.change(|metadata| metadata.discard = true);
        }
        self.discarding = Some(self.metadata.revision());
        self.discard_stored(true, out);
        self.ask_for_stores(out);
    }

    pub(super) fn discard_stored(&mut self, stored: bool, out: &mut Vec<Action>) {
        let Some(revision) = self.discarding else {
            return;
        };
        if self.metadata.has(revision) {
            self.discarding = None;
            out.push(Action::Discard(Discard::Stored));
        } else if !stored {
            self.discarding = None;
            // It may be on the disk all the same, until the next store.
            self.metadata.change(|metadata| metadata.discard = false);
            out.push(Action::Discard(Discard::Failed));
        }
    }
}

//! What people and programs are told about a secondary.
//! Facts: spec/hast-behaviour.md section 8.

use super::request::Stage;
use super::{Millis, Op, REQUESTS, Secondary};
use crate::decision::Rule;
use crate::errno::Errno;
use crate::message::Statistics;
use crate::metadata::Consistency;

/// How this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No primary is connected.
    Waiting,
    /// A primary is.
    Connected,
    /// The last one was refused, by this rule.
    Refused(Rule),
}

/// What went wrong, and in which step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The component failed this.
    Local(Op, Errno),
    /// The map could not be overwritten.
    Map,
    /// The metadata could not be stored.
    Metadata,
    /// The primary was silent for too long.
    Silent,
    /// The link was lost.
    Lost,
}

/// The last thing that went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// When.
    pub at: Millis,
    /// What.
    pub what: Trouble,
}

/// Everything there is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// How this node is.
    pub state: State,
    /// Since when.
    pub since: Millis,
    /// Whether its component may be used.
    pub consistency: Consistency,
    /// It was given up: [`Secondary::discard`].
    pub discard: bool,
    /// Bytes it may have changed since both were the same.
    pub dirty: u64,
    /// The same of the primary, as far as it has said.
    pub peer_dirty: Option<u64>,
    /// The last thing that went wrong.
    pub failure: Option<Failure>,
}

/// What changes are noticed by.
#[derive(Debug)]
pub(super) struct Watch {
    state: State,
    since: Millis,
    failure: Option<Failure>,
    counted: Statistics,
}

impl Watch {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            state: State::Waiting,
            since: now,
            failure: None,
            counted: Statistics::default(),
        }
    }
}

impl Secondary {
    /// How this node is, and why.
    #[must_use]
    pub fn report(&self) -> Report {
        let metadata = self.metadata();
        Report {
            state: self.watch.state,
            since: self.watch.since,
            consistency: metadata.consistency,
            discard: metadata.discard,
            dirty: self.dirty_bytes(),
            peer_dirty: self.primary.and_then(|hello| hello.dirty),
            failure: self.watch.failure,
        }
    }

    /// What was counted since this worker started, and how many requests are
    /// where: `local` are with the component or wait for it, `send` for the
    /// connection.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.watch.counted;
        for (_, job) in self.slots.iter() {
            match job.stage {
                Stage::Receiving => {}
                Stage::Waiting | Stage::Running | Stage::Storing(_) => statistics.local_queue += 1,
                Stage::Sending => statistics.send_queue += 1,
            }
        }
        statistics.idle_queue = u64::from(REQUESTS) - crate::length(self.slots.len());
        statistics
    }

    pub(super) fn set_state(&mut self, state: State) {
        if self.watch.state != state {
            self.watch.state = state;
            self.watch.since = self.now;
        }
    }

    pub(super) fn note(&mut self, what: Trouble) {
        let at = self.now;
        self.watch.failure = Some(Failure { at, what });
    }

    pub(super) fn count_request(&mut self, op: Op) {
        let counted = &mut self.watch.counted;
        *match op {
            Op::Read(_) => &mut counted.reads,
            Op::Write(_) => &mut counted.writes,
            Op::Delete(_) => &mut counted.deletes,
            Op::Flush => &mut counted.flushes,
        } += 1;
    }

    pub(super) fn count_error(&mut self, op: Op, error: Errno) {
        if op == Op::Flush && error.means_no_cache() {
            return;
        }
        self.note(Trouble::Local(op, error));
        let counted = &mut self.watch.counted;
        *match op {
            Op::Read(_) => &mut counted.read_errors,
            Op::Write(_) => &mut counted.write_errors,
            Op::Delete(_) => &mut counted.delete_errors,
            Op::Flush => &mut counted.flush_errors,
        } += 1;
    }
}

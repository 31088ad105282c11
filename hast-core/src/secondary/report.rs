//! What people and programs are told about a secondary.
//! Facts: spec/hast-behaviour.md section 8.

use super::request::Stage;
use super::{Millis, Op, REQUESTS, Secondary};
use crate::decision::Rule;
use crate::errno::Errno;
use crate::message::Statistics;
use crate::metadata::Consistency;
use crate::watch;

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
pub type Failure = watch::Failure<Trouble>;

pub(super) type Watch = watch::Watch<State, Trouble>;

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

impl Secondary {
    /// How this node is, and why.
    #[must_use]
    pub fn report(&self) -> Report {
        let metadata = self.metadata();
        Report {
            state: self.watch.state(),
            since: self.watch.since(),
            consistency: metadata.consistency,
            discard: metadata.discard,
            dirty: self.dirty_bytes(),
            peer_dirty: self.primary.and_then(|hello| hello.dirty),
            failure: self.watch.failure(),
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

    pub(super) fn note(&mut self, what: Trouble) {
        self.watch.note(what, self.now);
    }
}

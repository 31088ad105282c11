//! What a machine remembers for its report: its state and since when, the last
//! thing that went wrong, what was counted.
//! Facts: spec/hast-behaviour.md section 5.7.

use crate::errno::Errno;
use crate::message::Statistics;
use crate::primary::{Millis, Op};

/// The last thing that went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure<Trouble> {
    /// When.
    pub at: Millis,
    /// What, and in which step.
    pub what: Trouble,
}

#[derive(Debug)]
pub(crate) struct Watch<State, Trouble> {
    state: State,
    since: Millis,
    failure: Option<Failure<Trouble>>,
    pub(crate) counted: Statistics,
}

impl<State: Copy + PartialEq, Trouble: Copy> Watch<State, Trouble> {
    pub(crate) fn new(state: State, since: Millis) -> Self {
        Self {
            state,
            since,
            failure: None,
            counted: Statistics::default(),
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn since(&self) -> Millis {
        self.since
    }

    pub(crate) const fn failure(&self) -> Option<Failure<Trouble>> {
        self.failure
    }

    pub(crate) fn set(&mut self, state: State, now: Millis) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    pub(crate) const fn note(&mut self, what: Trouble, at: Millis) {
        self.failure = Some(Failure { at, what });
    }

    pub(crate) const fn count_request(&mut self, op: Op) {
        let counted = &mut self.counted;
        *match op {
            Op::Read(_) => &mut counted.reads,
            Op::Write(_) => &mut counted.writes,
            Op::Delete(_) => &mut counted.deletes,
            Op::Flush => &mut counted.flushes,
        } += 1;
    }

    pub(crate) const fn count_error(&mut self, op: Op) {
        let counted = &mut self.counted;
        *match op {
            Op::Read(_) => &mut counted.read_errors,
            Op::Write(_) => &mut counted.write_errors,
            Op::Delete(_) => &mut counted.delete_errors,
            Op::Flush => &mut counted.flush_errors,
        } += 1;
    }
}

/// Whether an operation went wrong, and how: a FLUSH of a component without a
/// cache did not.
pub(crate) fn error(op: Op, result: Result<(), Errno>) -> Option<Errno> {
    let error = result.err()?;
    (op != Op::Flush || !error.means_no_cache()).then_some(error)
}

//! Reads the kernel serves straight from the local component, by-passing this
//! machine. Facts: spec/hast-behaviour.md section 4.1; K15: base never takes
//! them back.
//!
//! **Invariant:** while the local component lacks something that was
//! confirmed, direct reads are known to be off. Nothing makes it lack
//! something before they are: a write that failed here is answered after that,
//! and a peer that has newer data is joined after that.

use super::{Action, Behind, Primary, Trouble};
use alloc::vec::Vec;

#[derive(Debug, Default)]
pub(super) struct Direct {
    /// What the kernel does; nobody knows what a predecessor left behind.
    known: Option<bool>,
    /// What it was asked for and has not reported.
    asked: Option<bool>,
    /// They were allowed since the local component was last behind.
    allowed: bool,
    /// The kernel refused, as it does for a file; not to be asked again now.
    failed: bool,
}

impl Direct {
    /// Whether nobody reads the local component but through this machine.
    pub(super) fn are_off(&self) -> bool {
        self.known == Some(false) && self.asked != Some(true)
    }

    /// Both components have everything, or the peer lacks something.
    pub(super) const fn allow(&mut self) {
        self.allowed = true;
        self.failed = false;
    }

    /// Time has gone by: what failed may be tried again, if it matters.
    pub(super) const fn retry(&mut self) {
        if !self.allowed {
            self.failed = false;
        }
    }

    /// What the kernel must now be asked for.
    fn ask(&mut self, stale: bool) -> Option<bool> {
        if stale {
            self.failed &= !core::mem::take(&mut self.allowed);
        }
        let wanted = if stale { false } else { self.allowed };
        let needed = stale || self.allowed;
        if !needed || self.asked.is_some() || self.failed || self.known == Some(wanted) {
            return None;
        }
        self.asked = Some(wanted);
        self.asked
    }
}

impl Primary {
    /// The kernel was asked for [`Action::DirectReads`], and does it unless it
    /// refused.
    pub fn direct_reads_set(&mut self, on: bool, ok: bool, out: &mut Vec<Action>) {
        self.direct.asked = None;
        self.direct.failed = !ok;
        if ok {
            self.direct.known = Some(on);
        } else if !on {
            self.note(Trouble::DirectReads);
        }
        self.answer_recorded(!ok && !on, out);
        self.join(out);
        self.pump(out);
    }

    pub(super) fn pump_direct(&mut self, out: &mut Vec<Action>) {
        let stale = self.standing.behind == Behind::Local && !cfg!(hast_bug = "k15");
        if let Some(on) = self.direct.ask(stale) {
            out.push(Action::DirectReads(on));
        }
    }

    /// Whether what makes the local component lack something may be answered.
    pub(super) fn may_be_stale(&self) -> bool {
        let stale = self.standing.behind == Behind::Local;
        !stale || self.direct.are_off() || cfg!(hast_bug = "k15")
    }
}

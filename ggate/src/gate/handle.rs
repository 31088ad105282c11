//! One gate, as the threads that serve it hold it.

use super::{Command, Ggctl, Outcome, Request, Seq, Unit};
use crate::log;
use crate::range::ByteRange;
use nix::errno::Errno;

/// A gate and its number.
pub struct Handle {
    /// The six calls.
    pub ctl: Box<dyn Ggctl>,
    /// For all of them.
    pub unit: Unit,
}

impl Handle {
    /// Completes a request. There is nobody to tell when that fails, so it is
    /// logged; a gate that is gone is no failure, START is about to say so.
    pub fn done(&self, request: &Request, outcome: Outcome<'_>) {
        match self.ctl.done(self.unit, request, outcome) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => log::error!(
                "ggate{}: completing {:?} of {} failed: {}.",
                self.unit,
                request.command,
                request.range,
                errno.desc()
            ),
        }
    }

    /// Completes several requests, at most [`Ggctl::done_at_once`].
    pub fn done_all<'a>(&self, mut done: impl Iterator<Item = (Request, Outcome<'a>)>) {
        if self.ctl.done_at_once() > 1 {
            // No such gate: START is about to say so.
            let _ = self.ctl.done_all(self.unit, &mut done);
        } else {
            done.for_each(|(request, outcome)| self.done(&request, outcome));
        }
    }

    /// Whether there still is a gate, for who cannot enter START to find out.
    /// Request numbers begin at 1: to complete number 0 does nothing.
    #[must_use]
    pub fn exists(&self) -> bool {
        let nothing = Request {
            seq: Seq(0),
            command: Command::Flush,
            range: ByteRange::default(),
        };
        let answer = self
            .ctl
            .done(self.unit, &nothing, Outcome::Error(Errno::EIO));
        answer != Err(Errno::ENOENT)
    }
}

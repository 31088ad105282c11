//! Whether the server still has what it acknowledged.
//!
//! A WRITE is answered when the server has given it to its operating system. If
//! that machine dies before a FLUSH, acknowledged writes are gone, and a later
//! FLUSH over a new session would succeed all the same (wire specification,
//! section 16, row 25). Our servers name the run of their operating system (a
//! boot id), whose cache outlives them; when that has changed while acknowledged writes were not flushed, the next
//! FLUSH must fail once, so that the file system above learns of it.

use ggate::wire::InstanceId;

/// Counts what a successful FLUSH has to cover. No clock, no I/O.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    /// Writes acknowledged so far.
    acknowledged: u64,
    /// How many of them a successful FLUSH has covered.
    flushed: u64,
    /// Which run of which server the current session is with; none for base's.
    server: Option<InstanceId>,
    /// How many were acknowledged when a server was found restarted: until a
    /// FLUSH has failed for them, one that succeeds would lie.
    lost: Option<u64>,
}

/// What a new session means for writes that were acknowledged and not flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The same server process, or nothing was at stake.
    Safe,
    /// They may be gone: the next FLUSH will fail.
    Lost,
    /// The server does not tell; nothing can be said.
    Unknown,
}

/// How many acknowledged writes a FLUSH covers if it succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Covers(u64);

impl Durability {
    /// A session with this server begins.
    pub(crate) fn session(&mut self, server: Option<InstanceId>) -> Verdict {
        let before = std::mem::replace(&mut self.server, server);
        if self.acknowledged == self.flushed {
            return Verdict::Safe;
        }
        match (before, server) {
            (Some(old), Some(new)) if old == new => Verdict::Safe,
            (Some(_), Some(_)) => {
                self.lost = Some(self.acknowledged);
                Verdict::Lost
            }
            _ => Verdict::Unknown,
        }
    }

    /// Whether the current server is one of ours.
    pub(crate) fn server_tells(&self) -> bool {
        self.server.is_some()
    }

    /// A WRITE was acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged += 1;
    }

    /// A FLUSH is about to be sent.
    pub(crate) fn flush_sent(&self) -> Covers {
        Covers(self.acknowledged)
    }

    /// A FLUSH succeeded.
    pub(crate) fn flushed(&mut self, covers: Covers) {
        self.flushed = self.flushed.max(covers.0);
    }

    /// Whether a FLUSH has to fail now, once. What is lost then counts as
    /// reported; what the new server acknowledged does not.
    pub(crate) fn report_loss(&mut self) -> bool {
        let Some(lost) = self.lost.take() else {
            return false;
        };
        self.flushed = self.flushed.max(lost);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<InstanceId> = Some(InstanceId([1; 16]));
    const TWO: Option<InstanceId> = Some(InstanceId([2; 16]));

    fn after_a_write(server: Option<InstanceId>) -> Durability {
        let mut d = Durability::default();
        d.session(server);
        d.acknowledged();
        d
    }

    #[test]
    fn a_restarted_server_fails_one_flush_and_only_one() {
        let mut d = after_a_write(ONE);
        assert_eq!(d.session(TWO), Verdict::Lost);
        assert!(d.report_loss());
        assert!(!d.report_loss());
        assert_eq!(d.session(ONE), Verdict::Safe);
    }

    /// The FLUSH that failed covered nothing of what the new server has.
    #[test]
    fn writes_after_a_restart_are_at_stake_when_it_restarts_again() {
        let mut d = after_a_write(ONE);
        assert_eq!(d.session(TWO), Verdict::Lost);
        d.acknowledged();
        assert!(d.report_loss());
        assert_eq!(d.session(ONE), Verdict::Lost);
        assert!(d.report_loss());
        assert!(!d.report_loss());
    }

    #[test]
    fn the_same_server_again_is_no_loss() {
        let mut d = after_a_write(ONE);
        assert_eq!(d.session(ONE), Verdict::Safe);
        assert!(!d.report_loss());
    }

    #[test]
    fn a_flush_covers_what_was_acknowledged_before_it_was_sent_and_no_more() {
        let mut d = after_a_write(ONE);
        let covers = d.flush_sent();
        d.acknowledged();
        d.flushed(covers);
        assert_eq!(d.session(TWO), Verdict::Lost);
        let mut d = after_a_write(ONE);
        let covers = d.flush_sent();
        d.flushed(covers);
        assert_eq!(d.session(TWO), Verdict::Safe);
    }

    #[test]
    fn a_server_of_base_leaves_it_open() {
        let mut d = after_a_write(None);
        assert_eq!(d.session(None), Verdict::Unknown);
        assert_eq!(d.session(TWO), Verdict::Unknown);
        assert!(!d.report_loss());
    }
}

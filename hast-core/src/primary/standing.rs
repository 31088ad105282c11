//! Which component is behind, and where that is written down before anybody
//! relies on it. Facts: spec/hast-disk.md section 6; docs/extensions.md.
//!
//! | missed by | written down in | seen by |
//! |---|---|---|
//! | the peer | own counters and generation | whoever compares them with the peer's |
//! | the local component | own consistency flag | this node when it starts, the peer in the handshake |
//! | the same, if that cannot be stored | the peer's counters | whoever compares them with ours |

use super::{Action, Primary};
use crate::errno::Errno;
use crate::metadata::Consistency;
use crate::metastore::Revision;
use crate::units::{Counters, Generation, ResUid};
use alloc::vec::Vec;

/// Which component lacks something the other has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// None, but for requests in flight.
    Neither,
    /// The peer's: it is copied to, as soon as it is there.
    Peer,
    /// The local one: it is copied to, and what it lacks is read from the
    /// peer. Without a peer nothing can be written, since the peer has what
    /// this node lacks.
    Local,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Standing {
    pub(super) behind: Behind,
    /// The counters say already that the peer has missed something, since
    /// contact was lost or since it began to.
    pub(super) recorded: bool,
    pub(super) peer_is_current: bool,
    /// Since this worker started there was a peer that knew what differs. An
    /// inconsistent component by itself does not: a secondary has no map.
    pub(super) knows_what_differs: bool,
    /// The peer had answered writes and not flushed them when it went, while
    /// only its component counted: the next FLUSH must not succeed.
    pub(super) flush_must_fail: bool,
    /// The peer has stored that the local component is behind, which its own
    /// metadata may not say.
    pub(super) peer_knows: bool,
    entropy: u64,
}

impl Standing {
    pub(super) fn new(consistency: Consistency, takes_over: bool, entropy: u64) -> Self {
        let consistent = consistency == Consistency::Consistent;
        Self {
            behind: if consistent {
                Behind::Peer
            } else {
                Behind::Local
            },
            recorded: false,
            peer_is_current: false,
            knows_what_differs: consistent,
            // The last worker may have known of such a loss, and told nobody.
            // (So may one that has copied everything since: not even that is
            // known here.)
            flush_must_fail: takes_over && !consistent,
            peer_knows: false,
            entropy,
        }
    }

    /// A number that no other worker draws (`SplitMix64`).
    fn draw(&mut self) -> u64 {
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    pub(super) fn draw_resuid(&mut self) -> Option<ResUid> {
        ResUid::new(self.draw())
    }
}

impl Primary {
    /// The peer misses something that is to be answered with success: after
    /// which state of the metadata that may be done.
    pub(super) fn peer_misses(&mut self) -> Result<Revision, Errno> {
        if self.standing.behind == Behind::Local {
            return Err(Errno::EIO);
        }
        self.standing.behind = Behind::Peer;
        self.standing.peer_is_current = false;
        self.sync_reopened();
        self.record_that_the_peer_misses();
        Ok(self.stores.metadata.revision())
    }

    /// A FLUSH has succeeded on both components: after which state of the
    /// metadata it may be answered. What it covers one of them may lack.
    pub(super) fn both_flushed(&mut self) -> Result<Revision, Errno> {
        match self.standing.behind {
            Behind::Neither => Ok(Revision::FIRST),
            // Nobody was promised that until now. When all that is left is to
            // store that the peer has everything, it has this, too.
            Behind::Peer if !self.standing.recorded && !self.sync_is_being_recorded() => {
                self.peer_misses()
            }
            // What is true may not be written down yet.
            Behind::Peer | Behind::Local => Ok(self.stores.metadata.revision()),
        }
    }

    /// Raises the own counter above all that the peer can know of it: once
    /// since contact was lost, whatever the counters were (K7). A resource that
    /// was never connected gets its id here: with none, this node would be
    /// taken for one without data when the other becomes primary (K14).
    pub(super) fn record_that_the_peer_misses(&mut self) {
        if core::mem::replace(&mut self.standing.recorded, true) {
            return;
        }
        if cfg!(hast_bug = "k7") && self.metadata().counters.local != self.link.peer_knows() {
            return;
        }
        let generation = Generation::new(self.standing.draw());
        let resuid = self.standing.draw_resuid();
        let known = self.link.peer_knows();
        self.stores.metadata.change(|metadata| {
            let local = metadata.counters.local.max(known);
            metadata.counters.local = local.saturating_add(1);
            metadata.generation = generation;
            metadata.resuid = metadata.resuid.or(resuid);
        });
    }

    /// The local component misses something the peer has. That must not be
    /// answered with success if the peer misses something, too, or may come
    /// to: then neither would have everything.
    pub(super) fn local_misses(&mut self) -> Result<Revision, Errno> {
        if cfg!(hast_bug = "k4") {
            return Ok(Revision::FIRST);
        }
        match self.standing.behind {
            Behind::Peer => return Err(Errno::EIO),
            Behind::Neither if self.answered_early > 0 => return Err(Errno::EIO),
            Behind::Neither | Behind::Local => {}
        }
        self.stand_behind_the_peer();
        Ok(self.stores.metadata.revision())
    }

    pub(super) fn stand_behind_the_peer(&mut self) {
        self.standing.behind = Behind::Local;
        // What was about to be recorded is not true any more.
        self.sync_reopened();
        if !self.is_inconsistent() {
            let inconsistent = Consistency::Inconsistent;
            self.stores
                .metadata
                .change(|m| m.consistency = inconsistent);
        }
    }

    /// The own disk cannot say that it is behind: the peer's can, by a counter
    /// above all this node knows of it. Whether the peer was asked.
    pub(super) fn record_at_the_peer(&mut self, out: &mut Vec<Action>) -> bool {
        let Some(peer) = self.link.peer.filter(|_| self.link.takes_raise()) else {
            return false;
        };
        if self.standing.behind != Behind::Local || self.standing.peer_knows {
            return false;
        }
        if !self.waits_for_a_record() {
            return false;
        }
        // Whatever was about to be called the same is not, with that.
        self.sync_reopened();
        let known = self.metadata().counters.remote;
        let raise = peer.counters.local.max(known).saturating_add(1);
        self.raise(raise, out);
        true
    }

    /// The peer has, or has not, stored that the local component is behind.
    pub(super) fn raised(&mut self, to: u64, result: Result<(), Errno>, out: &mut Vec<Action>) {
        if let (Ok(()), Some(peer)) = (result, &mut self.link.peer) {
            peer.counters.local = to;
            self.link.perhaps_raised = None;
            self.standing.peer_knows = true;
        } else {
            self.sync_failed();
        }
        self.answer_recorded(result.is_err(), out);
    }

    /// Something is to be copied although nobody was promised anything: the
    /// local component decides unless it is itself behind.
    pub(super) fn differs(&mut self) {
        if self.standing.behind == Behind::Neither && self.map.sync_left() > 0 {
            self.standing.behind = Behind::Peer;
        }
    }

    /// Both components are the same, and both have flushed it: the counters
    /// become equal, crosswise.
    pub(super) fn record_equality(&mut self, peer: Counters) {
        self.standing.recorded = false;
        self.standing.peer_knows = false;
        let metadata = self.stores.metadata.get();
        let equal = Counters {
            local: peer.remote,
            remote: peer.local,
        };
        if metadata.counters != equal || self.is_inconsistent() {
            self.stores.metadata.change(|metadata| {
                metadata.counters = equal;
                metadata.consistency = Consistency::Consistent;
            });
        }
    }
}

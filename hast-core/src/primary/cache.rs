//! Flushes that failed: what a component had in its cache may be gone, although
//! it was confirmed and can still be read.
//!
//! A system tells of that once, to whoever flushes first, and a later flush
//! succeeds. So when one fails, whoever asked for it, all that run at that moment
//! are taken for failed, and so is what they were to make permanent. It is
//! copied again from the component that has it, or told of by the next FLUSH.

use super::request::{Slot, Stage};
use super::{Behind, Op, Primary};
use crate::errno::Errno;

impl Primary {
    /// A flush of the local component failed: a FLUSH, or that of a store.
    pub(super) fn local_cache_failed(&mut self) {
        let mut lost = self.map.is_unflushed();
        let running = |slot: &&mut Slot| slot.stage == Stage::Running && slot.ran;
        for slot in self.slots.values_mut().filter(running) {
            let flush = slot.op == Op::Flush && slot.local.left > 0;
            if flush || slot.op.modifies() {
                slot.local.error = slot.local.error.or(Some(Errno::EIO));
            }
            if let Some(range) = slot.range.filter(|_| slot.op.modifies()) {
                self.map.doubt(range);
                lost = true;
            }
        }
        self.map.cache_lost();
        self.stores.doubt(self.map.is_storing());
        match self.standing.behind {
            _ if !lost => {}
            // Unless something was answered that the peer may not have.
            Behind::Neither if self.link.is_up() && self.answered_early == 0 => {
                self.stand_behind_the_peer();
            }
            Behind::Neither | Behind::Peer => {
                self.standing.flush_must_fail = true;
                self.differs();
            }
            // It may just have been recorded that nothing is lacking any more.
            Behind::Local => self.stand_behind_the_peer(),
        }
    }

    /// A FLUSH failed at the peer.
    pub(super) fn peer_cache_failed(&mut self) {
        let running = |slot: &&mut Slot| slot.op == Op::Flush && slot.remote.left > 0;
        for slot in self.slots.values_mut().filter(running) {
            slot.remote.error = slot.remote.error.or(Some(Errno::EIO));
        }
        if self.standing.behind == Behind::Local {
            // What only the peer had may be gone.
            self.standing.flush_must_fail |= self.map.is_unflushed();
        }
        self.map.cache_lost();
        self.unconfirm();
        self.differs();
    }

    /// What the peer confirmed of writes that still run here is not in the map
    /// as something it has not flushed, and may be lost all the same.
    pub(super) fn unconfirm(&mut self) {
        let sent = |slot: &&mut Slot| slot.op.modifies() && slot.sent;
        for slot in self.slots.values_mut().filter(sent) {
            if let Some(range) = slot.range {
                self.map.doubt(range);
            }
            slot.remote.error = slot.remote.error.or(Some(Errno::ENOTCONN));
        }
    }
}

//! FLUSH, of clients and our own: what was answered becomes permanent on both
//! components, and only then may extents become clean.
//! Facts: spec/hast-behaviour.md section 5.6; design sections 1.1 and 1.2.

use super::request::{Kind, Slot, Stage};
use super::{Action, Op, Primary};
use crate::errno::Errno;
use crate::slab::RequestId;
use alloc::vec::Vec;

impl Primary {
    /// A FLUSH covers what was answered before it, so that must have reached
    /// both components before it is handed to them.
    pub(super) fn flush(&mut self, id: RequestId, out: &mut Vec<Action>) {
        if core::mem::take(&mut self.standing.flush_must_fail) {
            return self.complete(id, Err(Errno::EIO), out);
        }
        if self.answered_early > 0 {
            return self.set_stage(id, Stage::Waiting);
        }
        let covers_map = self.map.flush_started();
        if let Some(slot) = self.slots.get_mut(id) {
            slot.covers_map = covers_map;
        }
        self.issue(id, out);
    }

    pub(super) fn release_flushes(&mut self, out: &mut Vec<Action>) {
        if self.answered_early > 0 {
            return;
        }
        let mut waiting = core::mem::take(&mut self.marked);
        waiting.extend(self.requests_at(Stage::Waiting));
        for id in waiting.drain(..) {
            self.flush(id, out);
        }
        self.marked = waiting;
    }

    /// A flush of our own, to be issued. None if there are too many already.
    pub(super) fn new_flush(&mut self, ends_sync: bool) -> Option<RequestId> {
        let slot = Slot::new(Kind::Flush { ends_sync }, Op::Flush, self.replication);
        let id = self.slots.insert(slot)?;
        let covers_map = self.map.flush_started();
        if let Some(slot) = self.slots.get_mut(id) {
            slot.covers_map = covers_map;
        }
        Some(id)
    }

    pub(super) fn flush_both(&mut self, out: &mut Vec<Action>) {
        if let Some(id) = self.new_flush(false) {
            self.issue(id, out);
        }
    }

    /// Lets extents become clean although no client flushes.
    pub(super) fn flush_for_the_map(&mut self, out: &mut Vec<Action>) {
        let own = |kind: Kind| matches!(kind, Kind::Flush { .. });
        if !self.slots.iter().any(|(_, slot)| own(slot.kind)) {
            self.flush_both(out);
        }
    }

    pub(super) fn flush_goes_on(&mut self, id: RequestId, slot: &Slot, out: &mut Vec<Action>) {
        let (Some(local), Some(remote)) = (slot.local.result(), slot.remote.result()) else {
            return;
        };
        let (local, remote) = (confirmation(local), confirmation(remote));
        let both = local.is_ok() && remote.is_ok();
        if slot.covers_map {
            self.map.flush_finished(both);
        }
        if remote.is_err() {
            self.map.cache_lost();
            self.differs();
        }
        if let Kind::Flush { ends_sync } = slot.kind {
            self.release(id, out);
            if ends_sync {
                self.sync_flushed(id, both);
            }
            return;
        }
        let verdict = match (local, remote) {
            (Ok(()), Ok(())) => self.both_flushed(),
            (Ok(()), Err(_)) => self.peer_misses(),
            (Err(_), Ok(())) => self.local_misses(),
            (Err(error), Err(_)) => Err(error),
        };
        if verdict.is_err() {
            self.standing.flush_must_fail = false;
        }
        self.answer_after(id, verdict, out);
    }
}

/// A component without a volatile cache has confirmed every flush.
fn confirmation(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(error) if error.means_no_cache() => Ok(()),
        other => other,
    }
}

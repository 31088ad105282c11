//! Copying what differs, and what makes a pair "in sync".
//! Facts: spec/hast-behaviour.md section 7; design section 1.2.
//!
//! 1. The component that is behind says so on its own disk.
//! 2. Extents are copied, several requests at a time, each under its range's
//!    lock. One that fails leaves its extent in the map (K5).
//! 3. When nothing is left, both components flush.
//! 4. The peer's metadata say that it is of one state, then our counters say
//!    that both have the same. Whatever happens in between starts this over.

use super::peer::Told;
use super::request::{Kind, Part, Slot, Stage};
use super::{Action, Behind, COPIES, Millis, Notice, Op, Primary, Session, pace};
use crate::metadata::Consistency;
use crate::metastore::Revision;
use crate::slab::RequestId;
use crate::units::{ByteRange, ExtentIndex};
use alloc::vec::Vec;

/// Milliseconds until something that could not be copied is tried again.
const RETRY: u64 = 5_000;

/// A request that copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Copying {
    extent: ExtentIndex,
    session: Session,
    to: Behind,
    reading: bool,
}

/// An extent being copied.
#[derive(Clone, Copy, Debug)]
struct Extent {
    index: ExtentIndex,
    /// First byte that no request was made for.
    next: u64,
    /// Requests that copy it.
    running: u32,
    /// Bytes of it that were copied.
    copied: u64,
    failed: bool,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum End {
    #[default]
    Open,
    /// By this flush, which began when everything was copied.
    Flushing(RequestId),
    Flushed,
    Recording(Revision),
}

#[derive(Debug, Default)]
pub(super) struct Sync {
    extents: Vec<Extent>,
    requests: u32,
    /// Bytes that they copy.
    bytes: u64,
    /// Where the search for the next extent goes on.
    cursor: ExtentIndex,
    end: End,
    retry_at: Option<Millis>,
    announced: bool,
}

impl Sync {
    pub(super) const fn retry_at(&self) -> Option<Millis> {
        self.retry_at
    }

    /// Whether one more request of this length may copy.
    fn has_room(&self, window: u64, longest: u64) -> bool {
        let fits = self.requests < COPIES && self.bytes + longest <= window;
        fits || self.requests == 0
    }
}

impl Primary {
    pub(super) fn sync_begins(&mut self, out: &mut Vec<Action>) {
        self.sync.end = End::Open;
        self.sync.retry_at = None;
        self.sync.cursor = ExtentIndex(0);
        // What was copied of them the peer may have lost with the link.
        self.sync.extents.retain(|extent| extent.running > 0);
        self.pace.begin(self.now, self.link.round_trip);
        self.sync.announced = self.map.sync_left() > 0;
        if self.sync.announced {
            out.push(Action::Notify(Notice::SyncStarted));
        }
    }

    pub(super) fn sync_interrupted(&mut self, out: &mut Vec<Action>) {
        self.sync.end = End::Open;
        if core::mem::take(&mut self.sync.announced) {
            out.push(Action::Notify(Notice::SyncInterrupted));
        }
    }

    pub(super) fn sync_failed(&mut self) {
        self.sync.end = End::Open;
        self.sync.retry_at = Some(Millis(self.now.0 + RETRY));
    }

    /// Something happened that has to be written down before both components
    /// can be called the same.
    pub(super) fn sync_reopened(&mut self) {
        self.sync.end = End::Open;
    }

    /// A flush that was to end synchronisation did, or failed. Of one that
    /// began before the end was last opened nothing follows.
    pub(super) fn sync_flushed(&mut self, id: RequestId, confirmed: bool) {
        if self.sync.end != End::Flushing(id) {
            return;
        }
        if confirmed {
            self.sync.end = End::Flushed;
        } else {
            self.sync_failed();
        }
    }

    pub(super) fn tick_sync(&mut self) {
        self.pace.tick(self.now);
        if self.sync.retry_at.is_some_and(|at| self.now >= at) {
            self.sync.retry_at = None;
        }
    }

    /// Whether everything is copied and that is being written down.
    pub(super) fn sync_is_ending(&self) -> bool {
        self.map.sync_left() == 0 && self.sync.retry_at.is_none()
    }

    /// Bytes that are still to be copied.
    pub(super) fn left_to_copy(&self) -> u64 {
        let left = self.map.sync_left() * u64::from(self.extents.extentsize());
        let copied = self.sync.extents.iter().map(|extent| extent.copied);
        left.saturating_sub(copied.sum())
    }

    /// Does what can be done next.
    pub(super) fn pump_sync(&mut self, out: &mut Vec<Action>) {
        let idle = !self.link.is_up() || self.standing.behind == Behind::Neither;
        if idle || self.sync.retry_at.is_some() {
            return;
        }
        if self.map.sync_left() > 0 {
            self.sync.end = End::Open;
            if !self.is_stopping() && self.target_says(Consistency::Inconsistent, out) {
                self.standing.peer_is_current &= self.standing.behind == Behind::Local;
                self.copy_more(out);
            }
        } else if self.sync.requests == 0 {
            self.end_sync(out);
        }
    }

    /// Whether the component that is behind has on its disk that it is, or is
    /// not any more. A base peer has no such entry.
    fn target_says(&mut self, consistency: Consistency, out: &mut Vec<Action>) -> bool {
        if self.standing.behind == Behind::Local {
            return consistency == Consistency::Consistent || self.stores.metadata.is_durable();
        }
        let never = cfg!(hast_bug = "k12");
        let consistency = if never {
            Consistency::Consistent
        } else {
            consistency
        };
        let told: Told = (consistency, self.metadata().generation);
        if self.link.told == Some(told) && !self.link.telling || !self.link.takes_state() {
            return true;
        }
        // A state that only the peer knows would look like one that it came
        // to alone.
        if self.stores.metadata.is_durable() {
            self.tell(told, out);
        }
        false
    }

    /// While the peer lacks what was answered, nothing that came later may
    /// reach its component unless that says on its disk that it is not of one
    /// state: it would be promoted with the later and without the earlier.
    pub(super) fn peer_must_not_change(&self) -> bool {
        let lacks_something = self.standing.behind == Behind::Peer && self.map.sync_left() > 0;
        let says_so = matches!(self.link.told, Some((Consistency::Inconsistent, _)));
        lacks_something && self.link.takes_state() && !says_so && !cfg!(hast_bug = "k12")
    }

    fn end_sync(&mut self, out: &mut Vec<Action>) {
        if self.sync.end == End::Open
            && let Some(flush) = self.new_flush(true)
        {
            self.sync.end = End::Flushing(flush);
            self.issue(flush, out);
        }
        if let Some(to) = self.link.perhaps_raised {
            // Equal to what? The peer must say first.
            return self.raise(to, out);
        }
        if self.sync.end == End::Flushed
            && self.target_says(Consistency::Consistent, out)
            && let Some(peer) = self.link.peer
        {
            self.record_equality(peer.counters);
            self.sync.end = End::Recording(self.stores.metadata.revision());
        }
        if let End::Recording(revision) = self.sync.end
            && self.stores.metadata.has(revision)
        {
            self.sync.end = End::Open;
            self.standing.behind = Behind::Neither;
            self.standing.peer_is_current = true;
            self.direct.allow();
            // Whoever waited for it to be known what lacks something.
            self.answer_recorded(false, out);
            if core::mem::take(&mut self.sync.announced) {
                out.push(Action::Notify(Notice::SyncDone));
            }
        }
    }

    /// Whether both have everything, and that is on its way to the own disk.
    pub(super) const fn sync_is_being_recorded(&self) -> bool {
        matches!(self.sync.end, End::Recording(_))
    }

    fn copy_more(&mut self, out: &mut Vec<Action>) {
        let most = match self.standing.behind {
            // Memory for these is taken only when the data comes, by when
            // clients may have all the rest.
            Behind::Local => self.copying.min(pace::ENOUGH),
            _ => self.copying,
        };
        let window = self.pace.window(self.clients, most);
        let longest = window.longest.min(self.link.longest());
        let longest = longest.min(self.extents.extentsize());
        // Buffers are as long as powers of two.
        let longest = 1 << longest.ilog2();
        while self.sync.has_room(window.bytes, longest) {
            let Some((extent, range)) = self.next_to_copy(longest) else {
                return;
            };
            let copying = Copying {
                extent,
                session: self.link.session(),
                to: self.standing.behind,
                reading: true,
            };
            let slot = Slot::new(Kind::Copy(copying), Op::Read(range), self.replication);
            let Some(id) = self.slots.insert(slot) else {
                return;
            };
            self.sync.requests += 1;
            self.sync.bytes += range.length();
            self.lock(id, range, out);
        }
    }

    /// The next range to copy: of an extent that was begun, or of the next.
    fn next_to_copy(&mut self, longest: u64) -> Option<(ExtentIndex, ByteRange)> {
        let sync = &mut self.sync;
        let end = |index| self.extents.range(index).end();
        let begun = sync.extents.iter().position(|e| e.next < end(e.index));
        let at = if let Some(at) = begun {
            at
        } else {
            let index = self.map.next_to_sync(sync.cursor);
            let index = index.or_else(|| self.map.next_to_sync(ExtentIndex(0)))?;
            if sync.extents.iter().any(|e| e.index == index) {
                return None;
            }
            sync.cursor = ExtentIndex(index.0 + 1);
            self.map.sync_started(index);
            sync.extents.push(Extent {
                index,
                next: self.extents.range(index).offset(),
                running: 0,
                copied: 0,
                failed: false,
            });
            sync.extents.len() - 1
        };
        let extent = &mut sync.extents[at];
        let length = longest.min(end(extent.index) - extent.next);
        let range = ByteRange::new(extent.next, length)?;
        extent.next += length;
        extent.running += 1;
        Some((extent.index, range))
    }

    /// Its range is locked: reads it from the component that is not behind.
    pub(super) fn copy_begins(&mut self, id: RequestId, copying: Copying, out: &mut Vec<Action>) {
        if !self.still_makes_sense(copying) {
            self.copy_ends(id, copying, false, out);
        } else if copying.to == Behind::Local {
            self.send_request(id, out);
        } else {
            self.run_locally(id, out);
        }
    }

    /// It was begun on this link and in this direction.
    fn still_makes_sense(&self, copying: Copying) -> bool {
        self.link.is_up()
            && self.link.session() == copying.session
            && self.standing.behind == copying.to
    }

    pub(super) fn copy_goes_on(&mut self, id: RequestId, copying: Copying, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let (Some(local), Some(remote)) = (slot.local.result(), slot.remote.result()) else {
            return;
        };
        let failed = local.and(remote).is_err();
        if failed || !copying.reading {
            return self.copy_ends(id, copying, !failed, out);
        }
        let Some(range) = slot.range else { return };
        slot.kind = Kind::Copy(Copying {
            reading: false,
            ..copying
        });
        slot.op = Op::Write(range);
        slot.stage = Stage::Running;
        slot.local = Part::default();
        slot.remote = Part::default();
        slot.ran = false;
        slot.sent = false;
        if !self.still_makes_sense(copying) {
            return self.copy_ends(id, copying, false, out);
        }
        let both = self.map.is_doubtful(copying.extent);
        if both || copying.to == Behind::Local {
            self.run_locally(id, out);
        }
        if both || copying.to == Behind::Peer {
            self.send_request(id, out);
        }
    }

    fn copy_ends(&mut self, id: RequestId, copying: Copying, copied: bool, out: &mut Vec<Action>) {
        let slot = self.slots.get_mut(id);
        let (lock, range) = slot.map_or((None, None), |slot| (slot.lock, slot.range));
        self.release(id, out);
        self.sync.requests -= 1;
        self.sync.bytes -= range.map_or(0, ByteRange::length);
        let copied = copied && self.still_makes_sense(copying);
        if !copied && self.still_makes_sense(copying) {
            self.sync_failed();
        }
        let end = self.extents.range(copying.extent).end();
        let extents = &mut self.sync.extents;
        if let Some(at) = extents.iter().position(|e| e.index == copying.extent) {
            let extent = &mut extents[at];
            extent.running -= 1;
            if let Some(range) = range.filter(|_| copied) {
                extent.copied += range.length();
                self.pace.copied(range.length());
            }
            extent.failed |= !copied && !cfg!(hast_bug = "k5");
            if extent.failed {
                extent.next = end;
            }
            if extent.running == 0 && extent.next == end {
                let copied = !extent.failed;
                extents.swap_remove(at);
                if copied {
                    self.map.sync_finished(copying.extent);
                }
            }
        }
        self.unlock(lock, out);
    }
}

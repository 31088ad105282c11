//! The map and the metadata on their way to the disk: one store of each at a
//! time, and whatever changes meanwhile joins the next.

use super::request::Stage;
use super::{Action, Millis, Primary, Trouble};
use crate::dirtymap::Sectors;
use crate::errno::Errno;
use crate::metadata::{BLOCK_LENGTH, Metadata, MetadataError};
use crate::metastore::MetadataStore;
use alloc::vec::Vec;

/// How long extents wait for a flush by a client before one of our own lets
/// them become clean, in milliseconds. A flush empties the caches of two disks,
/// and clients wait behind it; what it spares is copying after a crash.
const UNFLUSHED: u64 = 5_000;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Stores {
    pub(super) metadata: MetadataStore,
    /// The map is to be stored as soon as it can be.
    map_wanted: bool,
    map_asked: bool,
    /// The last store of the map failed; it is tried again as time goes by.
    map_failed: bool,
    /// A flush failed while the map was being stored.
    map_doubted: bool,
    /// Stores of the map that began.
    map_begun: u64,
    /// The last of them that was confirmed.
    map_confirmed: u64,
    /// When both components are flushed so that extents become clean.
    flush_at: Option<Millis>,
}

impl Stores {
    pub(super) const fn new(metadata: Metadata) -> Self {
        Self {
            metadata: MetadataStore::new(metadata),
            map_wanted: false,
            map_asked: false,
            map_failed: false,
            map_doubted: false,
            map_begun: 0,
            map_confirmed: 0,
            flush_at: None,
        }
    }

    /// Wants the map of now on the disk. Returns the store to wait for.
    pub(super) const fn want_map(&mut self) -> u64 {
        self.map_wanted = true;
        self.map_begun + 1
    }

    /// A flush of the component failed; what is being stored is not.
    pub(super) const fn doubt(&mut self, storing_map: bool) {
        self.map_doubted = storing_map;
        self.metadata.doubt();
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.map_wanted && !self.map_asked && self.metadata.is_idle()
    }

    pub(super) const fn has_map(&self, store: u64) -> bool {
        store <= self.map_confirmed
    }
}

impl Primary {
    /// A store of the map begins: names the sectors to write, with the state
    /// of this moment.
    ///
    /// # Panics
    /// Unless [`Action::StoreMap`] asked for it.
    pub fn begin_map_store(&mut self, write: impl FnMut(Sectors<'_>)) {
        assert!(self.stores.map_asked, "no store was asked for");
        self.stores.map_asked = false;
        self.stores.map_wanted = false;
        self.stores.map_begun += 1;
        self.watch.counted.activemap_updates += 1;
        self.map.begin_store(write);
    }

    /// It is on stable storage, or failed.
    pub fn map_stored(&mut self, stored: bool, out: &mut Vec<Action>) {
        let stored = stored && !core::mem::take(&mut self.stores.map_doubted);
        self.map.store_done(stored);
        self.stores.map_failed = !stored;
        if stored {
            self.stores.map_confirmed = self.stores.map_begun;
        } else {
            self.note(Trouble::Map);
            self.local_cache_failed();
        }
        let mut waiting = core::mem::take(&mut self.marked);
        waiting.extend(self.requests_at(Stage::Dirtying));
        for id in waiting.drain(..) {
            let range = self.slots.get_mut(id).and_then(|slot| slot.range);
            let durable = range.is_some_and(|range| self.map.is_durable(range));
            if durable {
                self.issue(id, out);
            } else if stored {
                self.stores.want_map();
            } else {
                self.fail_unissued(id, Errno::EIO, out);
            }
        }
        self.marked = waiting;
        self.join(out);
        self.pump(out);
    }

    /// A store of the metadata begins: fills the block, with the state of
    /// this moment.
    ///
    /// # Panics
    /// Unless [`Action::StoreMetadata`] asked for it.
    pub fn begin_metadata_store(
        &mut self,
        block: &mut [u8; BLOCK_LENGTH],
    ) -> Result<(), MetadataError> {
        self.stores.metadata.begin(block)
    }

    /// It is on stable storage, or failed.
    pub fn metadata_stored(&mut self, stored: bool, out: &mut Vec<Action>) {
        let stored = self.stores.metadata.done(stored);
        if !stored {
            self.note(Trouble::Metadata);
            self.local_cache_failed();
        }
        let give_up = !stored && !self.record_at_the_peer(out);
        self.answer_recorded(give_up, out);
        self.join(out);
        self.say_hello(out);
        self.pump(out);
    }

    /// Bits that went away are stored when there is time, and so is what could
    /// not be stored.
    pub(super) fn tick_map(&mut self, out: &mut Vec<Action>) {
        if self.map.has_changed() || core::mem::take(&mut self.stores.map_failed) {
            self.stores.want_map();
        }
        if self.map.wants_flush() && self.link.is_up() {
            let next = Millis(self.now.0 + UNFLUSHED);
            if self.now >= *self.stores.flush_at.get_or_insert(next) {
                self.stores.flush_at = Some(next);
                self.flush_for_the_map(out);
            }
        } else {
            self.stores.flush_at = None;
        }
        self.stores.metadata.retry();
        self.direct.retry();
    }

    pub(super) fn ask_for_stores(&mut self, out: &mut Vec<Action>) {
        let stores = &mut self.stores;
        if stores.map_wanted && !stores.map_asked && !self.map.is_storing() {
            stores.map_asked = true;
            out.push(Action::StoreMap);
        }
        if stores.metadata.ask() {
            out.push(Action::StoreMetadata);
        }
    }
}

//! Which extents may differ between the components, and why.
//! Facts: spec/hast-disk.md section 5; design sections 1 and 6.1.
//!
//! An extent is dirty on disk as long as there is a reason:
//!
//! | reason | begins | ends |
//! |---|---|---|
//! | pending | a write to it starts | the write has finished on both components |
//! | unflushed | such a write was confirmed by both | both confirmed a flush that began later |
//! | to be synchronised | a write failed somewhere, a cache was lost, or the maps say so | it was copied whole, and flushed like a write |
//! | kept | it was written recently | others were written since |
//!
//! **Invariant:** from before a write is handed to a component until both
//! have it on stable storage, the extent's bit is on stable storage
//! ([`ActiveMap::is_durable`]); it is taken away only by a flush that both
//! components confirmed and that began after both had confirmed the write.
//! Base takes it away earlier, and forgets writes that failed on one side.
//! (`the_map_is_dirty_for_exactly_the_reasons_there_are`,
//! `a_flush_covers_only_what_came_before_it`, K1, K5.)

use crate::bitmap::Bitmap;
use crate::dirtymap::{DirtyMap, Sectors};
use crate::extent::Extents;
use crate::extenttable::ExtentTable;
use crate::keepdirty::{KeepDirty, Touched};
use crate::units::{ByteRange, ExtentIndex};

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finished {
    /// Both components have it.
    OnBoth,
    /// One of them may not: no peer, an error, a lost connection.
    MayDiffer,
}

/// The map of a primary.
#[derive(Clone, Debug)]
pub struct ActiveMap {
    extents: Extents,
    disk: DirtyMap,
    keepdirty: KeepDirty,
    /// Writes that have not finished, by extent.
    pending: ExtentTable,
    /// Extents to be synchronised.
    sync: Bitmap,
    /// Those of them whose copying has begun and to which nothing happened
    /// since that would need copying again.
    copying: Bitmap,
    /// Confirmed by both since the last flush began.
    unflushed: Bitmap,
    /// Confirmed by both before the flush under way began.
    flushing: Bitmap,
    flush_under_way: bool,
    /// In the cache when a flush failed, and not written to both again since.
    doubtful: Bitmap,
    /// Extents that are pending or to be synchronised.
    dirty: u64,
}

impl ActiveMap {
    /// The map of a worker that starts: whatever is dirty on disk must be
    /// synchronised, extents that were only kept dirty included, because
    /// nobody knows any more which those were. Needs what
    /// [`DirtyMap::load`] needs.
    #[must_use]
    pub fn load(extents: Extents, sectorsize: u32, keepdirty: u32, map: &[u8]) -> Self {
        let disk = DirtyMap::load(extents, sectorsize, map);
        let none = Bitmap::new(extents.count());
        Self {
            keepdirty: KeepDirty::new(extents.count(), keepdirty),
            pending: ExtentTable::new(),
            sync: disk.image().clone(),
            dirty: disk.image().count(),
            copying: none.clone(),
            unflushed: none.clone(),
            doubtful: none.clone(),
            flushing: none,
            flush_under_way: false,
            extents,
            disk,
        }
    }

    /// A write is about to begin. It may be handed to a component once
    /// [`ActiveMap::is_durable`] says so for its range.
    pub fn write_started(&mut self, range: ByteRange) {
        for extent in self.extents.touched(range) {
            if !self.is_dirty(extent) {
                self.dirty += 1;
            }
            let pending = self.pending.get(extent).unwrap_or(0);
            self.pending.insert(extent, pending + 1);
            self.disk.insert(extent);
            if let Touched::Replaced(dropped) = self.keepdirty.touch(extent) {
                self.settle(dropped);
            }
        }
    }

    /// A write that was started has ended; whatever is reported to the client
    /// is reported after this.
    ///
    /// # Panics
    /// If no write to these extents was started.
    pub fn write_finished(&mut self, range: ByteRange, how: Finished) {
        if how == Finished::MayDiffer {
            self.must_sync(range);
        }
        for extent in self.extents.touched(range) {
            match self.pending.get(extent).expect("the write was started") {
                1 => self.pending.remove(extent),
                several => self.pending.insert(extent, several - 1),
            }
            self.unflushed.insert(extent);
            if !self.is_dirty(extent) {
                self.dirty -= 1;
            }
        }
    }

    /// Whether a power cut now leaves all the range's extents dirty.
    #[must_use]
    pub fn is_durable(&self, range: ByteRange) -> bool {
        let mut touched = self.extents.touched(range);
        touched.all(|extent| self.disk.is_durable(extent))
    }

    /// The range may differ between the components, and copying that has
    /// begun does not count.
    pub fn must_sync(&mut self, range: ByteRange) {
        for extent in self.extents.touched(range) {
            self.must_sync_extent(extent);
        }
    }

    /// Everything dirty in the peer's map must be synchronised, too.
    pub fn merge(&mut self, peer: &Bitmap) {
        assert_eq!(peer.bits(), self.extents.count(), "made for these extents");
        for extent in peer.iter() {
            self.must_sync_extent(extent);
        }
    }

    /// A component may have lost what it had not flushed, although that was
    /// confirmed: it must be synchronised, and copying that has begun counts for
    /// nothing. A flush under way confirms nothing any more and ends as such.
    pub fn cache_lost(&mut self) {
        self.copying.clear();
        let mut from = ExtentIndex(0);
        while let Some(extent) = self.next_unflushed(from) {
            from = ExtentIndex(extent.0 + 1);
            self.doubtful.insert(extent);
            self.must_sync_extent(extent);
        }
    }

    /// A write that has not finished was in the cache that was lost.
    pub fn doubt(&mut self, range: ByteRange) {
        for extent in self.extents.touched(range) {
            self.doubtful.insert(extent);
        }
    }

    /// What must be synchronised was in a cache of which nobody knows whether
    /// flushing it failed.
    pub fn doubt_all(&mut self) {
        self.doubtful.clone_from(&self.sync);
    }

    /// Whether copying the extent must write it to the component that it is
    /// read from, too: what can be read may not be on the disk although a later
    /// flush succeeds.
    #[must_use]
    pub fn is_doubtful(&self, extent: ExtentIndex) -> bool {
        self.doubtful.contains(extent)
    }

    /// The first extent at or behind `from` that is to be synchronised.
    #[must_use]
    pub fn next_to_sync(&self, from: ExtentIndex) -> Option<ExtentIndex> {
        self.sync.next(from)
    }

    /// Copying of an extent begins.
    ///
    /// # Panics
    /// If it is not to be synchronised.
    pub fn sync_started(&mut self, extent: ExtentIndex) {
        assert!(self.sync.contains(extent), "it is to be synchronised");
        self.copying.insert(extent);
    }

    /// All of the extent was copied, and the component it was copied to has
    /// confirmed every byte. False if something happened since that makes it
    /// necessary to do it again.
    pub fn sync_finished(&mut self, extent: ExtentIndex) -> bool {
        if !self.copying.remove(extent) {
            return false;
        }
        self.sync.remove(extent);
        self.doubtful.remove(extent);
        self.unflushed.insert(extent);
        if !self.is_dirty(extent) {
            self.dirty -= 1;
        }
        true
    }

    /// Whether a flush would let extents become clean.
    #[must_use]
    pub const fn wants_flush(&self) -> bool {
        !self.unflushed.is_empty()
    }

    /// Whether there is anything that not both are known to have flushed, a
    /// flush under way or not.
    #[must_use]
    pub const fn is_unflushed(&self) -> bool {
        !self.unflushed.is_empty() || !self.flushing.is_empty()
    }

    /// A flush is sent to both components. What they confirmed so far is
    /// covered by it. Of several flushes at a time only the first counts.
    /// Returns whether this one does, and its end must then be reported.
    pub fn flush_started(&mut self) -> bool {
        if self.flush_under_way {
            return false;
        }
        self.flush_under_way = true;
        core::mem::swap(&mut self.unflushed, &mut self.flushing);
        true
    }

    /// The flush ended; `confirmed` if both components said yes.
    ///
    /// # Panics
    /// If no flush that counts was started.
    pub fn flush_finished(&mut self, confirmed: bool) {
        assert!(self.flush_under_way, "a flush was started");
        self.flush_under_way = false;
        let mut from = ExtentIndex(0);
        while let Some(extent) = self.flushing.next(from) {
            from = ExtentIndex(extent.0 + 1);
            self.flushing.remove(extent);
            if confirmed {
                self.settle(extent);
            } else {
                self.unflushed.insert(extent);
            }
        }
    }

    /// Nothing is written any more, so no extent needs to be kept.
    pub fn forget_kept(&mut self) {
        while let Some(extent) = self.keepdirty.drop_oldest() {
            self.settle(extent);
        }
    }

    /// Whether the map on disk should be written.
    #[must_use]
    pub const fn has_changed(&self) -> bool {
        self.disk.has_changed()
    }

    /// Whether a store of the map is under way.
    #[must_use]
    pub const fn is_storing(&self) -> bool {
        self.disk.is_storing()
    }

    /// Begins a store: [`DirtyMap::begin_store`].
    pub fn begin_store(&mut self, write: impl FnMut(Sectors<'_>)) {
        self.disk.begin_store(write);
    }

    /// Ends it: [`DirtyMap::store_done`].
    pub fn store_done(&mut self, stored: bool) {
        self.disk.store_done(stored);
    }

    /// Bytes of extents that are being written or are to be synchronised:
    /// what hastctl calls dirty. Scripts wait for 0, so extents that only
    /// wait for a flush or are kept dirty do not count.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty * u64::from(self.extents.extentsize())
    }

    /// Number of extents to be synchronised.
    #[must_use]
    pub const fn sync_left(&self) -> u64 {
        self.sync.count()
    }

    /// Whether the extent holding the data may differ from the other
    /// component's: it is to be synchronised.
    #[must_use]
    pub fn may_differ(&self, range: ByteRange) -> bool {
        let mut touched = self.extents.touched(range);
        touched.any(|extent| self.sync.contains(extent))
    }

    /// What should be on disk.
    #[must_use]
    pub const fn image(&self) -> &Bitmap {
        self.disk.image()
    }

    /// The extents the map is of.
    #[must_use]
    pub const fn extents(&self) -> Extents {
        self.extents
    }

    fn is_dirty(&self, extent: ExtentIndex) -> bool {
        self.pending.get(extent).is_some() || self.sync.contains(extent)
    }

    fn next_unflushed(&self, from: ExtentIndex) -> Option<ExtentIndex> {
        let both = [self.unflushed.next(from), self.flushing.next(from)];
        both.into_iter().flatten().min()
    }

    fn must_sync_extent(&mut self, extent: ExtentIndex) {
        if !self.is_dirty(extent) {
            self.dirty += 1;
        }
        self.copying.remove(extent);
        self.sync.insert(extent);
        self.disk.insert(extent);
    }

    /// Takes the extent's bit away if there is no reason left.
    fn settle(&mut self, extent: ExtentIndex) {
        let reason = self.is_dirty(extent)
            || self.unflushed.contains(extent)
            || self.flushing.contains(extent)
            || self.keepdirty.contains(extent);
        if !reason {
            self.disk.remove(extent);
        }
    }
}

#[cfg(test)]
mod tests;

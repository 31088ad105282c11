//! The dirty map as it lies on disk: which bits are there for good, which
//! sectors must be written. Facts: spec/hast-disk.md section 5; design: group
//! commit of dirty bits.
//!
//! | offset in the component | what |
//! |---|---|
//! | 4096 | one bit per extent, [`Bitmap`]'s layout, whole sectors |
//!
//! One store is under way at a time: [`DirtyMap::begin_store`] hands out the
//! sectors that changed, the shell writes them and flushes, and
//! [`DirtyMap::store_done`] tells how it went. Whatever changes meanwhile
//! joins the next store.
//!
//! **Invariant:** an extent is called durable only if every state the sector
//! of its bit can have on disk, now and until the next call, has the bit set.

use crate::bitmap::Bitmap;
use crate::extent::Extents;
use crate::metadata::BLOCK;
use crate::units::ExtentIndex;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of the map to be written, whole sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sectors<'a> {
    /// Where in the component.
    pub offset: u64,
    /// What.
    pub bytes: &'a [u8],
}

/// The map and what is known about its copy on disk.
#[derive(Clone, Debug)]
pub struct DirtyMap {
    /// What should be on disk.
    image: Bitmap,
    /// What is there whatever happens.
    durable: Bitmap,
    /// What the sectors handed out last held.
    stored: Bitmap,
    /// Per sector: differs from what was handed out last.
    changed: Vec<bool>,
    any_changed: bool,
    /// Per sector: is being written.
    storing: Vec<bool>,
    under_way: bool,
    sectorsize: u32,
    buffer: Vec<u8>,
}

impl DirtyMap {
    /// The map of a component, as read from it. What was read must be on
    /// stable storage: the component is flushed before, since base stores
    /// maps without it.
    #[must_use]
    pub fn load(extents: Extents, sectorsize: u32, map: &[u8]) -> Self {
        let image = Bitmap::from_map(extents.count(), map);
        let sectors = crate::index(extents.map_size(sectorsize) / u64::from(sectorsize));
        Self {
            durable: image.clone(),
            stored: image.clone(),
            image,
            changed: vec![false; sectors],
            any_changed: false,
            storing: vec![false; sectors],
            under_way: false,
            sectorsize,
            buffer: vec![0; crate::index(sectorsize.into())],
        }
    }

    /// What should be on disk.
    #[must_use]
    pub const fn image(&self) -> &Bitmap {
        &self.image
    }

    /// Makes an extent dirty.
    pub fn insert(&mut self, extent: ExtentIndex) {
        if self.image.insert(extent) {
            self.touch(extent);
        }
    }

    /// Makes an extent clean, with the next store that happens anyway.
    pub fn remove(&mut self, extent: ExtentIndex) {
        if self.image.remove(extent) {
            self.touch(extent);
        }
    }

    /// Whether the extent's bit survives whatever happens now.
    #[must_use]
    pub fn is_durable(&self, extent: ExtentIndex) -> bool {
        self.image.contains(extent) && self.durable.contains(extent)
    }

    /// Whether a store would change anything.
    #[must_use]
    pub const fn has_changed(&self) -> bool {
        self.any_changed
    }

    /// Whether a store is under way.
    #[must_use]
    pub const fn is_storing(&self) -> bool {
        self.under_way
    }

    /// Begins a store: hands out the changed sectors, ascending, one by one.
    /// They are to be written and then flushed from the component's cache.
    ///
    /// # Panics
    /// If one is under way.
    pub fn begin_store(&mut self, mut write: impl FnMut(Sectors<'_>)) {
        assert!(!self.under_way, "one store at a time");
        self.under_way = true;
        self.any_changed = false;
        core::mem::swap(&mut self.storing, &mut self.changed);
        for part in parts(&self.storing, self.sectorsize) {
            self.image.write_map(part.start, &mut self.buffer);
            write(Sectors {
                offset: BLOCK + part.start,
                bytes: &self.buffer,
            });
            self.stored.copy_part(&self.image, part.clone());
            // From now on the disk may hold the old or the new state.
            self.durable.retain_part(&self.stored, part);
        }
    }

    /// The store is on stable storage, or failed: then the sectors hold
    /// anything between old and new, and join the next store.
    ///
    /// # Panics
    /// If none is under way.
    pub fn store_done(&mut self, stored: bool) {
        assert!(self.under_way, "no store was begun");
        self.under_way = false;
        if stored {
            for part in parts(&self.storing, self.sectorsize) {
                self.durable.copy_part(&self.stored, part);
            }
        } else {
            for (changed, storing) in self.changed.iter_mut().zip(&self.storing) {
                *changed |= storing;
                self.any_changed |= storing;
            }
        }
        self.storing.fill(false);
    }

    fn touch(&mut self, extent: ExtentIndex) {
        let sector = extent.0 / (u64::from(self.sectorsize) * 8);
        self.changed[crate::index(sector)] = true;
        self.any_changed = true;
    }
}

/// The bytes of the map that the chosen sectors hold.
fn parts(chosen: &[bool], sectorsize: u32) -> impl Iterator<Item = Range<u64>> {
    let size = u64::from(sectorsize);
    let sectors = (0..).zip(chosen);
    sectors.filter_map(move |(n, &chosen)| chosen.then_some(n * size..(n + 1) * size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECTOR: u32 = 512;
    /// Three sectors of map.
    const COUNT: u64 = 3 * 4096 - 100;

    fn load() -> DirtyMap {
        let extents = Extents::new(COUNT * 512, 512).unwrap();
        DirtyMap::load(extents, SECTOR, &[0; 1536])
    }

    fn begin(map: &mut DirtyMap) -> Vec<(u64, Vec<u8>)> {
        let mut written = Vec::new();
        map.begin_store(|s| written.push((s.offset, s.bytes.to_vec())));
        written
    }

    #[test]
    fn only_changed_sectors_are_written() {
        let mut map = load();
        assert!(!map.has_changed());
        map.insert(ExtentIndex(4096));
        map.insert(ExtentIndex(4096 + 9));
        assert!(map.has_changed() && !map.is_durable(ExtentIndex(4096)));
        let written = begin(&mut map);
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].0, 4096 + 512);
        assert_eq!(written[0].1[..4], [1, 2, 0, 0]);
        assert!(!map.has_changed() && map.is_storing());
        map.store_done(true);
        assert!(map.is_durable(ExtentIndex(4096)));
    }

    #[test]
    fn what_changes_during_a_store_joins_the_next() {
        let mut map = load();
        map.insert(ExtentIndex(1));
        begin(&mut map);
        map.insert(ExtentIndex(2));
        map.remove(ExtentIndex(1));
        map.store_done(true);
        assert!(!map.is_durable(ExtentIndex(2)) && map.has_changed());
        map.insert(ExtentIndex(1));
        assert!(map.is_durable(ExtentIndex(1)), "it never left the disk");
        begin(&mut map);
        map.store_done(true);
        assert!(map.is_durable(ExtentIndex(1)) && map.is_durable(ExtentIndex(2)));
    }

    #[test]
    fn a_bit_being_cleared_is_not_durable_any_more() {
        let mut map = load();
        map.insert(ExtentIndex(1));
        begin(&mut map);
        map.store_done(true);
        map.remove(ExtentIndex(1));
        begin(&mut map);
        map.insert(ExtentIndex(1));
        assert!(!map.is_durable(ExtentIndex(1)), "the disk may lose it now");
        map.store_done(true);
        assert!(!map.is_durable(ExtentIndex(1)));
    }

    #[test]
    fn a_failed_store_is_done_again() {
        let mut map = load();
        map.insert(ExtentIndex(1));
        begin(&mut map);
        map.store_done(false);
        assert!(map.has_changed() && !map.is_durable(ExtentIndex(1)));
        assert_eq!(begin(&mut map).len(), 1);
        map.store_done(true);
        assert!(map.is_durable(ExtentIndex(1)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
        Begin,
        Done(bool),
    }

    proptest! {
        /// The model keeps every state each sector may have after a power cut
        /// and asks whether the bit is in all of them.
        #[test]
        fn durable_means_in_every_state_the_disk_can_have(
            steps in prop::collection::vec(
                prop_oneof![
                    4 => (0u64..8).prop_map(|n| Step::Insert(n * 1500)),
                    3 => (0u64..8).prop_map(|n| Step::Remove(n * 1500)),
                    2 => Just(Step::Begin),
                    1 => any::<bool>().prop_map(Step::Done),
                    2 => Just(Step::Done(true)),
                ], 0..60)
        ) {
            let mut map = load();
            // Per sector, what may be there: at most the last one that is
            // certain and those that came after.
            let mut disk = vec![vec![vec![0u8; 512]]; 3];
            let mut in_flight: Vec<(u64, Vec<u8>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(n) => map.insert(ExtentIndex(n)),
                    Step::Remove(n) => map.remove(ExtentIndex(n)),
                    Step::Begin if !map.is_storing() => {
                        in_flight = begin(&mut map);
                        for (offset, bytes) in &in_flight {
                            disk[crate::index((offset - 4096) / 512)].push(bytes.clone());
                        }
                    }
                    Step::Done(stored) if map.is_storing() => {
                        for (offset, bytes) in in_flight.drain(..) {
                            let states = &mut disk[crate::index((offset - 4096) / 512)];
                            if stored {
                                *states = vec![bytes];
                            }
                        }
                        map.store_done(stored);
                    }
                    Step::Begin | Step::Done(_) => {}
                }
                for n in (0..8).map(|n| n * 1500) {
                    let (sector, bit) = (n / 4096, n % 4096);
                    let states = &disk[crate::index(sector)];
                    let everywhere = states
                        .iter()
                        .all(|bytes| bytes[crate::index(bit / 8)] & 1 << (bit % 8) != 0);
                    let durable = map.is_durable(ExtentIndex(n));
                    prop_assert!(everywhere || !durable, "extent {n} may be lost");
                    // And it is not too careful: with nothing to store, what
                    // is set is durable.
                    if !map.has_changed() && !map.is_storing() {
                        prop_assert_eq!(durable, map.image().contains(ExtentIndex(n)));
                    }
                }
            }
        }
    }
}

//! The extents written last, which stay dirty on disk so that writing them
//! again costs no store of the map. Facts: spec/hast-disk.md section 5.2.

use crate::extenttable::ExtentTable;
use crate::units::ExtentIndex;
use alloc::vec::Vec;

/// Most extents kept dirty, whatever the metadata asks for: more only cost
/// time after a crash.
pub const MAX_KEEPDIRTY: u32 = 1 << 20;

/// No such slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    extent: ExtentIndex,
    /// Towards the most recently written.
    newer: u32,
    /// Towards the one to be dropped next.
    older: u32,
}

/// A bounded list of extents, most recently written first. Every operation
/// takes the same time, whatever its length; nothing is allocated once it has
/// been full.
#[derive(Clone, Debug)]
pub struct KeepDirty {
    slots: Vec<Slot>,
    /// The slots of extents.
    at: ExtentTable,
    limit: u32,
    newest: u32,
    oldest: u32,
}

/// What became of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touched {
    /// The extent was on it.
    Kept,
    /// It was put on it.
    Added,
    /// It was put on it and took this one's place. With a limit of 0 that is
    /// the extent itself.
    Replaced(ExtentIndex),
}

impl KeepDirty {
    /// An empty list of at most `limit` of `extents` extents.
    #[must_use]
    pub fn new(extents: u64, limit: u32) -> Self {
        let most = u32::try_from(extents).unwrap_or(NONE - 1);
        let limit = limit.min(MAX_KEEPDIRTY).min(most);
        Self {
            slots: Vec::new(),
            at: ExtentTable::new(),
            limit,
            newest: NONE,
            oldest: NONE,
        }
    }

    /// Whether the extent is on the list.
    #[must_use]
    pub fn contains(&self, extent: ExtentIndex) -> bool {
        self.at.get(extent).is_some()
    }

    /// Makes the extent the most recently written one.
    pub fn touch(&mut self, extent: ExtentIndex) -> Touched {
        if self.limit == 0 {
            return Touched::Replaced(extent);
        }
        if let Some(slot) = self.at.get(extent) {
            if slot != self.newest {
                self.unlink(slot);
                self.link(slot);
            }
            return Touched::Kept;
        }
        let (slot, touched) = match u32::try_from(self.slots.len()) {
            Ok(free) if free < self.limit => {
                self.slots.push(Slot {
                    extent,
                    newer: NONE,
                    older: NONE,
                });
                (free, Touched::Added)
            }
            _ => {
                let slot = self.oldest;
                self.unlink(slot);
                let dropped = core::mem::replace(&mut self.slot(slot).extent, extent);
                self.at.remove(dropped);
                (slot, Touched::Replaced(dropped))
            }
        };
        self.at.insert(extent, slot);
        self.link(slot);
        touched
    }

    /// Takes the extent that would be dropped next off the list.
    pub fn drop_oldest(&mut self) -> Option<ExtentIndex> {
        let slot = self.oldest;
        if slot == NONE {
            return None;
        }
        let last = u32::try_from(self.slots.len() - 1).expect("bounded by the limit");
        self.unlink(slot);
        let dropped = self.slot(slot).extent;
        self.at.remove(dropped);
        self.move_slot(last, slot);
        self.slots.pop();
        Some(dropped)
    }

    /// Moves a slot into the place of one that is not used any more.
    fn move_slot(&mut self, from: u32, to: u32) {
        if from == to {
            return;
        }
        let moved = *self.slot(from);
        *self.slot(to) = moved;
        *self.newer_end(moved.older) = to;
        *self.older_end(moved.newer) = to;
        self.at.insert(moved.extent, to);
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[crate::index(slot.into())]
    }

    fn link(&mut self, slot: u32) {
        let second = core::mem::replace(&mut self.newest, slot);
        *self.newer_end(second) = slot;
        let slot = self.slot(slot);
        slot.newer = NONE;
        slot.older = second;
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = *self.slot(slot);
        *self.newer_end(older) = newer;
        *self.older_end(newer) = older;
    }

    /// Where the neighbour on its newer side is kept; the list's own end if
    /// there is no slot.
    fn newer_end(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE {
            return &mut self.oldest;
        }
        &mut self.slot(slot).newer
    }

    fn older_end(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE {
            return &mut self.newest;
        }
        &mut self.slot(slot).older
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_kept_without_a_limit() {
        let mut list = KeepDirty::new(8, 0);
        let extent = ExtentIndex(3);
        assert_eq!(list.touch(extent), Touched::Replaced(extent));
        assert!(!list.contains(extent));
    }

    #[test]
    fn the_limit_of_the_metadata_does_not_decide_about_memory() {
        let list = KeepDirty::new(8, u32::MAX);
        assert_eq!(list.limit, 8);
        assert!(list.slots.capacity() <= 8);
    }

    proptest! {
        /// The model is the list itself, searched from the front.
        #[test]
        fn it_is_a_list_of_the_most_recent(
            limit in 1u32..6,
            touches in prop::collection::vec(0u64..14, 0..200),
        ) {
            let mut list = KeepDirty::new(10, limit);
            let mut model: Vec<u64> = Vec::new();
            for extent in touches {
                if extent >= 10 {
                    prop_assert_eq!(list.drop_oldest(), model.pop().map(ExtentIndex));
                    continue;
                }
                let expected = if let Some(at) = model.iter().position(|e| *e == extent) {
                    model.remove(at);
                    Touched::Kept
                } else if crate::length(model.len()) < u64::from(limit) {
                    Touched::Added
                } else {
                    Touched::Replaced(ExtentIndex(model.pop().unwrap()))
                };
                model.insert(0, extent);
                prop_assert_eq!(list.touch(ExtentIndex(extent)), expected);
                for e in 0..10 {
                    prop_assert_eq!(list.contains(ExtentIndex(e)), model.contains(&e));
                }
            }
        }
    }
}

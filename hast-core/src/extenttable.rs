//! A number for each of a few extents, in memory that grows with how many
//! there are and not with the component.
//!
//! A hash table with open addressing. What is removed leaves no mark: whatever
//! was pushed beyond it moves back, so that a table which is written to for
//! years does not get slower.

use crate::units::ExtentIndex;
use alloc::vec;
use alloc::vec::Vec;

/// No extent: a map has fewer.
const FREE: u64 = u64::MAX;

/// Places of a new table; a power of two, as all lengths are.
const FEW: usize = 16;

/// Places that an empty table keeps, 1 MiB: what requests in flight need again
/// and again, and not what one over very many extents needed once.
const KEPT: usize = 1 << 16;

#[derive(Clone, Debug)]
pub(crate) struct ExtentTable {
    /// Extents and their numbers. At least half of it is free.
    places: Vec<(u64, u32)>,
    used: usize,
}

impl ExtentTable {
    pub(crate) fn new() -> Self {
        Self {
            places: empty(FEW),
            used: 0,
        }
    }

    pub(crate) fn get(&self, extent: ExtentIndex) -> Option<u32> {
        let (found, number) = self.places[self.find(extent)];
        (found != FREE).then_some(number)
    }

    pub(crate) fn insert(&mut self, extent: ExtentIndex, number: u32) {
        let at = self.find(extent);
        if self.places[at].0 != FREE {
            self.places[at].1 = number;
            return;
        }
        self.places[at] = (extent.0, number);
        self.used += 1;
        if 2 * self.used > self.places.len() {
            self.grow();
        }
    }

    pub(crate) fn remove(&mut self, extent: ExtentIndex) {
        let mut free = self.find(extent);
        if self.places[free].0 == FREE {
            return;
        }
        self.used -= 1;
        let mut at = free;
        loop {
            at = self.after(at);
            let (next, _) = self.places[at];
            if next == FREE {
                break;
            }
            // It may not move in front of its home.
            let home = self.home(next);
            let distance = |from: usize| at.wrapping_sub(from) & (self.places.len() - 1);
            if distance(home) >= distance(free) {
                self.places[free] = self.places[at];
                free = at;
            }
        }
        self.places[free] = (FREE, 0);
        if self.used == 0 && self.places.len() > KEPT {
            self.places = empty(FEW);
        }
    }

    fn grow(&mut self) {
        let grown = empty(2 * self.places.len());
        self.used = 0;
        for (extent, number) in core::mem::replace(&mut self.places, grown) {
            if extent != FREE {
                self.insert(ExtentIndex(extent), number);
            }
        }
    }

    /// Where the extent is, or would be.
    fn find(&self, extent: ExtentIndex) -> usize {
        let mut at = self.home(extent.0);
        while self.places[at].0 != extent.0 && self.places[at].0 != FREE {
            at = self.after(at);
        }
        at
    }

    /// Neighbours and powers of two apart are spread by Fibonacci hashing.
    fn home(&self, extent: u64) -> usize {
        let hash = extent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        crate::index(hash >> 32) & (self.places.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

fn empty(places: usize) -> Vec<(u64, u32)> {
    vec![(FREE, 0); places]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn its_memory_is_that_of_what_it_holds() {
        let mut table = ExtentTable::new();
        for round in 0..10_000 {
            table.insert(ExtentIndex(round << 20), 1);
            table.insert(ExtentIndex(round), 2);
            table.remove(ExtentIndex(round << 20));
            table.remove(ExtentIndex(round));
        }
        assert_eq!(table.places.len(), FEW);
        for (extents, then, kept) in [(1000, 2048, 2048), (40_000, 2 * KEPT, FEW)] {
            for extent in 0..extents {
                table.insert(ExtentIndex(extent), 1);
            }
            assert_eq!(table.places.len(), then);
            for extent in 0..extents {
                table.remove(ExtentIndex(extent));
            }
            assert_eq!(table.places.len(), kept);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec((0u64..40, prop::option::of(0u32..9)), 0..300),
            spread in 0u32..40,
        ) {
            let mut table = ExtentTable::new();
            let mut model = BTreeMap::new();
            for (extent, number) in steps {
                let extent = extent << spread;
                if let Some(number) = number {
                    table.insert(ExtentIndex(extent), number);
                    model.insert(extent, number);
                } else {
                    table.remove(ExtentIndex(extent));
                    model.remove(&extent);
                }
                for extent in (0..40).map(|n| n << spread) {
                    let expected = model.get(&extent).copied();
                    prop_assert_eq!(table.get(ExtentIndex(extent)), expected);
                }
                prop_assert_eq!(table.used, model.len());
            }
        }
    }
}

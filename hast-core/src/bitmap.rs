//! A bit per extent, laid out as base stores and sends it: bit *i* is in byte
//! *i* / 8, counted from the least significant. Facts: spec/hast-disk.md
//! section 5.1.

use crate::units::ExtentIndex;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Longest map that is kept or taken from a peer, in bytes: 128 TiB of data
/// in extents of 2 MiB. What is kept per extent takes up to 8 bytes more, so
/// this bounds a worker at about 600 MiB.
pub const MAX_MAP: u32 = 8 << 20;

const BITS: u64 = u64::BITS as u64;

/// A set of extents.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    /// Extents there are; the bits from here on are 0.
    bits: u64,
    /// Bits that are 1.
    set: u64,
}

impl Bitmap {
    /// The empty set of `bits` extents.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self {
            words: vec![0; crate::index(bits.div_ceil(BITS))],
            bits,
            set: 0,
        }
    }

    /// The set in a map. Longer ones are accepted, since base's secondary
    /// computes the length from its provider; bits of extents that do not
    /// exist are ignored. Of extents behind the end of a shorter one nothing
    /// is known, so they are in the set.
    #[must_use]
    pub fn from_map(bits: u64, map: &[u8]) -> Self {
        let mut bitmap = Self::new(bits);
        let (words, rest) = map.as_chunks::<8>();
        let mut last = [0xff; 8];
        last[..rest.len()].copy_from_slice(rest);
        let words = words
            .iter()
            .copied()
            .chain([last])
            .map(u64::from_le_bytes)
            .chain(core::iter::repeat(u64::MAX));
        for (word, bytes) in bitmap.words.iter_mut().zip(words) {
            *word = bytes;
        }
        if let Some(last) = bitmap.words.last_mut()
            && !bits.is_multiple_of(BITS)
        {
            *last &= (1 << (bits % BITS)) - 1;
        }
        bitmap.set = bitmap.words.iter().map(|w| u64::from(w.count_ones())).sum();
        bitmap
    }

    /// Writes the map's bytes from `offset` on; zeros behind its end. The
    /// offset is a multiple of 8, as every sector is.
    pub fn write_map(&self, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let words = self.words.iter().skip(crate::index(offset / 8));
        for (bytes, word) in bytes.chunks_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }

    /// Number of extents there are.
    #[must_use]
    pub const fn bits(&self) -> u64 {
        self.bits
    }

    /// Number of extents in the set.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.set
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set == 0
    }

    /// Whether the extent is in the set.
    #[must_use]
    pub fn contains(&self, extent: ExtentIndex) -> bool {
        let (word, mask) = self.at(extent);
        self.words[word] & mask != 0
    }

    /// Adds an extent; whether it is new.
    pub fn insert(&mut self, extent: ExtentIndex) -> bool {
        let (word, mask) = self.at(extent);
        let new = self.words[word] & mask == 0;
        self.words[word] |= mask;
        self.set += u64::from(new);
        new
    }

    /// Takes an extent out; whether it was there.
    pub fn remove(&mut self, extent: ExtentIndex) -> bool {
        let (word, mask) = self.at(extent);
        let there = self.words[word] & mask != 0;
        self.words[word] &= !mask;
        self.set -= u64::from(there);
        there
    }

    /// Whether every extent is in the set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.set == self.bits
    }

    /// Adds every extent.
    pub fn fill(&mut self) {
        *self = Self::from_map(self.bits, &[]);
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.set = 0;
    }

    /// The first extent of the set at or behind `from`.
    #[must_use]
    pub fn next(&self, from: ExtentIndex) -> Option<ExtentIndex> {
        if from.0 >= self.bits || self.set == 0 {
            return None;
        }
        let first = from.0 / BITS;
        let words = self.words[crate::index(first)..].iter().zip(first..);
        let mut mask = u64::MAX << (from.0 % BITS);
        for (word, n) in words {
            let word = word & core::mem::replace(&mut mask, u64::MAX);
            if word != 0 {
                return Some(ExtentIndex(n * BITS + u64::from(word.trailing_zeros())));
            }
        }
        None
    }

    /// Makes the members whose bits are in the map's bytes `part` those of
    /// `other`. Bounds are multiples of 8; bytes beyond the map are ignored.
    pub fn copy_part(&mut self, other: &Self, part: Range<u64>) {
        self.combine(other, part, |_, other| other);
    }

    /// Takes out the members of that part that are not in `other`.
    pub fn retain_part(&mut self, other: &Self, part: Range<u64>) {
        self.combine(other, part, |own, other| own & other);
    }

    fn combine(&mut self, other: &Self, part: Range<u64>, with: impl Fn(u64, u64) -> u64) {
        let words = self.words.iter_mut().zip(&other.words);
        let part = crate::index(part.start / 8)..crate::index(part.end / 8);
        for (own, other) in words.take(part.end).skip(part.start) {
            let new = with(*own, *other);
            self.set -= u64::from(own.count_ones());
            self.set += u64::from(new.count_ones());
            *own = new;
        }
    }

    /// The extents of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ExtentIndex> {
        let mut from = ExtentIndex(0);
        core::iter::from_fn(move || {
            let next = self.next(from)?;
            from = ExtentIndex(next.0 + 1);
            Some(next)
        })
    }

    fn at(&self, extent: ExtentIndex) -> (usize, u64) {
        assert!(
            extent.0 < self.bits,
            "extent {extent} of {} does not exist",
            self.bits
        );
        (crate::index(extent.0 / BITS), 1 << (extent.0 % BITS))
    }
}

impl fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|e| e.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_layout_is_that_of_base() {
        let mut bitmap = Bitmap::new(32);
        for extent in [0, 9, 31] {
            bitmap.insert(ExtentIndex(extent));
        }
        let mut map = [0xaa; 12];
        bitmap.write_map(0, &mut map);
        assert_eq!(map, [1, 2, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Bitmap::from_map(32, &map), bitmap);
    }

    /// A peer's map may have any length; base's asserts abort on a short one.
    #[test]
    fn maps_of_every_wrong_size_are_read() {
        for length in 0..40usize {
            let map = vec![0; length];
            let known = (u64::try_from(length).unwrap() * 8).min(100);
            let bitmap = Bitmap::from_map(100, &map);
            assert_eq!(bitmap.count(), 100 - known, "unknown means dirty");
            assert_eq!(bitmap.next(ExtentIndex(0)).map_or(100, |e| e.0), known);
        }
        assert_eq!(Bitmap::from_map(100, &[0xff; 512]).count(), 100);
        assert_eq!(Bitmap::from_map(128, &[]).count(), 128);
        assert_eq!(Bitmap::from_map(0, &[0xff; 8]).count(), 0);
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            bits in 1u64..400,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let (mut bitmap, mut model) = (Bitmap::new(bits), BTreeSet::new());
            for (insert, at) in steps {
                let extent = u64::try_from(at.index(crate::index(bits))).unwrap();
                if insert {
                    prop_assert_eq!(bitmap.insert(ExtentIndex(extent)), model.insert(extent));
                } else {
                    prop_assert_eq!(bitmap.remove(ExtentIndex(extent)), model.remove(&extent));
                }
                prop_assert_eq!(bitmap.count(), crate::length(model.len()));
            }
            prop_assert!(bitmap.iter().map(|e| e.0).eq(model.iter().copied()));
            for from in 0..bits + 2 {
                let next = model.range(from..).next().copied();
                prop_assert_eq!(bitmap.next(ExtentIndex(from)).map(|e| e.0), next);
            }
            let mut map = vec![0; crate::index(bits.div_ceil(8).next_multiple_of(8))];
            bitmap.write_map(0, &mut map);
            prop_assert_eq!(Bitmap::from_map(bits, &map), bitmap);
        }
    }
}

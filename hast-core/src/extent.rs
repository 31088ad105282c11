//! The data area cut into extents, the unit of the dirty map.
//! Facts: spec/hast-disk.md section 5.1.

use crate::bitmap::MAX_MAP;
use crate::units::{ByteRange, ExtentIndex};

/// Most extents a resource may have: as many as the longest map has bits.
pub const MAX_EXTENTS: u64 = MAX_MAP as u64 * 8;

/// Size of the data area and of its extents. The last extent may be short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extents {
    datasize: u64,
    extentsize: u32,
}

impl Extents {
    /// `None` unless there is data, the extent size is a power of two and
    /// there are at most [`MAX_EXTENTS`].
    #[must_use]
    pub fn new(datasize: u64, extentsize: u32) -> Option<Self> {
        let extents = Self {
            datasize,
            extentsize,
        };
        (datasize > 0 && extentsize.is_power_of_two() && extents.count() <= MAX_EXTENTS)
            .then_some(extents)
    }

    /// Bytes of the data area.
    #[must_use]
    pub const fn datasize(self) -> u64 {
        self.datasize
    }

    /// Bytes of an extent.
    #[must_use]
    pub const fn extentsize(self) -> u32 {
        self.extentsize
    }

    /// Number of extents, at least 1.
    #[must_use]
    pub fn count(self) -> u64 {
        count(self.datasize, self.extentsize)
    }

    /// The extents a range has bytes in.
    ///
    /// # Panics
    /// If the range ends beyond the data: requests are checked before.
    pub fn touched(self, range: ByteRange) -> impl DoubleEndedIterator<Item = ExtentIndex> + Clone {
        assert!(
            range.end() <= self.datasize,
            "{range} is beyond the end of the data"
        );
        let size = u64::from(self.extentsize);
        (range.offset() / size..=(range.end() - 1) / size).map(ExtentIndex)
    }

    /// The bytes of an extent.
    ///
    /// # Panics
    /// If there is no such extent.
    #[must_use]
    pub fn range(self, extent: ExtentIndex) -> ByteRange {
        let offset = extent.0 * u64::from(self.extentsize);
        let length = self.datasize.saturating_sub(offset);
        ByteRange::new(offset, length.min(self.extentsize.into())).expect("the extent exists")
    }

    /// An extent cut into requests of at most `longest` bytes.
    pub fn chunks(self, extent: ExtentIndex, longest: u32) -> impl Iterator<Item = ByteRange> {
        let whole = self.range(extent);
        let longest = u64::from(longest.max(1));
        (0..whole.length().div_ceil(longest)).filter_map(move |n| {
            let offset = whole.offset() + n * longest;
            ByteRange::new(offset, longest.min(whole.end() - offset))
        })
    }

    /// Bytes of the map on disk: one bit per extent, whole 64-bit words, whole
    /// sectors.
    #[must_use]
    pub fn map_size(self, sectorsize: u32) -> u64 {
        map_size(self.datasize, self.extentsize, sectorsize)
    }
}

fn count(size: u64, extentsize: u32) -> u64 {
    size.div_ceil(extentsize.into())
}

/// The same for sizes that no [`Extents`] was made of yet.
pub(crate) fn map_size(size: u64, extentsize: u32, sectorsize: u32) -> u64 {
    let words = count(size, extentsize).div_ceil(64);
    (words * 8).next_multiple_of(sectorsize.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn extents(datasize: u64) -> Extents {
        Extents::new(datasize, 2 << 20).unwrap()
    }

    /// spec/hast-disk.md section 3, computed by base.
    #[test]
    fn map_sizes_are_those_of_base() {
        let table = [
            (64 << 20, 512),
            (10 << 30, 1024),
            (20 << 30, 1536),
            (1 << 40, 65536),
        ];
        for (mediasize, size) in table {
            assert_eq!(map_size(mediasize - 4096, 2 << 20, 512), size);
        }
        assert_eq!(map_size((1 << 40) - 4096, 2 << 20, 4096), 65536);
        assert_eq!(extents(67_104_256).count(), 32);
    }

    /// spec/vectors-hast.md section 9, computed by base.
    #[test]
    fn chunks_are_those_of_base() {
        let pieces = |extent, longest| -> Vec<_> {
            extents(67_104_256)
                .chunks(ExtentIndex(extent), longest)
                .map(|r| (r.offset(), r.length()))
                .collect()
        };
        let small = pieces(9, 128 << 10);
        assert_eq!(small.len(), 16);
        assert_eq!(small[..2], [(18_874_368, 131_072), (19_005_440, 131_072)]);
        let last = pieces(31, 128 << 10);
        assert_eq!(
            (last.len(), last[15]),
            (16, (66_977_792, 126_464)),
            "the last one is short"
        );
        assert_eq!(
            pieces(9, 1 << 20),
            [(18_874_368, 1 << 20), (19_922_944, 1 << 20)]
        );
        assert_eq!(
            pieces(31, 1 << 20),
            [(65_011_712, 1_048_576), (66_060_288, 1_043_968)]
        );
        assert_eq!(pieces(0, 4 << 20), [(0, 2 << 20)]);
    }

    #[test]
    fn a_range_touches_every_extent_it_has_bytes_in() {
        let touched = |offset, length| -> Vec<_> {
            let range = ByteRange::new(offset, length).unwrap();
            extents(8 << 20).touched(range).map(|e| e.0).collect()
        };
        assert_eq!(touched(0, 1), [0]);
        assert_eq!(touched((2 << 20) - 1, 1), [0]);
        assert_eq!(touched((2 << 20) - 1, 2), [0, 1]);
        assert_eq!(touched(0, 8 << 20), [0, 1, 2, 3]);
        assert_eq!(touched(2 << 20, 2 << 20), [1]);
    }

    #[test]
    fn impossible_extents_do_not_exist() {
        assert_eq!(Extents::new(0, 512), None);
        assert_eq!(Extents::new(4096, 0), None);
        assert_eq!(Extents::new(4096, 1536), None);
        assert!(Extents::new(MAX_EXTENTS * 512, 512).is_some());
        assert_eq!(Extents::new(MAX_EXTENTS * 512 + 1, 512), None);
        assert_eq!(Extents::new(u64::MAX, 1), None);
        assert_eq!(Extents::new(u64::MAX, 1 << 31), None);
    }
}

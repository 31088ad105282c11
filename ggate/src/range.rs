//! Where a request lies on a medium, and whether it may.
//!
//! Offsets and lengths come from the kernel, from the network and from NBD
//! clients; every one of them passes [`Geometry::check`] before it is used.

use std::fmt;

/// A run of bytes on a medium: `offset` and `length` in bytes.
///
/// `offset + length` may exceed `u64` until [`Geometry::check`] has said
/// otherwise, so the end is only available as an [`Option`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; 0 is an empty range.
    pub length: u64,
}

impl ByteRange {
    /// A range of `length` bytes from `offset`.
    #[must_use]
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length }
    }

    /// The offset behind the last byte; `None` beyond `u64`.
    #[must_use]
    pub const fn end(self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    /// Whether both ranges share a byte. Empty ranges overlap nothing.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.length != 0
            && other.length != 0
            && self.offset < other.offset.saturating_add(other.length)
            && other.offset < self.offset.saturating_add(self.length)
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.length)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {} length {}", self.offset, self.length)
    }
}

/// The size of a medium and of its sectors, both in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Media size in bytes.
    pub media_size: u64,
    /// Sector size in bytes.
    pub sector_size: u32,
}

/// Why a range does not fit a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RangeError {
    /// It reaches beyond the end of the medium (or of `u64`).
    #[error("reaches beyond the end of the medium")]
    BeyondEnd,
    /// Offset or length is no multiple of the sector size.
    #[error("is not aligned to the sector size")]
    Misaligned,
}

impl Geometry {
    /// Checks that `range` lies inside the medium and on sector boundaries.
    /// An empty range at the very end is fine.
    pub fn check(self, range: ByteRange) -> Result<(), RangeError> {
        match range.end() {
            Some(end) if end <= self.media_size => {}
            _ => return Err(RangeError::BeyondEnd),
        }
        let sector = u64::from(self.sector_size).max(1);
        if !range.offset.is_multiple_of(sector) || !range.length.is_multiple_of(sector) {
            return Err(RangeError::Misaligned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DISK: Geometry = Geometry {
        media_size: 1 << 20,
        sector_size: 512,
    };

    #[test]
    fn the_end_of_the_medium_is_inside_and_one_sector_more_is_not() {
        assert_eq!(DISK.check(ByteRange::new((1 << 20) - 512, 512)), Ok(()));
        assert_eq!(DISK.check(ByteRange::new(1 << 20, 0)), Ok(()));
        assert_eq!(
            DISK.check(ByteRange::new((1 << 20) - 512, 1024)),
            Err(RangeError::BeyondEnd)
        );
    }

    #[test]
    fn a_sum_beyond_u64_is_refused() {
        assert_eq!(
            DISK.check(ByteRange::new(u64::MAX - 511, 1024)),
            Err(RangeError::BeyondEnd)
        );
    }

    #[test]
    fn half_sectors_are_refused() {
        assert_eq!(
            DISK.check(ByteRange::new(256, 512)),
            Err(RangeError::Misaligned)
        );
        assert_eq!(
            DISK.check(ByteRange::new(512, 100)),
            Err(RangeError::Misaligned)
        );
    }

    proptest! {
        #[test]
        fn overlap_agrees_with_a_byte_by_byte_model(
            a in 0u64..64, al in 0u64..16, b in 0u64..64, bl in 0u64..16,
        ) {
            let model = (a..a + al).any(|x| (b..b + bl).contains(&x));
            prop_assert_eq!(ByteRange::new(a, al).overlaps(ByteRange::new(b, bl)), model);
        }
    }
}

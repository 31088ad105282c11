//! The numbers of HAST, each a type of its own.

use core::fmt;
use core::num::NonZeroU64;

/// Number of a request, chosen by the primary; replies are matched by it
/// alone. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(NonZeroU64);

impl Seq {
    /// `None` for 0, which no request may carry.
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        match NonZeroU64::new(n) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes of the data area: at least one, and the end fits into a `u64`.
///
/// Offsets count from the start of the provider; the component's `localoff`
/// is added by whoever touches the disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ByteRange {
    offset: u64,
    length: NonZeroU64,
}

impl ByteRange {
    /// `None` if `length` is 0 or the end lies beyond `u64`.
    #[must_use]
    pub const fn new(offset: u64, length: u64) -> Option<Self> {
        match (NonZeroU64::new(length), offset.checked_add(length)) {
            (Some(length), Some(_)) => Some(Self { offset, length }),
            _ => None,
        }
    }

    /// First byte.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Number of bytes, at least 1.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length.get()
    }

    /// The offset behind the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset + self.length.get()
    }

    /// Whether both share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {} length {}", self.offset, self.length)
    }
}

/// Number of an extent, counted from 0 at the start of the data area.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ExtentIndex(pub u64);

impl fmt::Display for ExtentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Unique id of a resource, drawn by its first primary. A component that
/// has none yet has never been connected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResUid(NonZeroU64);

impl ResUid {
    /// `None` for 0, which means "never used".
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        match NonZeroU64::new(n) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number on the wire and on disk.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for ResUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of one state of the data: drawn at random whenever a primary starts
/// to modify data alone, adopted by the copy that is made equal to it.
///
/// An entry of ours (`docs/extensions.md`); a component last written by base
/// has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// `None` for 0.
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        match NonZeroU64::new(n) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number on the wire and on disk.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The pair of modification counters a component carries: how often its own
/// node began to modify data alone, and what it knows of the peer's.
/// spec/hast-disk.md section 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Counters {
    /// `localcnt`: mine.
    pub local: u64,
    /// `remotecnt`: the peer's, as far as I know.
    pub remote: u64,
}

/// What ties the second connection of a handshake to the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; Token::LEN]);

impl Token {
    /// Bytes of a token.
    pub const LEN: usize = 16;
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is a secret as long as the handshake lasts.
        f.write_str("Token(..)")
    }
}

/// A version of the protocol between two nodes.
///
/// | version | change |
/// |---|---|
/// | 1 | KEEPALIVE |
/// | 2 | `memsync` in WRITE requests, `received` in replies |
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// Before anything was negotiated, and towards a peer that knows no more.
    V1,
    /// With memsync.
    V2,
}

impl Version {
    /// The highest one spoken here.
    pub const MAX: Self = Self::V2;

    /// The byte in message headers and in the `version` entry.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// What two nodes speak of which the other announced `n`: the lower of
    /// both maxima; 0 (or no announcement) counts as 1.
    #[must_use]
    pub const fn negotiate(n: u8) -> Self {
        if n < 2 { Self::V1 } else { Self::V2 }
    }

    /// Whether WRITE requests may ask for two replies.
    #[must_use]
    pub const fn has_memsync(self) -> bool {
        matches!(self, Self::V2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_within_u64_and_is_not_empty() {
        assert!(ByteRange::new(0, 0).is_none());
        assert!(ByteRange::new(u64::MAX, 1).is_none());
        assert!(ByteRange::new(u64::MAX, u64::MAX).is_none());
        assert_eq!(ByteRange::new(u64::MAX - 1, 1).unwrap().end(), u64::MAX);
        assert_eq!(ByteRange::new(0, u64::MAX).unwrap().end(), u64::MAX);
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let a = ByteRange::new(0, 512).unwrap();
        let b = ByteRange::new(512, 512).unwrap();
        let c = ByteRange::new(511, 1).unwrap();
        assert!(!a.overlaps(b) && !b.overlaps(a));
        assert!(a.overlaps(c) && c.overlaps(a) && a.overlaps(a));
    }

    #[test]
    fn versions_are_negotiated_as_base_does() {
        let table = [(0, 1), (1, 1), (2, 2), (3, 2), (255, 2)];
        for (announced, spoken) in table {
            assert_eq!(Version::negotiate(announced).to_byte(), spoken);
        }
    }
}

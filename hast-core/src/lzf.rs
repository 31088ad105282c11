//! LZF, the compression base calls `lzf`. Both directions work in the
//! caller's buffers. Facts: spec/hast-wire.md section 7.2.
//!
//! A stream is a sequence of
//!
//! | first byte *c* | then | meaning |
//! |---|---|---|
//! | 0 to 31 | c + 1 bytes | these bytes |
//! | 32 to 223 | *y* | (c >> 5) + 2 bytes from ((c & 31) << 8) + y + 1 back |
//! | 224 to 255 | *x*, *y* | x + 9 bytes from ((c & 31) << 8) + y + 1 back |
//!
//! Any stream of this form is understood by base, so ours need not be the one
//! base would have made.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

const MIN_MATCH: usize = 3;
/// Matches from this length on have their length in a byte of its own.
const LONG_MATCH: usize = 9;
const MAX_MATCH: usize = LONG_MATCH + 255;
const MAX_DISTANCE: usize = 1 << 13;
const MAX_LITERALS: usize = 32;

const HASH_BITS: u32 = 13;

/// Most bytes passed over between two looks at data that does not repeat:
/// what follows it may, and must be noticed.
const MAX_SKIP: usize = 15;

/// Where three bytes were seen last: the compressor's memory, 32 KiB, made
/// once and used again.
pub struct Table(Box<[u32]>);

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0; 1 << HASH_BITS].into_boxed_slice())
    }

    /// Remembers that `at` begins with `bytes`; returns where they were
    /// before, as a position plus 1.
    fn replace(&mut self, bytes: &[u8], at: u32) -> u32 {
        let key = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        // Fibonacci hashing: the upper bits depend on all three bytes.
        let hash = key.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS);
        core::mem::replace(&mut self.0[crate::index(hash.into())], at + 1)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table(..)")
    }
}

/// Compresses `src` into `dst`. `None` if it does not fit; `dst` then holds
/// nothing of use.
#[must_use]
pub fn compress(table: &mut Table, src: &[u8], dst: &mut [u8]) -> Option<usize> {
    // Positions are kept as u32, plus 1.
    u32::try_from(src.len()).ok()?.checked_add(1)?;
    // The stream must not depend on what was compressed before.
    table.0.fill(0);
    let mut out = Output { dst, length: 0 };
    let mut literals = 0;
    let mut at = 0;
    while let Some(bytes) = src.get(at..at + MIN_MATCH) {
        let seen = table.replace(bytes, u32::try_from(at).ok()?);
        let Some((from, length)) = best_match(src, seen, at) else {
            // Look less often the longer nothing was found.
            at += 1 + ((at - literals) >> 6).min(MAX_SKIP);
            continue;
        };
        out.literals(&src[literals..at])?;
        out.reference(at - from, length)?;
        at += length;
        literals = at;
        if let Some(last) = src.get(at - 1..at - 1 + MIN_MATCH) {
            table.replace(last, u32::try_from(at - 1).ok()?);
        }
    }
    out.literals(&src[literals..])?;
    Some(out.length)
}

/// Where the bytes at `at` stood before and how many are equal.
fn best_match(src: &[u8], seen: u32, at: usize) -> Option<(usize, usize)> {
    let from = crate::index(seen.into()).checked_sub(1)?;
    if at - from > MAX_DISTANCE {
        return None;
    }
    let length = src[from..]
        .iter()
        .zip(&src[at..])
        .take(MAX_MATCH)
        .take_while(|(a, b)| a == b)
        .count();
    (length >= MIN_MATCH).then_some((from, length))
}

struct Output<'a> {
    dst: &'a mut [u8],
    length: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let room = self.dst.get_mut(self.length..self.length + bytes.len())?;
        room.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }

    fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        for run in bytes.chunks(MAX_LITERALS) {
            self.put(&[u8::try_from(run.len() - 1).ok()?])?;
            self.put(run)?;
        }
        Some(())
    }

    fn reference(&mut self, distance: usize, length: usize) -> Option<()> {
        let [high, low] = u16::try_from(distance - 1).ok()?.to_be_bytes();
        if length < LONG_MATCH {
            let short = u8::try_from(length - 2).ok()?;
            self.put(&[short << 5 | high, low])
        } else {
            self.put(&[7 << 5 | high, u8::try_from(length - LONG_MATCH).ok()?, low])
        }
    }
}

/// Expands `src`, which must fill `dst` exactly.
pub fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), LzfError> {
    let mut rest = src;
    let mut at = 0;
    while let Some(control) = take(&mut rest) {
        if usize::from(control) < MAX_LITERALS {
            let length = usize::from(control) + 1;
            let (run, later) = rest.split_at_checked(length).ok_or(LzfError::Truncated)?;
            dst.get_mut(at..at + length)
                .ok_or(LzfError::TooLong)?
                .copy_from_slice(run);
            rest = later;
            at += length;
            continue;
        }
        let length = match control >> 5 {
            7 => LONG_MATCH + usize::from(take(&mut rest).ok_or(LzfError::Truncated)?),
            short => usize::from(short) + 2,
        };
        let low = take(&mut rest).ok_or(LzfError::Truncated)?;
        let distance = usize::from(u16::from_be_bytes([control & 31, low])) + 1;
        let from = at.checked_sub(distance).ok_or(LzfError::Distance)?;
        if dst.len() - at < length {
            return Err(LzfError::TooLong);
        }
        repeat(dst, from, at, length);
        at += length;
    }
    if at == dst.len() {
        Ok(())
    } else {
        Err(LzfError::TooShort)
    }
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, later) = rest.split_first()?;
    *rest = later;
    Some(*first)
}

/// Copies as if byte by byte: a distance below the length repeats bytes this
/// copy itself has written.
fn repeat(bytes: &mut [u8], from: usize, to: usize, length: usize) {
    let (mut done, period) = (0, to - from);
    while done < length {
        let piece = (period + done).min(length - done);
        bytes.copy_within(from..from + piece, to + done);
        done += piece;
    }
}

/// Why bytes are no LZF stream of the expected length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LzfError {
    /// The stream ends inside an item.
    Truncated,
    /// A reference to before the first byte.
    Distance,
    /// It expands to more than was announced.
    TooLong,
    /// It expands to less than was announced.
    TooShort,
}

impl fmt::Display for LzfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "lzf stream ends inside an item",
            Self::Distance => "lzf stream refers to before its beginning",
            Self::TooLong => "lzf stream is longer than announced",
            Self::TooShort => "lzf stream is shorter than announced",
        })
    }
}

impl core::error::Error for LzfError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn round(src: &[u8]) -> usize {
        let mut packed = vec![0; src.len() * 33 / 32 + 1];
        let length = compress(&mut Table::new(), src, &mut packed).unwrap();
        let mut back = vec![0xaa; src.len()];
        decompress(&packed[..length], &mut back).unwrap();
        assert!(back == src);
        length
    }

    /// spec/vectors-hast.md section 5, made by base.
    #[test]
    fn the_stream_of_base_is_understood() {
        let packed = b"\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\
            \x0f\x00\xe0\xff\x0f\xe1\xff\x0f\xe2\xff\x0f\xe2\xff\x0f\xe2\xff\
            \x0f\xe2\xff\x0f\xe2\xff\x0f\xe2\xac\x0f\x01\x0e\x0f";
        let mut out = [0xaa; 2048];
        decompress(packed, &mut out).unwrap();
        assert!(out.iter().zip((0..16u8).cycle()).all(|(a, b)| *a == b));
        assert!(round(&out) <= 50);
    }

    #[test]
    fn each_invalid_stream_is_named() {
        let cases: [(&[u8], usize, LzfError); 9] = [
            (b"\x01a", 2, LzfError::Truncated),
            (b"\x20", 3, LzfError::Truncated),
            (b"\xe0", 9, LzfError::Truncated),
            (b"\xe0\x00", 9, LzfError::Truncated),
            (b"\x20\x00", 3, LzfError::Distance),
            (b"\x00a\x20\x01", 4, LzfError::Distance),
            (b"\x00a\x20\x00", 3, LzfError::TooLong),
            (b"\x01ab", 1, LzfError::TooLong),
            (b"\x00a\x20\x00", 5, LzfError::TooShort),
        ];
        for (stream, length, error) in cases {
            let mut out = vec![0; length];
            assert_eq!(decompress(stream, &mut out), Err(error), "{stream:02x?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_compressed() {
        let noise: Vec<u8> = (0..4096u32)
            .map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()[3])
            .collect();
        assert_eq!(compress(&mut Table::new(), &noise, &mut [0; 512]), None);
        assert_eq!(compress(&mut Table::new(), b"", &mut []), Some(0));
        assert_eq!(compress(&mut Table::new(), b"a", &mut [0]), None);
    }

    #[test]
    fn what_follows_noise_is_still_compressed() {
        let mut x = 1u64;
        let noise = core::iter::repeat_with(|| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[4]
        });
        let mut src: Vec<u8> = noise.take(64 << 10).collect();
        src.extend(b"to be or not to be. ".iter().cycle().take(64 << 10));
        let length = round(&src);
        assert!(length < 68 << 10, "{length}");
    }

    #[test]
    fn the_stream_does_not_depend_on_the_one_before() {
        let mut table = Table::new();
        let (mut first, mut second) = ([0; 64], [0; 64]);
        let text = b"to be or not to be, to be or not to be";
        let a = compress(&mut table, text, &mut first);
        let _ = compress(&mut table, b"not to be, that is", &mut [0; 64]);
        let b = compress(&mut table, text, &mut second);
        assert!(a.is_some() && a == b && first == second);
    }

    proptest! {
        #[test]
        fn what_is_compressed_expands_to_itself(
            seeds in prop::collection::vec((any::<u8>(), 1usize..600, 1u8..40), 0..40)
        ) {
            let mut src = Vec::new();
            for (start, length, period) in seeds {
                src.extend((0..period).cycle().take(length).map(|n| n.wrapping_add(start)));
            }
            round(&src);
        }

        #[test]
        fn noise_survives_too(src in prop::collection::vec(any::<u8>(), 0..3000)) {
            round(&src);
        }

        /// Far matches, at the edge of what a reference can reach.
        #[test]
        fn distances_around_the_limit(gap in 8180usize..8200) {
            let mut src = b"unmistakable".to_vec();
            src.extend((0..gap).map(|n| u8::try_from(n * n % 251).unwrap()));
            src.extend_from_slice(b"unmistakable");
            round(&src);
        }

        #[test]
        fn any_bytes_expand_or_are_refused(
            src in prop::collection::vec(any::<u8>(), 0..200), length in 0usize..2000
        ) {
            let _ = decompress(&src, &mut vec![0; length]);
        }
    }
}

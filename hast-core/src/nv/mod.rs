//! Name/value entries, the encoding of everything HAST sends or stores.
//! Facts: spec/hast-wire.md section 3.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | type code; the top bit says "host order" and is 0 on the wire |
//! | 1 | 1 | name length with its NUL, 1 to 255 |
//! | 2 | 4 | data length *d*, never 0 |
//! | 6 | N | name with NUL, zeros up to a multiple of 8 |
//! | 6+N | D | data, zeros up to a multiple of 8 |
//!
//! The order of entries is free, the first of a name counts, a lookup needs
//! the exact type, and entries nobody asks for are ignored: that is how new
//! ones are added. Nothing here allocates; entries are slices of the bytes
//! they came in.

mod read;
mod write;

pub(crate) use read::Wanted;
pub use read::{Entries, Entry, Field, FieldError, Malformed, Value, pick};
pub use write::{Data, Full, Numbered, Writer};

use core::fmt;

/// Bytes before the name.
const HEADER: usize = 6;

/// Names and data occupy multiples of this many bytes.
const ALIGN: usize = 8;

/// `size` bytes and what pads them; at most 4 GiB, so nothing overflows.
const fn padded(size: usize) -> usize {
    (size + (ALIGN - 1)) & !(ALIGN - 1)
}

/// A data type, by its code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Type {
    Int8 = 1,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Int8Array,
    Uint8Array,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Int64Array,
    Uint64Array,
    String,
}

impl Type {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 17] = [
        Self::Int8,
        Self::Uint8,
        Self::Int16,
        Self::Uint16,
        Self::Int32,
        Self::Uint32,
        Self::Int64,
        Self::Uint64,
        Self::Int8Array,
        Self::Uint8Array,
        Self::Int16Array,
        Self::Uint16Array,
        Self::Int32Array,
        Self::Uint32Array,
        Self::Int64Array,
        Self::Uint64Array,
        Self::String,
    ];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).wrapping_sub(1)).copied()
    }

    /// Bytes of a scalar or of an array's element; 1 for strings.
    #[must_use]
    pub const fn size(self) -> usize {
        // Codes come in pairs, signed and unsigned, of 1, 2, 4 and 8 bytes:
        // first the scalars, then the arrays, and last the string.
        1 << ((self as usize - 1) / 2 % 4)
    }

    /// Whether the data is exactly one value.
    #[must_use]
    pub const fn is_scalar(self) -> bool {
        (self as u8) < Self::Int8Array as u8
    }
}

/// Text from a string entry: any bytes but NUL, in no known encoding.
///
/// Shown with everything that could command a terminal or forge a log line
/// replaced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { '?' } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char('\u{fffd}')?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests;

//! Reading entries.

use super::{ALIGN, HEADER, Text, Type};
use byteorder::{ByteOrder, LittleEndian};
use core::fmt;

/// One entry, as it lies in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    kind: Type,
    name: &'a [u8],
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The type of the data.
    #[must_use]
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// The name without its NUL.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The data without padding; a string's NUL included.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// The entries of a message, each checked as it is reached. Ends behind the
/// first invalid one.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The entries in `bytes`. An entry of type 0 ends them early.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet read.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn entry(&mut self) -> Result<Entry<'a>, Malformed> {
        let (header, rest) = self
            .rest
            .split_first_chunk::<HEADER>()
            .filter(|(_, rest)| rest.len() + HEADER >= ALIGN)
            .ok_or(Malformed::Truncated)?;
        // The top bit means "host order". Base takes such an entry in the
        // receiver's own order, which is little-endian where HAST runs.
        let kind = Type::from_code(header[0] & 0x7f).ok_or(Malformed::Type)?;
        let size = usize::from(header[1]);
        let (name, rest) = padded(rest, size)?;
        let name = terminated(name, size).ok_or(Malformed::Name)?;
        let size = crate::index(LittleEndian::read_u32(&header[2..]).into());
        if size == 0 {
            return Err(Malformed::Length);
        }
        let (data, rest) = padded(rest, size)?;
        let fits = if kind.is_scalar() {
            size == kind.size()
        } else if kind == Type::String {
            terminated(data, size).is_some()
        } else {
            size.is_multiple_of(kind.size())
        };
        if !fits {
            return Err(Malformed::Length);
        }
        self.rest = rest;
        let data = &data[..size];
        Ok(Entry { kind, name, data })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.first().is_none_or(|&code| code == 0) {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Splits off `size` bytes with what pads them.
#[inline]
fn padded(bytes: &[u8], size: usize) -> Result<(&[u8], &[u8]), Malformed> {
    bytes
        .split_at_checked(super::padded(size))
        .ok_or(Malformed::Truncated)
}

/// The text before the first NUL, which must be the last of `size` bytes.
fn terminated(padded: &[u8], size: usize) -> Option<&[u8]> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    // Eight bytes at a time: a top bit is left where a byte was 0, and above
    // that perhaps elsewhere.
    let (words, _) = padded.as_chunks::<ALIGN>();
    let (at, zeros) = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .map(|word| word.wrapping_sub(ONES) & !word & TOPS)
        .enumerate()
        .find(|(_, zeros)| *zeros != 0)?;
    let text = at * ALIGN + crate::index(zeros.trailing_zeros().into()) / 8;
    (text + 1 == size).then(|| &padded[..text])
}

/// The first entry of each of the given names, in their order.
///
/// One pass checks every entry of the message, so a message with any invalid
/// entry is refused as a whole.
pub fn pick<'a, const N: usize>(
    bytes: &'a [u8],
    names: [&'static str; N],
) -> Result<[Field<'a>; N], Malformed> {
    let mut wanted = Wanted::new(names);
    for entry in Entries::new(bytes) {
        let entry = entry?;
        wanted.offer(entry.name, entry);
    }
    Ok(wanted.fields)
}

/// Entries wanted by name, filled as they come; the first of a name stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a, const N: usize> {
    pub(crate) fields: [Field<'a>; N],
    /// Senders keep one order, so the next entry mostly has this name.
    expected: usize,
}

impl<'a, const N: usize> Wanted<'a, N> {
    pub(crate) fn new(names: [&'static str; N]) -> Self {
        Self {
            fields: names.map(|name| Field { name, entry: None }),
            expected: 0,
        }
    }

    /// Keeps the entry if one of this name is wanted and not there yet.
    #[inline]
    pub(crate) fn offer(&mut self, name: &[u8], entry: Entry<'a>) {
        let is_it = |field: &Field<'_>| field.name.as_bytes() == name;
        let at = match self.fields.get(self.expected) {
            Some(field) if is_it(field) => self.expected,
            _ => match self.fields.iter().position(is_it) {
                Some(at) => at,
                None => return,
            },
        };
        self.expected = at + 1;
        let field = &mut self.fields[at];
        if field.entry.is_none() {
            field.entry = Some(entry);
        }
    }
}

/// An entry that was asked for, there or not.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    name: &'static str,
    entry: Option<Entry<'a>>,
}

impl<'a> Field<'a> {
    /// The value; an error if the entry is absent or of another type.
    pub fn get<T: Value<'a>>(&self) -> Result<T, FieldError> {
        self.optional()?.ok_or(FieldError::Missing(self.name))
    }

    /// The value if the entry is there; an error if it is of another type.
    pub fn optional<T: Value<'a>>(&self) -> Result<Option<T>, FieldError> {
        let Some(entry) = &self.entry else {
            return Ok(None);
        };
        T::read(entry)
            .map(Some)
            .ok_or(FieldError::WrongType(self.name))
    }

    /// Whether the entry is there: all that counts for flags, whose type and
    /// value nobody looks at.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.entry.is_some()
    }
}

/// What an entry's data can be read as: exactly one type each.
pub trait Value<'a>: Sized {
    /// `None` if the entry has another type.
    fn read(entry: &Entry<'a>) -> Option<Self>;
}

macro_rules! scalar {
    ($($t:ty, $kind:ident, $read:expr;)*) => {
        $(impl Value<'_> for $t {
            fn read(entry: &Entry<'_>) -> Option<Self> {
                (entry.kind == Type::$kind).then(|| $read(entry.data))
            }
        })*
    };
}

scalar! {
    i8, Int8, |data: &[u8]| data[0].cast_signed();
    u8, Uint8, |data: &[u8]| data[0];
    i16, Int16, LittleEndian::read_i16;
    u16, Uint16, LittleEndian::read_u16;
    i32, Int32, LittleEndian::read_i32;
    u32, Uint32, LittleEndian::read_u32;
    i64, Int64, LittleEndian::read_i64;
    u64, Uint64, LittleEndian::read_u64;
}

impl<'a> Value<'a> for Text<'a> {
    fn read(entry: &Entry<'a>) -> Option<Self> {
        let (_nul, text) = entry.data.split_last()?;
        (entry.kind == Type::String).then_some(Text(text))
    }
}

/// An array of uint8.
impl<'a> Value<'a> for &'a [u8] {
    fn read(entry: &Entry<'a>) -> Option<Self> {
        (entry.kind == Type::Uint8Array).then_some(entry.data)
    }
}

/// Why bytes are no entries; the whole message is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Malformed {
    /// The message ends inside an entry.
    Truncated,
    /// A type code nobody defined.
    Type,
    /// A name without NUL at its end, or with one before it.
    Name,
    /// A data length that does not fit the type, or a string with a NUL in
    /// the wrong place.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ends inside an entry",
            Self::Type => "has an entry of unknown type",
            Self::Name => "has an entry with an invalid name",
            Self::Length => "has an entry with an invalid length",
        })
    }
}

impl core::error::Error for Malformed {}

/// Why an entry cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FieldError {
    /// Not in the message.
    Missing(&'static str),
    /// There, but of another type.
    WrongType(&'static str),
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "lacks the entry \"{name}\""),
            Self::WrongType(name) => write!(f, "has an entry \"{name}\" of the wrong type"),
        }
    }
}

impl core::error::Error for FieldError {}

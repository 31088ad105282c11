//! Writing entries.

use super::{ALIGN, HEADER, Text, Type, padded};
use byteorder::{ByteOrder, LittleEndian};
use core::fmt;

/// Appends entries to a caller's buffer. Padding is always zero.
///
/// Entries that no longer fit are only counted, so one attempt on a buffer of
/// any length tells how long it has to be.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// Starts behind `skip` bytes that belong to somebody else.
    pub fn new(buffer: &'b mut [u8], skip: usize) -> Self {
        Self {
            buffer,
            length: skip,
        }
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// If the name is longer than 254 bytes: names are constants of this
    /// crate.
    pub fn put(&mut self, name: &str, value: impl Data) -> &mut Self {
        value.put(self, name);
        self
    }

    /// Appends an entry if there is a value for it.
    pub fn put_some(&mut self, name: &str, value: Option<impl Data>) -> &mut Self {
        if let Some(value) = value {
            value.put(self, name);
        }
        self
    }

    /// Appends an entry but for its data, for which there is room, padded
    /// with zeros. `None` if it does not fit. `size` is not 0: no entry's is.
    fn entry(&mut self, kind: Type, name: &str, size: usize) -> Option<&mut [u8]> {
        let name_size = name.len() + 1;
        let name_end = HEADER + padded(name_size);
        let start = self.length;
        // No buffer holds entries whose length would not fit a u32.
        let Ok(short) = u32::try_from(size) else {
            self.length = usize::MAX;
            return None;
        };
        self.length = start.saturating_add(name_end + padded(size));
        let entry = self.buffer.get_mut(start..self.length)?;
        entry[0] = kind as u8;
        entry[1] = u8::try_from(name_size).expect("names are short constants");
        LittleEndian::write_u32(&mut entry[2..], short);
        entry[name_end - ALIGN..name_end].fill(0);
        entry[HEADER..HEADER + name.len()].copy_from_slice(name.as_bytes());
        let data = &mut entry[name_end..];
        let last = data.len() - ALIGN;
        data[last..].fill(0);
        Some(data)
    }

    /// The bytes written so far, the skipped ones included.
    pub fn finish(self) -> Result<usize, Full> {
        if self.length <= self.buffer.len() {
            Ok(self.length)
        } else {
            Err(Full {
                needed: self.length,
            })
        }
    }
}

/// The buffer is too short for the message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Full {
    /// The exact length it must have, in bytes.
    pub needed: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message needs {} bytes", self.needed)
    }
}

impl core::error::Error for Full {}

/// What can be an entry's data.
pub trait Data {
    /// Appends the entry.
    fn put(self, writer: &mut Writer<'_>, name: &str);
}

macro_rules! scalar {
    ($($t:ty, $kind:ident;)*) => {
        $(impl Data for $t {
            fn put(self, writer: &mut Writer<'_>, name: &str) {
                let bytes = self.to_le_bytes();
                if let Some(data) = writer.entry(Type::$kind, name, bytes.len()) {
                    data[..bytes.len()].copy_from_slice(&bytes);
                }
            }
        })*
    };
}

scalar! {
    i8, Int8;
    u8, Uint8;
    i16, Int16;
    u16, Uint16;
    i32, Int32;
    u32, Uint32;
    i64, Int64;
    u64, Uint64;
}

impl Data for &str {
    fn put(self, writer: &mut Writer<'_>, name: &str) {
        Text::from(self).put(writer, name);
    }
}

/// Ends before the first NUL, since no receiver accepts one inside.
impl Data for Text<'_> {
    fn put(self, writer: &mut Writer<'_>, name: &str) {
        let text = self.0.split(|&byte| byte == 0).next().unwrap_or_default();
        // The NUL behind it is the first byte of the padding.
        if let Some(data) = writer.entry(Type::String, name, text.len() + 1) {
            data[..text.len()].copy_from_slice(text);
        }
    }
}

/// An array of uint8; must not be empty.
impl Data for &[u8] {
    fn put(self, writer: &mut Writer<'_>, name: &str) {
        if let Some(data) = writer.entry(Type::Uint8Array, name, self.len()) {
            data[..self.len()].copy_from_slice(self);
        }
    }
}

/// A name with a decimal number behind it: `resource0`, `resource1`.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    text: [u8; Self::MAX],
    length: usize,
}

impl Numbered {
    /// The longest stem of the protocol (`stat_activemap_update`) and the
    /// digits of a u32 fit.
    const MAX: usize = 32;

    /// The name.
    ///
    /// # Panics
    /// If it is longer than 32 bytes: stems are constants of this crate.
    #[must_use]
    pub fn new(stem: &str, number: u32) -> Self {
        use fmt::Write;
        let mut name = Self {
            text: [0; Self::MAX],
            length: 0,
        };
        write!(name, "{stem}{number}").expect("stems are short constants");
        name
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for Numbered {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.length + s.len();
        let room = self.text.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.length = end;
        Ok(())
    }
}

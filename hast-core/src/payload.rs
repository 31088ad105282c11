//! What happens to data on its way: compression, then checksum; the receiver
//! verifies, then expands. Facts: spec/hast-wire.md section 7.
//!
//! | entry | type | there if |
//! |---|---|---|
//! | `compression` | string | transformed: `hole` or `lzf` |
//! | `checksum` | string | `crc32` or `sha256`, of the bytes that travel |
//! | `hash` | uint8 array | with `checksum`: 4 or 32 elements |
//! | `size` | uint32 | a payload follows: its length as it travels |
//!
//! The receiver requires the exact length the message is about. Base does
//! not: a short payload leaves old bytes in its buffer, which then reach the
//! disk.

use crate::lzf::{self, LzfError};
use crate::nv::{Field, FieldError, Text, Writer};
use alloc::vec;
use alloc::vec::Vec;
use byteorder::{ByteOrder, LittleEndian};
use core::fmt;
use sha2::Digest as _;

/// Length before compression, in front of what `hole` and `lzf` leave.
const PREFIX: usize = 4;

/// What lzf must save at least; base's receiver aborts on less.
const LZF_MINIMUM_SAVED: usize = 1024;

/// How payloads are made smaller, as configured and as sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// A payload of zeros becomes its length.
    #[default]
    Hole,
    /// Like `hole`, and LZF for everything else that gets smaller.
    Lzf,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Hole, Self::Lzf];

    /// The name in configuration, messages and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hole => "hole",
            Self::Lzf => "lzf",
        }
    }
}

/// How payloads are protected, as configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Checksum {
    /// Not at all.
    #[default]
    None,
    /// CRC-32 as in zlib.
    Crc32,
    /// SHA-256.
    Sha256,
}

impl Checksum {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Crc32, Self::Sha256];

    /// The name in configuration, messages and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crc32 => "crc32",
            Self::Sha256 => "sha256",
        }
    }
}

/// A checksum and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Digest {
    /// No checksum.
    None,
    /// CRC-32, little-endian: base sends it in its native order.
    Crc32([u8; 4]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl Digest {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(checksum: Checksum, bytes: &[u8]) -> Self {
        match checksum {
            Checksum::None => Self::None,
            Checksum::Crc32 => Self::Crc32(crc32fast::hash(bytes).to_le_bytes()),
            Checksum::Sha256 => Self::Sha256(sha2::Sha256::digest(bytes).into()),
        }
    }

    const fn checksum(&self) -> Checksum {
        match self {
            Self::None => Checksum::None,
            Self::Crc32(_) => Checksum::Crc32,
            Self::Sha256(_) => Checksum::Sha256,
        }
    }

    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Crc32(value) => Some(value),
            Self::Sha256(value) => Some(value),
        }
    }
}

/// What a message says about the payload behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// How the payload was transformed.
    pub compression: Compression,
    /// Checksum of the payload as it travels.
    pub digest: Digest,
    /// Bytes that travel. 0: none do.
    pub size: u32,
}

/// The entries' names, for [`crate::nv::pick`].
pub(crate) const NAMES: [&str; 4] = ["compression", "checksum", "hash", "size"];

impl Header {
    /// A message without payload.
    pub const EMPTY: Self = Self {
        compression: Compression::None,
        digest: Digest::None,
        size: 0,
    };

    /// What the entries say. `size` comes first, since whoever refuses the
    /// rest has to know how much to skip.
    pub(crate) fn size(fields: &[Field<'_>; 4]) -> Result<u32, FieldError> {
        Ok(fields[3].optional()?.unwrap_or(0))
    }

    pub(crate) fn read(fields: &[Field<'_>; 4]) -> Result<Self, PayloadError> {
        let [compression, checksum, hash, _] = fields;
        let compression = match compression.optional::<Text>()? {
            None => Compression::None,
            Some(Text(b"hole")) => Compression::Hole,
            Some(Text(b"lzf")) => Compression::Lzf,
            Some(_) => return Err(PayloadError::Compression),
        };
        let wrong_size = |_| PayloadError::Hash;
        let digest = match checksum.optional::<Text>()? {
            None => Digest::None,
            Some(Text(b"crc32")) => {
                Digest::Crc32(hash.get::<&[u8]>()?.try_into().map_err(wrong_size)?)
            }
            Some(Text(b"sha256")) => {
                Digest::Sha256(hash.get::<&[u8]>()?.try_into().map_err(wrong_size)?)
            }
            Some(_) => return Err(PayloadError::Checksum),
        };
        Ok(Self {
            compression,
            digest,
            size: Self::size(fields)?,
        })
    }

    /// Appends the entries, in base's order.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        if self.compression != Compression::None {
            writer.put("compression", self.compression.name());
        }
        if let Some(value) = self.digest.value() {
            writer.put("checksum", self.digest.checksum().name());
            writer.put("hash", value);
        }
        if self.size > 0 {
            writer.put("size", self.size);
        }
    }

    /// Whether a payload that travels like this can become `length` bytes:
    /// to be asked before it is read.
    pub fn check(&self, length: u64) -> Result<(), PayloadError> {
        let size = u64::from(self.size);
        let prefix = crate::length(PREFIX);
        let possible = match self.compression {
            Compression::None => size == length,
            Compression::Hole => size == prefix,
            Compression::Lzf => size > prefix && size <= length,
        };
        if possible {
            Ok(())
        } else {
            Err(PayloadError::Length)
        }
    }

    /// Whether the bytes that travel are the data, so that they may be
    /// received where they belong and need only [`Self::verify`].
    #[must_use]
    pub fn is_verbatim(&self) -> bool {
        self.compression == Compression::None
    }

    /// Checks the length and the checksum of the bytes that travelled.
    pub fn verify(&self, wire: &[u8]) -> Result<(), PayloadError> {
        if crate::length(wire.len()) != u64::from(self.size) {
            return Err(PayloadError::Length);
        }
        if Digest::of(self.digest.checksum(), wire) != self.digest {
            return Err(PayloadError::Mismatch);
        }
        Ok(())
    }

    /// Turns the bytes that travelled into data that fills `data` exactly.
    pub fn receive(&self, wire: &[u8], data: &mut [u8]) -> Result<(), PayloadError> {
        self.check(crate::length(data.len()))?;
        self.verify(wire)?;
        let stated = |data: &[u8]| {
            let (prefix, rest) = wire.split_at(PREFIX);
            if crate::length(data.len()) == u64::from(LittleEndian::read_u32(prefix)) {
                Ok(rest)
            } else {
                Err(PayloadError::Length)
            }
        };
        match self.compression {
            Compression::None => data.copy_from_slice(wire),
            Compression::Hole => {
                stated(data)?;
                data.fill(0);
            }
            Compression::Lzf => lzf::decompress(stated(data)?, data)?,
        }
        Ok(())
    }
}

/// Payloads in a row that LZF may fail to make smaller before it is tried only
/// now and then: what a client writes is much like what it wrote before.
const LZF_PATIENCE: u32 = 8;

/// Of the payloads after that, one in so many is tried.
const LZF_RETRY: u32 = 16;

/// What a sender compresses with: made once, used again, never grown.
#[derive(Debug)]
pub struct Workspace {
    table: lzf::Table,
    buffer: Vec<u8>,
    /// Payloads since LZF last made one smaller.
    fruitless: u32,
}

impl Workspace {
    /// Room for payloads of up to `longest` bytes; longer ones are sent as
    /// they are.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            table: lzf::Table::new(),
            buffer: vec![0; longest.max(PREFIX)],
            fruitless: 0,
        }
    }

    /// Whether LZF is likely to pay.
    const fn expects_much(&self) -> bool {
        self.fruitless < LZF_PATIENCE || self.fruitless.is_multiple_of(LZF_RETRY)
    }
}

/// Prepares `data` for sending: what the message says about it, and the bytes
/// that travel, which are either `data` itself or lie in the workspace.
///
/// # Panics
/// If `data` is 4 GiB or longer; requests are not.
pub fn prepare<'a>(
    data: &'a [u8],
    compression: Compression,
    checksum: Checksum,
    workspace: &'a mut Workspace,
) -> (Header, &'a [u8]) {
    let (compression, wire) = compress(data, compression, workspace);
    let header = Header {
        compression,
        digest: Digest::of(checksum, wire),
        size: u32::try_from(wire.len()).expect("requests are shorter than 4 GiB"),
    };
    (header, wire)
}

fn compress<'a>(
    data: &'a [u8],
    wanted: Compression,
    workspace: &'a mut Workspace,
) -> (Compression, &'a [u8]) {
    let Ok(length) = u32::try_from(data.len()) else {
        return (Compression::None, data);
    };
    let try_lzf = workspace.expects_much();
    let (prefix, buffer) = workspace.buffer.split_at_mut(PREFIX);
    LittleEndian::write_u32(prefix, length);
    let stream = match wanted {
        Compression::None => None,
        _ if is_hole(data) => Some(0),
        Compression::Hole => None,
        Compression::Lzf => {
            let stream = buffer
                .get_mut(..data.len().saturating_sub(LZF_MINIMUM_SAVED))
                .filter(|_| try_lzf)
                .and_then(|room| lzf::compress(&mut workspace.table, data, room))
                .filter(|&length| length > 0);
            workspace.fruitless = match stream {
                Some(_) => 0,
                None => workspace.fruitless.wrapping_add(1),
            };
            stream
        }
    };
    match stream {
        None => (Compression::None, data),
        Some(0) => (Compression::Hole, &workspace.buffer[..PREFIX]),
        Some(length) => (Compression::Lzf, &workspace.buffer[..PREFIX + length]),
    }
}

/// Whether all is zero. Like base's, the test needs a multiple of 8 bytes.
fn is_hole(data: &[u8]) -> bool {
    // Whole blocks without a branch per byte, so that the compiler uses
    // vectors, and an early end at the first block that is not zero.
    !data.is_empty()
        && data.len().is_multiple_of(8)
        && data
            .chunks(1024)
            .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Why a payload is not the data it is said to be; the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PayloadError {
    /// An entry is missing or of the wrong type.
    Field(FieldError),
    /// A compression nobody defined.
    Compression,
    /// A checksum nobody defined.
    Checksum,
    /// A hash of the wrong length.
    Hash,
    /// The payload has another length than the data it stands for.
    Length,
    /// The checksum does not match.
    Mismatch,
    /// The LZF stream is invalid.
    Lzf(LzfError),
}

impl From<FieldError> for PayloadError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<LzfError> for PayloadError {
    fn from(error: LzfError) -> Self {
        Self::Lzf(error)
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(error) => write!(f, "message {error}"),
            Self::Compression => f.write_str("payload of an unknown compression"),
            Self::Checksum => f.write_str("payload with an unknown checksum"),
            Self::Hash => f.write_str("payload with a hash of the wrong length"),
            Self::Length => f.write_str("payload of the wrong length"),
            Self::Mismatch => f.write_str("payload does not match its checksum"),
            Self::Lzf(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PayloadError {}

#[cfg(test)]
mod tests;

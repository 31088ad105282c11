//! The metadata block: what a component says about itself.
//! Facts: spec/hast-disk.md sections 1 to 3.
//!
//! | offset | what |
//! |---|---|
//! | 0 | entries as in messages ([`nv`](crate::nv)), then zeros up to 4096 |
//! | 4096 | dirty map |
//! | `offset` | data |
//!
//! | entry | type | meaning |
//! |---|---|---|
//! | `resource` | string | name of the resource |
//! | `datasize` | uint64 | bytes of data |
//! | `extentsize` | uint32 | bytes of an extent, a power of two |
//! | `keepdirty` | uint32 | extents kept dirty |
//! | `offset` | uint64 | where the data begins |
//! | `resuid` | uint64 | id of the resource; 0: never used |
//! | `localcnt`, `remotecnt` | uint64 | [`Counters`] |
//! | `prevrole` | string | role that wrote the block; nobody decides by it |
//! | `hg_generation` | uint64 | [`Generation`]; ours |
//! | `hg_consistent` | uint8 | [`Consistency`]; ours |
//! | `hg_discard` | uint8 | 1: this data was given up; ours |
//! | `hg_crc32` | uint32 | CRC-32 of all bytes before this entry; ours |
//!
//! Base ignores our entries and drops them when it writes the block; absent
//! ones mean what base means. All entries together stay within the first 512
//! bytes, so that one sector holds all that ever changes and a store cannot
//! tear.

use crate::extent::{self, Extents, MAX_EXTENTS};
use crate::nv::{Entries, FieldError, Malformed, Text, Writer, pick};
use crate::role::Role;
use crate::units::{Counters, Generation, ResUid};
use alloc::string::String;
use core::fmt;

/// Bytes of the block, wherever it is.
pub const BLOCK: u64 = 4096;

/// The same, for arrays.
pub const BLOCK_LENGTH: usize = 4096;

/// Bytes the entries may fill: the smallest sector.
const SECTOR: usize = 512;

/// Extent size if none is asked for.
pub const DEFAULT_EXTENTSIZE: u32 = 2 << 20;

/// Extents kept dirty if no number is asked for.
pub const DEFAULT_KEEPDIRTY: u32 = 64;

const GENERATION: &str = "hg_generation";
const CONSISTENT: &str = "hg_consistent";
const DISCARD: &str = "hg_discard";
const CRC32: &str = "hg_crc32";

/// Whether all parts of a component are of the same state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Consistency {
    /// They are, or nobody knows better: base has no such entry.
    #[default]
    Consistent,
    /// A synchronisation towards it has begun and not ended, or writes failed
    /// here that the peer has. It must not be served or copied from.
    Inconsistent,
}

impl Consistency {
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Consistent => 1,
            Self::Inconsistent => 0,
        }
    }

    pub(crate) const fn from_entry(value: Option<u8>) -> Option<Self> {
        match value {
            None | Some(1) => Some(Self::Consistent),
            Some(0) => Some(Self::Inconsistent),
            Some(_) => None,
        }
    }
}

/// Size of the provider or file a component lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Bytes there are.
    pub mediasize: u64,
    /// Bytes of a sector; 512 for a file.
    pub sectorsize: u32,
}

/// What the block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Name of the resource, as bytes.
    pub resource: String,
    /// Bytes of data: the size of the provider HAST makes.
    pub datasize: u64,
    /// Bytes of an extent.
    pub extentsize: u32,
    /// Extents kept dirty.
    pub keepdirty: u32,
    /// Where the data begins, in bytes.
    pub localoff: u64,
    /// Id of the resource; none before the first connection.
    pub resuid: Option<ResUid>,
    /// Who wrote alone.
    pub counters: Counters,
    /// The role that wrote the block.
    pub prevrole: Role,
    /// State of the data.
    pub generation: Option<Generation>,
    /// Whether it is all of one state.
    pub consistency: Consistency,
    /// An operator gave up what only this component has: at the next meeting
    /// the peer's data wins.
    pub discard: bool,
}

/// What `hastctl create` is asked for; `None` means the default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CreateOptions {
    /// Bytes to use of the provider.
    pub mediasize: Option<u64>,
    /// Bytes of an extent.
    pub extentsize: Option<u64>,
    /// Extents to keep dirty.
    pub keepdirty: Option<u32>,
}

impl Metadata {
    /// The metadata of a new component.
    pub fn create(
        resource: &str,
        provider: Provider,
        options: CreateOptions,
    ) -> Result<Self, MetadataError> {
        let mediasize = options.mediasize.unwrap_or(provider.mediasize);
        if mediasize > provider.mediasize {
            return Err(MetadataError::BeyondProvider);
        }
        let sectorsize = check_sector(provider.sectorsize)?;
        let extentsize = match options.extentsize {
            None => DEFAULT_EXTENTSIZE,
            Some(n) => u32::try_from(n).map_err(|_| MetadataError::Extentsize)?,
        };
        check_extent(extentsize, sectorsize)?;
        let room = mediasize
            .checked_sub(BLOCK)
            .ok_or(MetadataError::TooSmall)?;
        // Base sizes the map for what is left before the map is taken off.
        let localoff = BLOCK + extent::map_size(room, extentsize, sectorsize);
        let datasize = mediasize.saturating_sub(localoff);
        let metadata = Self {
            resource: resource.into(),
            datasize: datasize - datasize % u64::from(sectorsize),
            extentsize,
            keepdirty: options.keepdirty.unwrap_or(DEFAULT_KEEPDIRTY),
            localoff,
            resuid: None,
            counters: Counters::default(),
            prevrole: Role::Init,
            generation: None,
            consistency: Consistency::Consistent,
            discard: false,
        };
        metadata.validate(provider)?;
        // The name may be too long for the sector the entries must fit in,
        // with everything that is added to them later.
        let fullest = Self {
            resuid: ResUid::new(u64::MAX),
            generation: Generation::new(u64::MAX),
            consistency: Consistency::Inconsistent,
            discard: true,
            prevrole: Role::Secondary,
            ..metadata.clone()
        };
        fullest.encode(&mut [0; BLOCK_LENGTH])?;
        Ok(metadata)
    }

    /// Reads the block. What it says is not yet checked against the provider:
    /// [`Metadata::validate`].
    pub fn decode(block: &[u8; BLOCK_LENGTH]) -> Result<Self, MetadataError> {
        let [
            resource,
            datasize,
            extentsize,
            keepdirty,
            localoff,
            resuid,
            localcnt,
            remotecnt,
            prevrole,
            generation,
            consistent,
            discard,
            crc32,
        ] = pick(
            block,
            [
                "resource",
                "datasize",
                "extentsize",
                "keepdirty",
                "offset",
                "resuid",
                "localcnt",
                "remotecnt",
                "prevrole",
                GENERATION,
                CONSISTENT,
                DISCARD,
                CRC32,
            ],
        )?;
        let covered = covered(block)?;
        if let Some(expected) = crc32.optional::<u32>()?
            && expected != crc32fast::hash(covered)
        {
            return Err(MetadataError::Checksum);
        }
        let resource: Text<'_> = resource.get()?;
        let prevrole: Text<'_> = prevrole.get()?;
        Ok(Self {
            resource: core::str::from_utf8(resource.0)
                .map_err(|_| MetadataError::Name)?
                .into(),
            datasize: datasize.get()?,
            extentsize: extentsize.get()?,
            keepdirty: keepdirty.get()?,
            localoff: localoff.get()?,
            resuid: ResUid::new(resuid.get()?),
            counters: Counters {
                local: localcnt.get()?,
                remote: remotecnt.get()?,
            },
            prevrole: Role::from_name(prevrole.0).unwrap_or(Role::Init),
            generation: generation.optional()?.and_then(Generation::new),
            consistency: Consistency::from_entry(consistent.optional()?)
                .ok_or(MetadataError::Field(FieldError::WrongType(CONSISTENT)))?,
            discard: discard.optional::<u8>()?.unwrap_or(0) != 0,
        })
    }

    /// Writes the block. Only its first 512 bytes ever differ from zero.
    pub fn encode(&self, block: &mut [u8; BLOCK_LENGTH]) -> Result<(), MetadataError> {
        block.fill(0);
        let sector = &mut block[..SECTOR];
        let mut w = Writer::new(sector, 0);
        w.put("resource", self.resource.as_str());
        w.put("datasize", self.datasize);
        w.put("extentsize", self.extentsize);
        w.put("keepdirty", self.keepdirty);
        w.put("offset", self.localoff);
        w.put("resuid", self.resuid.map_or(0, ResUid::get));
        w.put("localcnt", self.counters.local);
        w.put("remotecnt", self.counters.remote);
        w.put("prevrole", self.prevrole.name());
        w.put_some(GENERATION, self.generation.map(Generation::get));
        w.put(CONSISTENT, self.consistency.to_byte());
        w.put_some(DISCARD, self.discard.then_some(1u8));
        let used = w.finish().map_err(|_| MetadataError::Name)?;
        let crc32 = crc32fast::hash(&sector[..used]);
        let mut w = Writer::new(sector, used);
        w.put(CRC32, crc32);
        w.finish().map_err(|_| MetadataError::Name)?;
        Ok(())
    }

    /// Checks every number against the provider and against the others, so
    /// that nothing read from disk leads outside the component.
    pub fn validate(&self, provider: Provider) -> Result<Extents, MetadataError> {
        let sectorsize = check_sector(provider.sectorsize)?;
        check_extent(self.extentsize, sectorsize)?;
        let sector = u64::from(sectorsize);
        if self.datasize == 0 {
            return Err(MetadataError::TooSmall);
        }
        if !self.datasize.is_multiple_of(sector) || !self.localoff.is_multiple_of(sector) {
            return Err(MetadataError::Unaligned);
        }
        let end = self.localoff.checked_add(self.datasize);
        if end.is_none_or(|end| end > provider.mediasize) {
            return Err(MetadataError::BeyondProvider);
        }
        let extents =
            Extents::new(self.datasize, self.extentsize).ok_or(MetadataError::TooManyExtents)?;
        if self.map_region() < extents.map_size(sectorsize) {
            return Err(MetadataError::MapTooSmall);
        }
        Ok(extents)
    }

    /// Bytes between the block and the data. Never computed from the
    /// provider's size: where that is larger, base's secondary writes zeros
    /// over the first data.
    #[must_use]
    pub const fn map_region(&self) -> u64 {
        self.localoff.saturating_sub(BLOCK)
    }
}

/// What the checksum covers: everything before its entry. What follows the
/// last entry must be zero, as base leaves it; anything else is an entry
/// whose type was damaged.
fn covered(block: &[u8]) -> Result<&[u8], MetadataError> {
    let mut entries = Entries::new(block);
    let mut covered = block;
    loop {
        let before = block.len() - entries.remaining();
        match entries.next() {
            Some(entry) if entry?.name() == CRC32.as_bytes() && covered.len() == block.len() => {
                covered = &block[..before];
            }
            Some(_) => {}
            None if block[before..].iter().all(|&byte| byte == 0) => return Ok(covered),
            None => return Err(MetadataError::Trailing),
        }
    }
}

fn check_sector(sectorsize: u32) -> Result<u32, MetadataError> {
    // The block is read and written whole, and entries fill one sector.
    let possible = sectorsize.is_power_of_two() && (512..=4096).contains(&sectorsize);
    possible
        .then_some(sectorsize)
        .ok_or(MetadataError::Sectorsize)
}

fn check_extent(extentsize: u32, sectorsize: u32) -> Result<(), MetadataError> {
    // Base's int32 in the handshake takes no more than 2^30.
    let possible = extentsize.is_power_of_two()
        && extentsize >= sectorsize
        && i32::try_from(extentsize).is_ok();
    if possible {
        Ok(())
    } else {
        Err(MetadataError::Extentsize)
    }
}

/// Why a block cannot be used or made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum MetadataError {
    /// The block holds no entries.
    Malformed(Malformed),
    /// An entry is missing or of the wrong type.
    Field(FieldError),
    /// The checksum does not match.
    Checksum,
    /// There is something behind the last entry.
    Trailing,
    /// The name is no text, or too long for the sector the entries must fit
    /// in.
    Name,
    /// The sector size is no power of two between 512 and 4096.
    Sectorsize,
    /// The extent size is no power of two, below the sector size or beyond
    /// 2^30.
    Extentsize,
    /// There are more than [`MAX_EXTENTS`] extents.
    TooManyExtents,
    /// There is no room for data.
    TooSmall,
    /// Data does not begin or end at a sector.
    Unaligned,
    /// The data reaches beyond the provider.
    BeyondProvider,
    /// The map does not fit before the data.
    MapTooSmall,
}

impl From<Malformed> for MetadataError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<FieldError> for MetadataError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "metadata {error}"),
            Self::Field(error) => write!(f, "metadata {error}"),
            Self::Checksum => f.write_str("metadata does not match its checksum"),
            Self::Trailing => f.write_str("metadata has something behind its last entry"),
            Self::Name => f.write_str("the name of the resource is too long for the metadata"),
            Self::Sectorsize => {
                f.write_str("the sector size must be a power of two between 512 and 4096")
            }
            Self::Extentsize => f.write_str(
                "the extent size must be a power of two from the sector size to 1073741824",
            ),
            Self::TooManyExtents => {
                write!(
                    f,
                    "more than {MAX_EXTENTS} extents: the extent size is too small"
                )
            }
            Self::TooSmall => f.write_str("there is no room for data"),
            Self::Unaligned => f.write_str("the data does not begin and end at sectors"),
            Self::BeyondProvider => f.write_str("the data reaches beyond the provider"),
            Self::MapTooSmall => f.write_str("the dirty map reaches into the data"),
        }
    }
}

impl core::error::Error for MetadataError {}

#[cfg(test)]
mod tests;

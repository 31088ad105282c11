use super::*;
use crate::nv::Entries;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

const DISK: Provider = Provider {
    mediasize: 64 << 20,
    sectorsize: 512,
};

fn shared() -> Metadata {
    Metadata::create("shared", DISK, CreateOptions::default()).unwrap()
}

fn block(metadata: &Metadata) -> [u8; BLOCK_LENGTH] {
    let mut block = [0xaa; BLOCK_LENGTH];
    metadata.encode(&mut block).unwrap();
    block
}

/// spec/vectors-hast.md section 6, made by `hastctl create`: 254 bytes, and
/// ours behind them.
#[test]
fn a_new_component_is_that_of_base() {
    let metadata = shared();
    assert_eq!(metadata.datasize, 67_104_256);
    assert_eq!((metadata.localoff, metadata.map_region()), (4608, 512));
    let block = block(&metadata);
    let base = b"\x11\x09\x07\0\0\0resource\0\0\0\0\0\0\0\0shared\0\0\
        \x08\x09\x08\0\0\0datasize\0\0\0\0\0\0\0\0\0\xee\xff\x03\0\0\0\0\
        \x06\x0b\x04\0\0\0extentsize\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\
        \x06\x0a\x04\0\0\0keepdirty\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\
        \x08\x07\x08\0\0\0offset\0\0\0\x12\0\0\0\0\0\0\
        \x08\x07\x08\0\0\0resuid\0\0\0\0\0\0\0\0\0\0\
        \x08\x09\x08\0\0\0localcnt\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x08\x0a\x08\0\0\0remotecnt\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x11\x09\x05\0\0\0prevrole\0\0\0\0\0\0\0\0init\0\0\0\0";
    assert_eq!(block[..254], base[..]);
    let names = Entries::new(&block[254..]).map(|e| e.unwrap().name().to_vec());
    let names: Vec<_> = names.collect();
    assert_eq!(names, [b"hg_consistent".to_vec(), b"hg_crc32".to_vec()]);
    assert!(block[512..].iter().all(|byte| *byte == 0));
    assert_eq!(Metadata::decode(&block), Ok(metadata));
}

/// Base drops our entries when it writes the block.
#[test]
fn a_block_without_our_entries_means_what_base_means() {
    let mut block = block(&shared());
    block[254..].fill(0);
    let metadata = Metadata::decode(&block).unwrap();
    assert_eq!(metadata.generation, None);
    assert_eq!(metadata.consistency, Consistency::Consistent);
    assert!(!metadata.discard);
}

#[test]
fn every_changed_bit_is_found_or_is_padding() {
    let metadata = Metadata {
        generation: Generation::new(0x0123_4567_89ab_cdef),
        ..shared()
    };
    let good = block(&metadata);
    let end = good.iter().rposition(|byte| *byte != 0).unwrap();
    for at in 0..=end {
        for bit in 0..8 {
            let mut bad = good;
            bad[at] ^= 1 << bit;
            match Metadata::decode(&bad) {
                Err(_) => {}
                // Only what makes the checksum's own name unreadable, or pads
                // it, goes unnoticed, and then the rest is as it was.
                Ok(read) => {
                    assert!(at >= end - 30, "byte {at} bit {bit}");
                    assert_eq!(read, metadata, "byte {at} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn missing_and_wrong_entries_are_named() {
    let good = block(&shared());
    let mut offset = 0;
    for entry in Entries::new(&good[..254]) {
        let name = entry.unwrap().name();
        let mut bad = good;
        bad[254..].fill(0);
        bad[offset + HEADER_TO_NAME] = b'X';
        let error = Metadata::decode(&bad).unwrap_err();
        let name = core::str::from_utf8(name).unwrap();
        assert!(
            matches!(error, MetadataError::Field(FieldError::Missing(n)) if n == name),
            "{name}: {error}"
        );
        offset += entry_length(entry.unwrap());
    }
    let mut bad = good;
    bad[254..].fill(0);
    // `datasize` as an int64: another type of the same size.
    bad[30] = 7;
    assert_eq!(
        Metadata::decode(&bad),
        Err(MetadataError::Field(FieldError::WrongType("datasize")))
    );
    assert!(Metadata::decode(&[0; BLOCK_LENGTH]).is_err());
    assert!(Metadata::decode(&[0xff; BLOCK_LENGTH]).is_err());
}

const HEADER_TO_NAME: usize = 6;

fn entry_length(entry: crate::nv::Entry<'_>) -> usize {
    let name = (entry.name().len() + 1).next_multiple_of(8);
    HEADER_TO_NAME + name + entry.data().len().next_multiple_of(8)
}

type Change = fn(&mut Metadata);

/// Nothing read from disk leads outside the component (K2, K16).
#[test]
fn every_number_is_checked_against_the_provider() {
    let good = shared();
    assert!(good.validate(DISK).is_ok());
    let cases: [(Change, MetadataError); 14] = [
        (|m| m.datasize = 0, MetadataError::TooSmall),
        (|m| m.datasize += 512, MetadataError::BeyondProvider),
        (
            |m| m.datasize = u64::MAX - 511,
            MetadataError::BeyondProvider,
        ),
        (|m| m.datasize -= 1, MetadataError::Unaligned),
        (|m| m.localoff += 1, MetadataError::Unaligned),
        (
            |m| m.localoff = u64::MAX - 511,
            MetadataError::BeyondProvider,
        ),
        (|m| m.localoff = 4096, MetadataError::MapTooSmall),
        (|m| m.localoff = 0, MetadataError::MapTooSmall),
        (|m| m.extentsize = 0, MetadataError::Extentsize),
        (|m| m.extentsize = 256, MetadataError::Extentsize),
        (|m| m.extentsize = 3 << 20, MetadataError::Extentsize),
        (|m| m.extentsize = 1 << 31, MetadataError::Extentsize),
        (|m| m.extentsize = 4096, MetadataError::MapTooSmall),
        (|m| m.extentsize = 512, MetadataError::MapTooSmall),
    ];
    for (change, error) in cases {
        let mut metadata = good.clone();
        change(&mut metadata);
        assert_eq!(metadata.validate(DISK), Err(error), "{metadata:?}");
    }
    for sectorsize in [0, 1, 256, 513, 8192, u32::MAX] {
        let provider = Provider { sectorsize, ..DISK };
        assert_eq!(good.validate(provider), Err(MetadataError::Sectorsize));
    }
    // The provider may have grown since: the map's room does not.
    let grown = Provider {
        mediasize: 1 << 40,
        ..DISK
    };
    assert!(good.validate(grown).is_ok());
    assert_eq!(good.map_region(), 512);
}

#[test]
fn create_refuses_what_cannot_work() {
    let create = |provider, options| Metadata::create("shared", provider, options).err();
    let default = CreateOptions::default();
    let small = |mediasize| Provider { mediasize, ..DISK };
    assert_eq!(create(small(0), default), Some(MetadataError::TooSmall));
    assert_eq!(create(small(4096), default), Some(MetadataError::TooSmall));
    assert_eq!(create(small(4608), default), Some(MetadataError::TooSmall));
    assert_eq!(create(small(5120), default), None);
    let media = |mediasize| CreateOptions {
        mediasize: Some(mediasize),
        ..default
    };
    assert_eq!(create(DISK, media(64 << 20)), None);
    assert_eq!(
        create(DISK, media((64 << 20) + 512)),
        Some(MetadataError::BeyondProvider)
    );
    let extent = |extentsize| CreateOptions {
        extentsize: Some(extentsize),
        ..default
    };
    for wrong in [0, 256, 513, 3 << 20, 1 << 31, 1 << 32, u64::MAX] {
        assert_eq!(
            create(DISK, extent(wrong)),
            Some(MetadataError::Extentsize),
            "base aborts on some and truncates others"
        );
    }
    let huge = Provider {
        mediasize: 1 << 50,
        ..DISK
    };
    assert_eq!(
        create(huge, extent(512)),
        Some(MetadataError::TooManyExtents)
    );
    assert_eq!(
        create(
            Provider {
                sectorsize: 8192,
                ..DISK
            },
            default
        ),
        Some(MetadataError::Sectorsize)
    );
}

/// Whatever is written later fits the one sector that cannot tear.
#[test]
fn a_name_that_would_not_always_fit_is_refused_at_once() {
    let create = |length| {
        let name = "n".repeat(length);
        Metadata::create(&name, DISK, CreateOptions::default())
    };
    let longest = (1..254).take_while(|n| create(*n).is_ok()).last().unwrap();
    assert_eq!(longest, 135);
    assert_eq!(create(136), Err(MetadataError::Name));
    let fullest = Metadata {
        resuid: ResUid::new(u64::MAX),
        generation: Generation::new(u64::MAX),
        prevrole: Role::Secondary,
        consistency: Consistency::Inconsistent,
        discard: true,
        ..create(longest).unwrap()
    };
    let block = block(&fullest);
    assert!(block[512..].iter().all(|byte| *byte == 0));
    assert_eq!(Metadata::decode(&block), Ok(fullest));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        resource in "[^\0]{1,40}", datasize: u64, extentsize: u32, keepdirty: u32,
        localoff: u64, resuid: u64, local: u64, remote: u64, role in 1u8..4,
        generation: u64, consistent: bool, discard: bool,
    ) {
        let metadata = Metadata {
            resource, datasize, extentsize, keepdirty, localoff,
            resuid: ResUid::new(resuid),
            counters: Counters { local, remote },
            prevrole: Role::from_byte(role).unwrap(),
            generation: Generation::new(generation),
            consistency: if consistent { Consistency::Consistent } else { Consistency::Inconsistent },
            discard,
        };
        let block = block(&metadata);
        prop_assert_eq!(Metadata::decode(&block), Ok(metadata));
    }

    /// What passes the checks never leads outside.
    #[test]
    fn valid_metadata_stays_inside(
        datasize in prop_oneof![any::<u64>(), (0u64..200_000).prop_map(|n| n * 512)],
        localoff in prop_oneof![any::<u64>(), (0u64..64).prop_map(|n| n * 512)],
        extentsize in prop_oneof![any::<u32>(), (0u32..32).prop_map(|n| 1 << n)],
        mediasize in 0u64..200_000_000, shift in 8u32..14,
    ) {
        let metadata = Metadata { datasize, extentsize, localoff, ..shared() };
        let provider = Provider { mediasize, sectorsize: 1 << shift };
        if let Ok(extents) = metadata.validate(provider) {
            prop_assert!(BLOCK + extents.map_size(provider.sectorsize) <= localoff);
            prop_assert!(localoff + datasize <= mediasize);
            prop_assert_eq!(extents.datasize(), datasize);
        }
    }

    /// Sectors that tear or rot never give other numbers.
    #[test]
    fn any_block_is_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..400, damage in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut noise = [0; BLOCK_LENGTH];
        noise[..bytes.len()].copy_from_slice(&bytes);
        let _ = Metadata::decode(&noise);
        let mut damaged = block(&shared());
        damaged[at..at + damage.len()].copy_from_slice(&damage);
        if let Err(error) = Metadata::decode(&damaged) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

//! Making a component of a file or disk, in an order that a power cut can end
//! anywhere.
//!
//! 1. The metadata block is zeros: whatever this was, it is a component no
//!    more. Otherwise metadata from before, with counters that claim to know,
//!    could meet a map that has forgotten what differs.
//! 2. The map is zeros.
//! 3. The metadata are there.
//!
//! Each is on stable storage before the next begins.

use super::Step;
use ggate::media::Media;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH};
use nix::errno::Errno;

/// Zeros written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// `data` is where the data begins.
pub(super) fn initialise(
    media: &dyn Media,
    metadata: &[u8; BLOCK_LENGTH],
    data: u64,
) -> Result<(), (Step, Errno)> {
    let during = |step| move |error| (step, error);
    let flush = || media.flush().map_err(during(Step::Flush));
    media
        .write_at(&[0; BLOCK_LENGTH], 0)
        .map_err(during(Step::EraseMetadata))?;
    flush()?;
    let mut offset = BLOCK;
    while offset < data {
        let left = usize::try_from(data - offset).unwrap_or(usize::MAX);
        let zeros = &ZEROS[..left.min(ZEROS.len())];
        media
            .write_at(zeros, offset)
            .map_err(during(Step::WriteMap))?;
        offset += zeros.len() as u64;
    }
    flush()?;
    media
        .write_at(metadata, 0)
        .map_err(during(Step::WriteMetadata))?;
    flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::range::{ByteRange, Geometry};
    use hast_core::metadata::{CreateOptions, Metadata, Provider};
    use hast_core::units::Counters;
    use parking_lot::Mutex;

    const SECTOR: usize = 512;

    /// Where the data of both components begins.
    const DATA: usize = BLOCK_LENGTH + SECTOR;

    /// A disk whose cache loses, at a power cut, any of the sectors that were
    /// written since the last flush.
    struct Cache {
        durable: Vec<u8>,
        unflushed: Vec<(usize, Vec<u8>)>,
        /// Everything that a power cut could have left so far.
        left: Vec<Vec<u8>>,
    }

    struct Disk(Mutex<Cache>);

    impl Cache {
        fn look(&mut self) {
            for subset in 0..1u32 << self.unflushed.len() {
                let mut bytes = self.durable.clone();
                for (n, (offset, sector)) in self.unflushed.iter().enumerate() {
                    if subset >> n & 1 == 1 {
                        bytes[*offset..offset + SECTOR].copy_from_slice(sector);
                    }
                }
                self.left.push(bytes);
            }
        }
    }

    impl Media for Disk {
        fn geometry(&self) -> Geometry {
            Geometry {
                media_size: 16 << 20,
                sector_size: 512,
            }
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> nix::Result<()> {
            Err(Errno::EIO)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> nix::Result<()> {
            let mut cache = self.0.lock();
            let offset = usize::try_from(offset).unwrap();
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                let sector = (offset + n * SECTOR, sector.to_vec());
                cache.unflushed.push(sector);
            }
            cache.look();
            Ok(())
        }

        fn flush(&self) -> nix::Result<()> {
            let mut cache = self.0.lock();
            cache.look();
            for (offset, sector) in std::mem::take(&mut cache.unflushed) {
                cache.durable[offset..offset + SECTOR].copy_from_slice(&sector);
            }
            cache.look();
            Ok(())
        }

        fn delete(&self, _: ByteRange) -> nix::Result<()> {
            Err(Errno::EOPNOTSUPP)
        }
    }

    fn metadata(resource: &str, counters: Counters) -> ([u8; BLOCK_LENGTH], Metadata) {
        let provider = Provider {
            mediasize: 16 << 20,
            sectorsize: 512,
        };
        let mut metadata = Metadata::create(resource, provider, CreateOptions::default()).unwrap();
        metadata.counters = counters;
        let mut block = [0; BLOCK_LENGTH];
        metadata.encode(&mut block).unwrap();
        (block, metadata)
    }

    /// With the old metadata and an empty map, what differs would never be
    /// copied; with the new ones and an old map, too much would.
    #[test]
    fn a_power_cut_leaves_the_old_component_or_none_or_the_new_one() {
        let (old, was) = metadata(
            "data",
            Counters {
                local: 1,
                remote: 0,
            },
        );
        let (new, is) = metadata("data", Counters::default());
        assert_eq!(usize::try_from(is.localoff).unwrap(), DATA);
        let mut durable = old.to_vec();
        durable.resize(DATA, 0xff);
        let disk = Disk(Mutex::new(Cache {
            durable,
            unflushed: Vec::new(),
            left: Vec::new(),
        }));
        initialise(&disk, &new, is.localoff).unwrap();
        let cache = disk.0.into_inner();
        assert_eq!(cache.unflushed, []);
        let mut seen = [false; 3];
        for bytes in cache.left {
            let (block, map) = bytes.split_first_chunk().unwrap();
            seen[match Metadata::decode(block) {
                Ok(found) if found == was => {
                    assert!(map.iter().all(|b| *b == 0xff), "its map is gone");
                    0
                }
                Ok(found) => {
                    assert_eq!(found, is);
                    assert!(map.iter().all(|b| *b == 0), "a map from before");
                    2
                }
                Err(_) => 1,
            }] = true;
        }
        assert_eq!(seen, [true; 3], "the cuts that this test is about");
        assert!(cache.durable[..BLOCK_LENGTH] == new, "nothing is stored");
    }
}

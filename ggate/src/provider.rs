//! `create` and `rescue`: making a provider over a medium, or taking over one
//! that nobody serves any more. Common to ggatec and ggatel.

use crate::gate::{self, Access, Cancel, Create, GateId, Ggctl, NewName, Unit, handle::Handle};
use crate::range::Geometry;
use nix::errno::Errno;
use std::io;

/// Which provider is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A new one.
    New {
        /// Sector size in bytes; the medium's without.
        sector_size: Option<u32>,
        /// How many requests may wait or be outstanding; 0 = unlimited.
        queue_limit: u32,
        /// Check interval for old requests in seconds; 0 = none.
        timeout: u32,
        /// The lowest free one without.
        unit: Option<Unit>,
    },
    /// One that is there and nobody serves.
    Orphan(Unit),
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// `/dev/ggctl`, or the run directory of the gate in software.
    #[error("Cannot open the gate: {}", crate::errno::words(.0))]
    Gate(#[from] io::Error),
    /// The medium would get requests that it cannot carry out.
    #[error("Sectors of {asked} bytes: the medium's have {sector}; it must be that or a multiple")]
    SectorSize {
        /// What `-s` says, or what the orphan has.
        asked: u32,
        /// What the medium has.
        sector: u32,
    },
    /// Empty, an odd size, or odd sectors: a server may say anything.
    #[error(
        "The medium has {} bytes in sectors of {}; a provider needs a positive multiple of its sector size, \
         which is a power of two",
        .0.media_size, .0.sector_size
    )]
    Media(Geometry),
    /// CREATE failed.
    #[error("Cannot create ggate{}: {}", .0.map_or("N".into(), |u| u.to_string()), .1.desc())]
    Create(Option<Unit>, Errno),
    /// CANCEL failed.
    #[error("Cannot take over ggate{}: {}", .0, .1.desc())]
    Rescue(Unit, Errno),
    /// The orphan is larger than what is to back it.
    #[error("ggate{unit} has {provider} bytes, the medium only {medium}")]
    TooSmall {
        /// Which provider.
        unit: Unit,
        /// Its size in bytes.
        provider: u64,
        /// The size of the medium in bytes.
        medium: u64,
    },
}

impl Wanted {
    /// Opens the gate, loading the kernel's first where one is to be created.
    pub fn open(self) -> Result<Box<dyn Ggctl>, ProviderError> {
        Ok(match self {
            Self::New { .. } => gate::load_and_open()?,
            Self::Orphan(_) => gate::open()?,
        })
    }

    /// Makes the provider and prints its name unless its unit was asked for;
    /// or gives all outstanding requests of the orphan back to its queue.
    pub fn obtain(
        self,
        ctl: Box<dyn Ggctl>,
        medium: Geometry,
        access: Access,
        info: String,
    ) -> Result<Handle, ProviderError> {
        let unit = match self {
            Self::Orphan(unit) => {
                check_orphan(ctl.as_ref(), unit, medium)?;
                ctl.cancel(&GateId::Unit(unit), Cancel::All)
                    .map_err(|e| ProviderError::Rescue(unit, e))?
            }
            Self::New {
                sector_size,
                queue_limit,
                timeout,
                unit,
            } => {
                let create = Create {
                    geometry: geometry(medium, sector_size)?,
                    access,
                    queue_limit,
                    timeout,
                    name: unit.map_or(NewName::NextFree, NewName::Unit),
                    info,
                };
                let created = ctl
                    .create(&create)
                    .map_err(|e| ProviderError::Create(unit, e))?;
                if unit.is_none() {
                    println!("ggate{created}");
                }
                created
            }
        };
        Ok(Handle { ctl, unit })
    }
}

/// The kernel does not tell a gate's size without the event queue, which may
/// wait for this very gate; the software gate does.
fn check_orphan(ctl: &dyn Ggctl, unit: Unit, medium: Geometry) -> Result<(), ProviderError> {
    match ctl.geometry(unit) {
        Some(provider) if provider.media_size > medium.media_size => Err(ProviderError::TooSmall {
            unit,
            provider: provider.media_size,
            medium: medium.media_size,
        }),
        Some(provider)
            if !provider
                .sector_size
                .is_multiple_of(medium.sector_size.max(1)) =>
        {
            Err(ProviderError::SectorSize {
                asked: provider.sector_size,
                sector: medium.sector_size,
            })
        }
        _ => Ok(()),
    }
}

/// Largest provider in bytes: the kernel's offsets are signed.
const MAX_MEDIA: u64 = i64::MAX as u64;

/// The provider's sizes: the medium's, perhaps in larger sectors.
fn geometry(medium: Geometry, sector_size: Option<u32>) -> Result<Geometry, ProviderError> {
    let sector = medium.sector_size;
    let asked = sector_size.unwrap_or(sector);
    let provider = Geometry {
        media_size: medium.media_size,
        sector_size: asked,
    };
    if !sector.is_power_of_two() || medium.media_size == 0 || medium.media_size > MAX_MEDIA {
        return Err(ProviderError::Media(medium));
    }
    if asked == 0 || !asked.is_multiple_of(sector) {
        return Err(ProviderError::SectorSize { asked, sector });
    }
    if !medium.media_size.is_multiple_of(u64::from(asked)) {
        return Err(ProviderError::Media(provider));
    }
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIUM: Geometry = Geometry {
        media_size: 1 << 20,
        sector_size: 512,
    };

    #[test]
    fn sectors_may_grow_but_not_shrink() {
        assert_eq!(geometry(MEDIUM, None).unwrap(), MEDIUM);
        assert_eq!(geometry(MEDIUM, Some(4096)).unwrap().sector_size, 4096);
        let large = Geometry {
            sector_size: 4096,
            ..MEDIUM
        };
        let refused = geometry(large, Some(512)).unwrap_err();
        assert!(refused.to_string().contains("4096"), "{refused}");
    }

    #[test]
    fn an_empty_or_odd_medium_is_no_provider() {
        for (media_size, sector_size) in [(0, None), (1000, None), (512 * 9, Some(4096))] {
            let medium = Geometry {
                media_size,
                ..MEDIUM
            };
            let refused = geometry(medium, sector_size).unwrap_err();
            assert!(matches!(refused, ProviderError::Media(_)), "{refused}");
        }
    }

    #[test]
    fn a_medium_whose_numbers_make_no_sense_is_told_with_them() {
        for (media_size, sector_size) in [(1 << 20, 0), (3 << 20, 3), (1 << 63, 512)] {
            let medium = Geometry {
                media_size,
                sector_size,
            };
            for asked in [None, Some(sector_size)] {
                let refused = geometry(medium, asked).unwrap_err();
                let told = format!("{media_size} bytes in sectors of {sector_size};");
                assert!(refused.to_string().contains(&told), "{refused}");
            }
            assert!(geometry(medium, Some(512)).is_err());
        }
    }

    /// A gate of which only the sizes matter.
    struct Sizes(Geometry);

    impl Ggctl for Sizes {
        fn geometry(&self, _: Unit) -> Option<Geometry> {
            Some(self.0)
        }
        fn create(&self, _: &Create) -> nix::Result<Unit> {
            unreachable!()
        }
        fn modify(&self, _: Unit, _: &gate::Modify) -> nix::Result<()> {
            unreachable!()
        }
        fn destroy(&self, _: &GateId, _: bool) -> nix::Result<()> {
            unreachable!()
        }
        fn cancel(&self, _: &GateId, _: Cancel) -> nix::Result<Unit> {
            unreachable!()
        }
        fn start_after(
            &self,
            _: Unit,
            _: &mut [u8],
            _: &mut dyn FnMut(),
        ) -> nix::Result<gate::Started> {
            unreachable!()
        }
        fn done(&self, _: Unit, _: &gate::Request, _: gate::Outcome<'_>) -> nix::Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn an_orphan_is_backed_only_by_what_can_carry_out_its_requests() {
        let backed_by = |media_size, sector_size| {
            let medium = Geometry {
                media_size,
                sector_size,
            };
            check_orphan(&Sizes(MEDIUM), Unit(0), medium)
        };
        assert!(backed_by(1 << 20, 512).is_ok());
        assert!(backed_by(2 << 20, 512).is_ok());
        let small = backed_by((1 << 20) - 512, 512);
        assert!(matches!(small, Err(ProviderError::TooSmall { .. })));
        let coarse = backed_by(1 << 20, 4096);
        assert!(matches!(coarse, Err(ProviderError::SectorSize { .. })));
    }
}

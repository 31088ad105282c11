//! `hastctl create`: makes a component of a file or disk.
//! Facts: spec/hast-disk.md section 3.
//!
//! Base overwrites whatever is there, hastd's own component while that serves
//! it, too. Here it must be nobody's at the moment, and what another `create`
//! made is only overwritten with `--force`: it says which data is the newer
//! one, and nothing else does.

use super::human::{sentence, size};
use super::{BAD_DATA, find, first};
use crate::component::{Component, ComponentError, Lock, Problem};
use crate::config::{Config, Resource};
use crate::log;
use ggate::gate::Access;
use hast_core::bitmap::Bitmap;
use hast_core::extent::Extents;
use hast_core::metadata::{CreateOptions, DEFAULT_EXTENTSIZE, Metadata, MetadataError, Provider};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;

/// Most extents that may be kept dirty: base keeps the number in a C int.
const MOST_KEPT: u64 = 0x7fff_ffff;

/// What the user asks for; none means the default.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Wanted {
    pub(super) extentsize: Option<u64>,
    pub(super) keepdirty: Option<u64>,
    pub(super) mediasize: Option<u64>,
    /// Whatever is there already.
    pub(super) force: bool,
}

#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error("{0}")]
    Open(ComponentError),
    #[error("{0}: it is mounted, or something else uses it")]
    InUse(String),
    #[error("{path} cannot become a component: {error} ({numbers})")]
    Impossible {
        path: String,
        error: MetadataError,
        numbers: String,
    },
    #[error("cannot keep {0} extents dirty: the most are {MOST_KEPT}")]
    Keepdirty(u64),
    #[error("{path} {what}. If that may be lost: hastctl create --force {name}")]
    Exists {
        path: String,
        what: String,
        name: String,
    },
    #[error("{0}; nothing of it can be used now, so create it anew")]
    Store(ComponentError),
    #[error("{0}: what was written is not what is read: the disk is broken")]
    Differs(String),
}

impl CreateError {
    /// `EX_NOINPUT`.
    const NO_INPUT: u8 = 66;
    /// `EX_IOERR`.
    const IO: u8 = 74;

    const fn status(&self) -> u8 {
        match self {
            Self::Open(_) | Self::InUse(_) => Self::NO_INPUT,
            Self::Impossible { .. } | Self::Keepdirty(_) | Self::Exists { .. } => BAD_DATA,
            Self::Store(_) | Self::Differs(_) => Self::IO,
        }
    }
}

pub(super) fn run(config: &Config, names: &[String], wanted: Wanted) -> u8 {
    let (resources, mut status) = find(config, names);
    for resource in resources {
        if let Err(error) = create(resource, wanted) {
            log::error!("[{}] {}", resource.name, sentence(&error));
            status = first(status, error.status());
        }
    }
    status
}

fn create(resource: &Resource, wanted: Wanted) -> Result<(), CreateError> {
    let name = &resource.name;
    let path = || resource.local.display().to_string();
    let mut component =
        Component::open(&resource.local, Access::ReadWrite).map_err(CreateError::Open)?;
    let _claim = claim(resource, &component)?;
    if component.lock().map_err(CreateError::Open)? == Lock::Unsupported {
        log::warning!(
            "[{name}] {}: there are no locks; make sure that nobody uses it.",
            path()
        );
    }
    let metadata = plan(resource, component.provider(), wanted)?;
    if !wanted.force
        && let Some(what) = describe(resource, &component)?
    {
        return Err(CreateError::Exists {
            path: path(),
            what,
            name: name.clone(),
        });
    }
    component
        .initialise(&metadata)
        .map_err(CreateError::Store)?;
    match component.peek_metadata(name) {
        Ok(read) if read == metadata => {}
        _ => return Err(CreateError::Differs(path())),
    }
    log::debug!(2, "[{name}] {} is initialised.", path());
    Ok(())
}

/// The metadata it is to have.
fn plan(resource: &Resource, provider: Provider, wanted: Wanted) -> Result<Metadata, CreateError> {
    let keepdirty = match wanted.keepdirty {
        Some(n) if n > MOST_KEPT => return Err(CreateError::Keepdirty(n)),
        Some(n) => u32::try_from(n).ok(),
        None => None,
    };
    let options = CreateOptions {
        mediasize: wanted.mediasize,
        extentsize: wanted.extentsize,
        keepdirty,
    };
    Metadata::create(&resource.name, provider, options).map_err(|error| {
        let Provider {
            mediasize,
            sectorsize,
        } = provider;
        let extentsize = wanted.extentsize.unwrap_or(DEFAULT_EXTENTSIZE.into());
        let used = wanted.mediasize.unwrap_or(mediasize);
        CreateError::Impossible {
            path: resource.local.display().to_string(),
            error,
            numbers: format!(
                "{used} of its {mediasize} bytes, sectors of {sectorsize}, extents of {extentsize}"
            ),
        }
    })
}

/// What would be lost; none if no metadata of HAST are there. Whatever else is
/// there base overwrites, too.
fn describe(resource: &Resource, component: &Component) -> Result<Option<String>, CreateError> {
    let name = &resource.name;
    let error = match component.read_metadata(name) {
        Ok((metadata, extents)) => return history(component, &metadata, extents).map(Some),
        Err(error) => error,
    };
    match error.problem() {
        Problem::NotInitialised(_) | Problem::NoMetadata(_) | Problem::TooShort => Ok(None),
        Problem::Foreign(_, other) => match component.read_metadata(other) {
            Ok((metadata, extents)) => {
                let history = history(component, &metadata, extents)?;
                Ok(Some(format!("{history}, NOT {name}")))
            }
            Err(_) => Ok(Some(format!("belongs to resource {other}, NOT {name}"))),
        },
        problem @ (Problem::Damaged(..) | Problem::Impossible(..)) => {
            Ok(Some(format!("has metadata of HAST that are {problem}")))
        }
        _ => Err(CreateError::Open(error)),
    }
}

fn history(
    component: &Component,
    metadata: &Metadata,
    extents: Extents,
) -> Result<String, CreateError> {
    let map = component.read_map(extents).map_err(CreateError::Open)?;
    let changed = Bitmap::from_map(extents.count(), &map).count();
    let changed = match changed.saturating_mul(extents.extentsize().into()) {
        0 => "nothing".into(),
        bytes => format!("up to {}", size(bytes)),
    };
    let met = match metadata.resuid {
        Some(_) => "",
        None => ", never met the other node",
    };
    Ok(format!(
        "holds {} of resource {}, was {} last{met}, has counters {} and {} and {changed} that the other node may lack",
        size(metadata.datasize),
        metadata.resource,
        metadata.prevrole,
        metadata.counters.local,
        metadata.counters.remote,
    ))
}

/// Linux lets everybody open a disk that is mounted, but nobody exclusively.
/// Exclusive it stays until this is dropped. Elsewhere the flag means nothing,
/// and GEOM has refused to open for writing what something else uses.
fn claim(resource: &Resource, component: &Component) -> Result<Option<OwnedFd>, CreateError> {
    if !component.identity().map_err(CreateError::Open)?.is_disk() {
        return Ok(None);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    match open(&resource.local, flags, Mode::empty()) {
        Err(Errno::EBUSY) => Err(CreateError::InUse(resource.local.display().to_string())),
        // Where nobody can be excluded, nobody has excluded us.
        claimed => Ok(claimed.ok()),
    }
}

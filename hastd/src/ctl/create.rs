//! `hastctl create`: makes a component of a file or disk.
//! Facts: spec/hast-disk.md section 3.
//!
//! Whatever was there before is first made no component any more: a power cut
//! in between leaves nothing that looks initialised with an empty map.

use super::{BAD_DATA, find, first};
use crate::component::{Component, ComponentError, Lock, Problem};
use crate::config::{Config, Resource};
use crate::log;
use ggate::gate::Access;
use ggate::media::Media as _;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, CreateOptions, Metadata, MetadataError};
use nix::errno::Errno;

/// Zeros written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

#[derive(Debug, thiserror::Error)]
enum CreateError {
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("{0}: it is mounted, or something else uses it")]
    InUse(String),
    #[error(
        "{path}: holds resource {resource} already ({history}). If all on it may be lost: hastctl create --force {name}"
    )]
    Initialized {
        path: String,
        name: String,
        resource: String,
        history: String,
    },
    #[error("{path}: {error}. If all on it may be lost: hastctl create --force {name}")]
    Damaged {
        path: String,
        name: String,
        error: Problem,
    },
    #[error("{path}: {error}")]
    Impossible { path: String, error: MetadataError },
    #[error("{path}: cannot {step}: {}", errno.desc())]
    Write {
        path: String,
        step: &'static str,
        errno: Errno,
    },
}

impl CreateError {
    const fn status(&self) -> u8 {
        match self {
            Self::Component(_) | Self::InUse(_) => 66,
            Self::Initialized { .. } | Self::Damaged { .. } | Self::Impossible { .. } => BAD_DATA,
            Self::Write { .. } => 74,
        }
    }
}

pub(super) fn run(config: &Config, names: &[String], wanted: CreateOptions, force: bool) -> u8 {
    let (resources, mut status) = find(config, names);
    for resource in resources {
        if let Err(error) = create(resource, wanted, force) {
            log::error!("[{}] {error}.", resource.name);
            status = first(status, error.status());
        }
    }
    status
}

fn create(resource: &Resource, wanted: CreateOptions, force: bool) -> Result<(), CreateError> {
    let mut component = Component::open(&resource.local, Access::ReadWrite)?;
    if component.lock()? == Lock::Unsupported {
        log::warning!(
            "[{}] {}: cannot be locked; see to it that nobody else uses it.",
            resource.name,
            resource.local.display()
        );
    }
    if is_in_use(resource, &component)? {
        return Err(CreateError::InUse(resource.local.display().to_string()));
    }
    let path = resource.local.display().to_string();
    let metadata = Metadata::create(&resource.name, component.provider(), wanted);
    let metadata = metadata.map_err(|error| CreateError::Impossible {
        path: path.clone(),
        error,
    })?;
    if !force {
        refuse_what_is_there(resource, &component, path.clone())?;
    }
    let write = |step, result: nix::Result<()>| {
        let path = path.clone();
        result.map_err(|errno| CreateError::Write { path, step, errno })
    };
    let media = component.media();
    write("clear the metadata", media.write_at(&[0; BLOCK_LENGTH], 0))?;
    write("clear the metadata", media.flush())?;
    let mut offset = BLOCK;
    while offset < metadata.localoff {
        let left = usize::try_from(metadata.localoff - offset).unwrap_or(ZEROS.len());
        let zeros = &ZEROS[..left.min(ZEROS.len())];
        write("clear the map", media.write_at(zeros, offset))?;
        offset += zeros.len() as u64;
    }
    write("clear the map", media.flush())?;
    component.write_metadata(&metadata)?;
    Ok(())
}

/// Data that was written through HAST is not overwritten by accident. Whatever
/// else is there base overwrites, too.
fn refuse_what_is_there(
    resource: &Resource,
    component: &Component,
    path: String,
) -> Result<(), CreateError> {
    let name = resource.name.clone();
    match component.read_metadata(&name) {
        Ok((metadata, _)) => Err(CreateError::Initialized {
            path,
            resource: name.clone(),
            name,
            history: match metadata.resuid {
                None => "never connected".into(),
                Some(_) => format!(
                    "counters {} and {}, last {}",
                    metadata.counters.local,
                    metadata.counters.remote,
                    metadata.prevrole.name()
                ),
            },
        }),
        Err(error) => match error.problem() {
            Problem::NotInitialised(_) | Problem::NoMetadata(_) | Problem::TooShort => Ok(()),
            Problem::Foreign(_, other) => Err(CreateError::Initialized {
                path,
                name,
                resource: other.clone(),
                history: "its own".into(),
            }),
            problem @ (Problem::Damaged(..) | Problem::Impossible(..)) => {
                Err(CreateError::Damaged {
                    path,
                    name,
                    error: problem.clone(),
                })
            }
            _ => Err(error.into()),
        },
    }
}

/// Linux lets anybody open a mounted disk, but not exclusively. FreeBSD's GEOM
/// has refused to open it.
#[cfg(target_os = "linux")]
fn is_in_use(resource: &Resource, component: &Component) -> Result<bool, ComponentError> {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    if !component.identity()?.is_disk() {
        return Ok(false);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    Ok(open(&resource.local, flags, Mode::empty()).err() == Some(Errno::EBUSY))
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
const fn is_in_use(_: &Resource, _: &Component) -> Result<bool, ComponentError> {
    Ok(false)
}

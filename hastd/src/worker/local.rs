//! The local component in a worker's hands: open, locked and read, for as
//! long as the worker lives.

use crate::ipc::Start;
use crate::log;
use ggate::gate::Access;
use ggate::media::{self, LocalMedia, Media, MediaError, OpenOptions};
use ggate::opener::{Held, Launcher as _, Processes};
use hast_core::bitmap::MAX_MAP;
use hast_core::extent::Extents;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, Metadata, MetadataError, Provider};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a lock is waited for: a worker that was killed may still be
/// ending.
const LOCKED: Duration = Duration::from_secs(5);

/// The component, and what was on it.
pub(super) struct Local {
    /// For messages.
    pub(super) path: String,
    pub(super) media: Arc<dyn Media>,
    pub(super) sectorsize: u32,
    pub(super) metadata: Metadata,
    pub(super) extents: Extents,
    /// All of the region behind the metadata.
    pub(super) map: Vec<u8>,
    /// Where the kernel can read for us: a helper holds the provider, too, so
    /// that a worker that is killed is not its last closer.
    pub(super) provider: Option<Held>,
    _lock: Option<Flock<OwnedFd>>,
}

/// Why the component is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("{path}: cannot open the local component: {error}.")]
    Open { path: String, error: MediaError },
    #[error("{0}: locked by another program; is another hastd serving it?")]
    Locked(String),
    #[error("{path}: cannot lock the local component: {}.", errno.desc())]
    Lock { path: String, errno: Errno },
    #[error("{path}: cannot {what}: {}.", errno.desc())]
    Io {
        path: String,
        what: &'static str,
        errno: Errno,
    },
    #[error(
        "{path}: not initialized; nothing was changed. If it shall hold resource {name}: hastctl create {name}"
    )]
    Blank { path: String, name: String },
    #[error("{path}: belongs to resource {other}, not to {name}; nothing was changed")]
    Foreign {
        path: String,
        name: String,
        other: String,
    },
    #[error("{path}: the metadata cannot be used: {error}; nothing was changed")]
    Metadata { path: String, error: MetadataError },
}

impl Local {
    pub(super) fn open(start: &Start) -> Result<Self, LocalError> {
        let path = start.local.display().to_string();
        let opening = |error| LocalError::Open {
            path: path.clone(),
            error,
        };
        let options = OpenOptions {
            access: Access::ReadWrite,
            ..OpenOptions::default()
        };
        let provider = hold(&start.local, options).map_err(opening)?;
        let media = media::open(&start.local, options).map_err(opening)?;
        let lock = lock(&path, &media)?;
        let io = |what| {
            let path = path.clone();
            move |errno| LocalError::Io { path, what, errno }
        };
        // What is read must be what a power cut would leave.
        media.flush().map_err(io("flush the component"))?;
        let mut block = [0; BLOCK_LENGTH];
        media
            .read_at(&mut block, 0)
            .map_err(io("read the metadata"))?;
        let (metadata, extents) = understand(start, &path, &media, &block)?;
        let region = metadata.map_region().min(MAX_MAP.into());
        let mut map = vec![0; super::buffers::to_usize(region)];
        media.read_at(&mut map, BLOCK).map_err(io("read the map"))?;
        Ok(Self {
            sectorsize: media.geometry().sector_size,
            media: Arc::new(media),
            path,
            metadata,
            extents,
            map,
            provider,
            _lock: lock,
        })
    }
}

impl Local {
    /// Whether it can be told what is no longer needed. Files of FreeBSD
    /// cannot, and to write zeros in place of that helps nobody who could not
    /// have asked.
    pub(super) fn can_delete(&self) -> bool {
        !cfg!(target_os = "freebsd") || self.provider.is_some()
    }
}

/// Has a helper hold a provider, whoever ends first.
fn hold(path: &Path, options: OpenOptions) -> Result<Option<Held>, MediaError> {
    let helpers = Processes::new("hastd").map_err(|_| MediaError::Open(Errno::ENOENT))?;
    if !helpers.is_provider(path) {
        return Ok(None);
    }
    Held::open(&helpers, path, options).map(Some)
}

fn lock(path: &str, media: &LocalMedia) -> Result<Option<Flock<OwnedFd>>, LocalError> {
    let failed = |errno| LocalError::Lock {
        path: path.into(),
        errno,
    };
    let deadline = Instant::now() + LOCKED;
    let again = || media.as_fd().try_clone_to_owned();
    loop {
        let fd = again().map_err(|_| failed(Errno::EMFILE))?;
        match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err((_, Errno::EWOULDBLOCK)) => return Err(LocalError::Locked(path.into())),
            Err((_, Errno::EOPNOTSUPP)) => {
                log::warning!("{path}: cannot be locked; see to it that nobody else uses it.");
                return Ok(None);
            }
            Err((_, errno)) => return Err(failed(errno)),
        }
    }
}

fn understand(
    start: &Start,
    path: &str,
    media: &LocalMedia,
    block: &[u8; BLOCK_LENGTH],
) -> Result<(Metadata, Extents), LocalError> {
    let path = path.to_owned();
    let name = start.name.clone();
    if block.iter().all(|&byte| byte == 0) {
        return Err(LocalError::Blank { path, name });
    }
    let geometry = media.geometry();
    let provider = Provider {
        mediasize: geometry.media_size,
        sectorsize: geometry.sector_size,
    };
    let metadata = match Metadata::decode(block) {
        Ok(metadata) => metadata,
        Err(error) => return Err(LocalError::Metadata { path, error }),
    };
    if metadata.resource != name {
        let other = metadata.resource;
        return Err(LocalError::Foreign { path, name, other });
    }
    // It must be possible to store it again, too.
    let extents = metadata
        .encode(&mut [0; BLOCK_LENGTH])
        .and_then(|()| metadata.validate(provider));
    match extents {
        Ok(extents) => Ok((metadata, extents)),
        Err(error) => Err(LocalError::Metadata { path, error }),
    }
}

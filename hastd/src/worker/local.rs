//! The local component in a worker's hands: open, locked and read, for as
//! long as the worker lives.

use crate::component::{Component, ComponentError, Lock, Problem};
use crate::ipc::Start;
use crate::log;
use crate::worker::Layer;
use crate::worker::flushes::Flushes;
use ggate::daemon::pause;
use ggate::gate::Access;
use ggate::media::{self, Identity, Media, MediaError, OpenOptions};
use ggate::opener::{Held, Processes};
use hast_core::extent::Extents;
use hast_core::metadata::Metadata;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a lock is waited for: a worker that was killed may still be
/// ending.
const LOCKED: Duration = Duration::from_secs(5);

/// How often it is tried.
const TRY: Duration = Duration::from_millis(100);

/// The component, and what was on it.
pub(super) struct Local {
    /// For messages.
    pub(super) path: String,
    pub(super) media: Arc<dyn Media>,
    /// How it is flushed.
    pub(super) flushes: Arc<Flushes>,
    pub(super) sectorsize: u32,
    pub(super) metadata: Metadata,
    pub(super) extents: Extents,
    pub(super) map: Vec<u8>,
    /// A GEOM provider, not a file: a helper holds it, too, so that a worker
    /// that is killed is not its last closer.
    provider: Option<Held>,
    component: Component,
}

/// Why the component is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("{path}: no helper can open it: {error}")]
    Hold { path: String, error: MediaError },
    #[error(transparent)]
    Component(#[from] ComponentError),
}

impl Local {
    /// `program` is what runs, to run helpers from. Requests pass through
    /// `layer`.
    pub(super) fn open(
        start: &Start,
        program: Option<File>,
        layer: Layer,
    ) -> Result<Self, LocalError> {
        let path = start.local.display().to_string();
        let failed = |error| LocalError::Hold {
            path: path.clone(),
            error,
        };
        let mut provider = hold(&start.local, program).map_err(failed)?;
        let mut component = Component::open(&start.local, Access::ReadWrite)?;
        lock(&mut component, &path)?;
        if let Some(held) = &mut provider {
            let outlast = |fd| held.outlast(fd);
            let outlasted = component.descriptors().try_for_each(outlast);
            outlasted.map_err(|error| failed(MediaError::Open(errno(&error))))?;
        }
        let (metadata, extents) = component.read_metadata(&start.name)?;
        let media = layer(component.media().clone());
        Ok(Self {
            flushes: Arc::new(Flushes::of(Arc::clone(&media))),
            media,
            sectorsize: component.provider().sectorsize,
            map: component.read_map(extents)?,
            path,
            metadata,
            extents,
            provider,
            component,
        })
    }

    /// All of its descriptors, for who limits what can be done with them.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let held = self.provider.iter().map(AsFd::as_fd);
        self.component.descriptors().chain(held)
    }

    /// Whether GEOM knows it.
    pub(super) const fn is_provider(&self) -> bool {
        self.provider.is_some()
    }

    /// Whether it can be told what is no longer needed. Files of FreeBSD
    /// cannot, and to write zeros in place of that helps nobody who could not
    /// have asked.
    pub(super) const fn can_delete(&self) -> bool {
        !cfg!(target_os = "freebsd") || self.is_provider()
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn hold(path: &Path, program: Option<File>) -> Result<Option<Held>, MediaError> {
    if !media::identify(path).is_ok_and(Identity::is_disk) {
        return Ok(None);
    }
    // The daemon passes one.
    let program = program.ok_or(MediaError::Open(Errno::ENOEXEC))?;
    let helpers = Processes::with_binary("hastd", program);
    let options = OpenOptions {
        access: Access::ReadWrite,
        ..OpenOptions::default()
    };
    Held::open(&helpers, path, options).map(Some)
}

fn lock(component: &mut Component, path: &str) -> Result<(), ComponentError> {
    let deadline = Instant::now() + LOCKED;
    loop {
        match component.lock() {
            Ok(Lock::Held) => return Ok(()),
            Ok(Lock::Unsupported) => {
                log::warning!("{path}: cannot be locked; see to it that nobody else uses it.");
                return Ok(());
            }
            Err(error) if *error.problem() == Problem::Locked && Instant::now() < deadline => {
                pause(TRY);
            }
            Err(error) => return Err(error),
        }
    }
}

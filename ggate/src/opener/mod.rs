//! Opening providers without ever waiting for GEOM.
//!
//! Opening a provider for writing, and closing it, can wait for as long as a
//! taste anywhere on the machine waits: `spec/geom-gate-kernel.md` section
//! 7.4, rows 1 and 3. If that taste depends on whoever waits, both wait for
//! ever. So another process opens the provider ([`helper`]), passes the
//! descriptor on as soon as it is there, and keeps one of its own: whoever
//! uses the medium is never its last closer, even when it is killed.
//!
//! Regular files are opened directly; [`Launcher::is_provider`] says what is
//! what. Everything but the barrier ([`crate::gate::wait_until_quiet`]) and the
//! waiting itself is the same on all systems.

pub mod helper;
mod message;
mod process;

pub use helper::Request;
pub use process::Processes;

use crate::media::{self, Identity, LocalMedia, Media, MediaError, OpenOptions};
use crate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Starts helpers.
pub trait Launcher: Send + Sync {
    /// Whether opening or closing this may wait for GEOM.
    fn is_provider(&self, path: &Path) -> bool;

    /// Starts a helper that opens the provider, and does not wait for it. The
    /// helper speaks over this socket ([`helper::serve`]) and closes the
    /// provider when the socket ends.
    fn launch(&self, path: &Path, options: OpenOptions) -> io::Result<UnixStream>;
}

/// An open provider of which a helper holds a descriptor, too.
#[derive(Debug)]
pub struct Held {
    // In this order: when the helper learns of the end, ours is closed.
    medium: LocalMedia,
    lease: UnixStream,
    gone: AtomicBool,
}

impl Held {
    /// Has a helper open the provider; waits for the descriptor.
    pub fn open(
        launcher: &dyn Launcher,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Self, MediaError> {
        let failed = |error: io::Error| {
            MediaError::Open(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
        };
        let socket = launcher.launch(path, options).map_err(failed)?;
        let fd = message::receive(&socket).map_err(failed)??;
        let lease = message::close_after(&socket, fd.as_fd()).map_err(failed)?;
        Ok(Self {
            medium: LocalMedia::from_fd(fd)?,
            lease,
            gone: AtomicBool::new(false),
        })
    }

    /// The helper closes the provider after `fd`, too, should this process be
    /// killed: a descriptor of the same provider that the caller has opened.
    pub fn outlast(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.lease.as_raw_fd() < fd.as_raw_fd() {
            self.lease = message::close_after(&self.lease, fd)?;
        }
        Ok(())
    }

    /// Whether this is what `path` names now, and usable.
    fn is_current(&self, path: &Path) -> bool {
        !self.gone.load(Ordering::Relaxed)
            && media::identify(path).is_ok_and(|now: Identity| self.medium.identity() == Ok(now))
    }

    /// The medium, for one more user, with its present size; `None` when the
    /// provider is gone or `path` names another one by now, so that it has to
    /// be opened anew.
    #[must_use]
    pub fn share(self: &Arc<Self>, path: &Path) -> Option<Shared> {
        if !self.is_current(path) {
            return None;
        }
        let geometry = self.medium.measure().ok()?;
        Some(Shared {
            held: Arc::clone(self),
            geometry,
        })
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.medium.as_fd()
    }
}

/// A medium that is held.
#[derive(Debug)]
pub struct Shared {
    held: Arc<Held>,
    geometry: Geometry,
}

impl Shared {
    /// ENXIO means that the provider is gone: the next user needs a new one.
    fn note(&self, result: nix::Result<()>) -> nix::Result<()> {
        if result == Err(Errno::ENXIO) {
            self.held.gone.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Media for Shared {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        self.note(self.held.medium.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        self.note(self.held.medium.write_at(buf, offset))
    }

    fn flush(&self) -> nix::Result<()> {
        self.note(self.held.medium.flush())
    }

    fn delete(&self, range: ByteRange) -> nix::Result<()> {
        self.note(self.held.medium.delete(range))
    }
}

/// Opens a medium for the life of the caller: a provider through a helper,
/// anything else directly.
pub fn open(
    launcher: &dyn Launcher,
    path: &Path,
    options: OpenOptions,
) -> Result<Arc<dyn Media>, MediaError> {
    if !launcher.is_provider(path) {
        return Ok(Arc::new(media::open(path, options)?));
    }
    let held = Arc::new(Held::open(launcher, path, options)?);
    let shared = held.share(path).ok_or(MediaError::Open(Errno::ENXIO))?;
    Ok(Arc::new(shared))
}

#[cfg(test)]
mod tests;

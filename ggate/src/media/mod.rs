//! Local media: regular files, block devices, GEOM providers.
//!
//! A [`Media`] is what a server reads and writes; [`LocalMedia`] is one behind
//! a descriptor. Opening a path ([`open`]) is separate from using it
//! ([`LocalMedia::from_fd`]): on FreeBSD opening a provider for writing may
//! wait for GEOM's event queue (`spec/geom-gate-kernel.md` section 7.4), so
//! that programs that serve a gate leave it to another process, which passes
//! the descriptor on.

mod ioctl;
mod local;

#[cfg(target_os = "freebsd")]
pub use ioctl::SERVING;
pub use local::LocalMedia;

use crate::gate::Access;
use crate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::{self, Mode, SFlag};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Something that holds data. Every call completes or fails: a short transfer
/// is EIO. Callers have checked ranges against [`geometry`](Self::geometry).
pub trait Media: Send + Sync {
    /// Sizes, as of the time of opening.
    fn geometry(&self) -> Geometry;

    /// Fills `buf` from byte `offset` on.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()>;

    /// Writes all of `buf` at byte `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()>;

    /// Brings everything written before to stable storage. A medium without a
    /// volatile cache succeeds.
    fn flush(&self) -> nix::Result<()>;

    /// Tells that the content of `range` is no longer needed. EOPNOTSUPP when
    /// the medium cannot be told. What is read there afterwards is undefined.
    fn delete(&self, range: ByteRange) -> nix::Result<()>;
}

/// How to open a medium.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OpenOptions {
    /// For reading, writing, or both.
    pub access: Access,
    /// Past the host's cache (`O_DIRECT`). Transfers then need aligned buffers
    /// ([`crate::buffer`]) and, on some file systems, offsets and lengths that
    /// are multiples of more than the 512 bytes that files announce.
    pub direct: bool,
    /// A write returns when it is on stable storage (`O_SYNC`).
    pub sync: bool,
}

/// Why a path or descriptor is no medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be opened.
    #[error("{}", .0.desc())]
    Open(Errno),
    /// Directories, fifos, sockets, character devices that are not disks.
    #[error("{0} is neither a regular file nor a disk")]
    NotADisk(&'static str),
    /// Its size cannot be determined.
    #[error("cannot determine its size: {}", .0.desc())]
    Size(Errno),
    /// A disk that is switched to read-only was to be written.
    #[error("the disk is read-only")]
    ReadOnly,
}

impl MediaError {
    /// The error number that says it best.
    #[must_use]
    pub fn errno(self) -> Errno {
        match self {
            Self::Open(error) | Self::Size(error) => error,
            Self::NotADisk(DIRECTORY) => Errno::EISDIR,
            Self::NotADisk(_) => Errno::ENOTBLK,
            Self::ReadOnly => Errno::EROFS,
        }
    }
}

const DIRECTORY: &str = "a directory";

/// Opens a medium. Never waits for the other end of a fifo and never opens
/// what cannot be a disk (opening some devices does something).
pub fn open(path: &Path, options: OpenOptions) -> Result<LocalMedia, MediaError> {
    LocalMedia::from_fd(open_descriptor(path, options)?)
}

/// The first half of [`open`]: a descriptor to be passed on.
pub(crate) fn open_descriptor(path: &Path, options: OpenOptions) -> Result<OwnedFd, MediaError> {
    kind_of(&stat::stat(path).map_err(MediaError::Open)?)?;
    let access = match options.access {
        Access::ReadOnly => OFlag::O_RDONLY,
        Access::WriteOnly => OFlag::O_WRONLY,
        Access::ReadWrite => OFlag::O_RDWR,
    };
    let mut flags = access | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    flags.set(OFlag::O_DIRECT, options.direct);
    flags.set(OFlag::O_SYNC, options.sync);
    fcntl::open(path, flags, Mode::empty()).map_err(MediaError::Open)
}

/// Which file or disk this is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    file_system: libc::dev_t,
    inode: libc::ino_t,
    device: libc::dev_t,
    kind: Kind,
}

impl Identity {
    fn of(stat: &stat::FileStat) -> Result<Self, MediaError> {
        Ok(Self {
            file_system: stat.st_dev,
            inode: stat.st_ino,
            device: stat.st_rdev,
            kind: kind_of(stat)?,
        })
    }

    /// A disk, or a regular file.
    #[must_use]
    pub fn is_disk(self) -> bool {
        self.kind == Kind::Disk
    }
}

/// What a path names at this moment.
pub fn identify(path: &Path) -> Result<Identity, MediaError> {
    Identity::of(&stat::stat(path).map_err(MediaError::Open)?)
}

/// What a medium is, which decides by which calls it is handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    /// A block device, or on FreeBSD a character device that GEOM made.
    Disk,
}

fn kind_of(stat: &stat::FileStat) -> Result<Kind, MediaError> {
    let format = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    match format {
        SFlag::S_IFREG => Ok(Kind::File),
        SFlag::S_IFBLK => Ok(Kind::Disk),
        SFlag::S_IFCHR if cfg!(target_os = "freebsd") => Ok(Kind::Disk),
        SFlag::S_IFCHR => Err(MediaError::NotADisk("a character device")),
        SFlag::S_IFDIR => Err(MediaError::NotADisk(DIRECTORY)),
        SFlag::S_IFIFO => Err(MediaError::NotADisk("a fifo")),
        SFlag::S_IFSOCK => Err(MediaError::NotADisk("a socket")),
        _ => Err(MediaError::NotADisk("this")),
    }
}

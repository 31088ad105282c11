//! A medium behind a descriptor.

use super::{Identity, Kind, Media, MediaError, ioctl};
use crate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use nix::fcntl::{self, FcntlArg, FdFlag, OFlag};
use nix::sys::{stat, uio};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sector size of regular files, as base has it.
const FILE_SECTOR: u32 = 512;

/// A regular file, block device or GEOM provider.
#[derive(Debug)]
pub struct LocalMedia {
    fd: OwnedFd,
    kind: Kind,
    writable: bool,
    geometry: Geometry,
}

impl LocalMedia {
    /// Takes an open descriptor, also one that another process passed; asks it
    /// for its kind, size and access mode.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, MediaError> {
        let kind = identity(fd.as_fd())?.kind;
        let flags = OFlag::from_bits_retain(
            fcntl::fcntl(&fd, FcntlArg::F_GETFL).map_err(MediaError::Open)?,
        );
        // To a disk it means nothing; FreeBSD asks the device whether the flag
        // may change, and GEOM's devices know no such request: ENOTTY.
        if kind == Kind::File {
            let blocking = FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK));
            fcntl::fcntl(&fd, blocking).map_err(MediaError::Open)?;
        }
        fcntl::fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(MediaError::Open)?;
        let writable = flags & OFlag::O_ACCMODE != OFlag::O_RDONLY;
        let geometry = measure(fd.as_fd(), kind)?;
        if kind == Kind::Disk && writable && ioctl::is_read_only(fd.as_fd()) {
            return Err(MediaError::ReadOnly);
        }
        Ok(Self {
            fd,
            kind,
            writable,
            geometry,
        })
    }

    /// Its sizes at this moment; ENXIO when the disk is gone.
    pub fn measure(&self) -> Result<Geometry, MediaError> {
        measure(self.as_fd(), self.kind)
    }

    /// Which file or disk it is.
    pub fn identity(&self) -> Result<Identity, MediaError> {
        identity(self.as_fd())
    }
}

fn identity(fd: BorrowedFd<'_>) -> Result<Identity, MediaError> {
    Identity::of(&stat::fstat(fd).map_err(MediaError::Open)?)
}

fn measure(fd: BorrowedFd<'_>, kind: Kind) -> Result<Geometry, MediaError> {
    let (media_size, sector_size) = match kind {
        Kind::File => {
            let size = stat::fstat(fd).map_err(MediaError::Size)?.st_size;
            (u64::try_from(size).unwrap_or(0), FILE_SECTOR)
        }
        Kind::Disk => ioctl::sizes(fd).map_err(|error| match error {
            Errno::ENOTTY | Errno::ENODEV => MediaError::NotADisk("this device"),
            other => MediaError::Size(other),
        })?,
    };
    Ok(Geometry {
        media_size,
        sector_size,
    })
}

impl AsFd for LocalMedia {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Media for LocalMedia {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match uio::pread(&self.fd, &mut buf[done..], position(offset, done)?) {
                Ok(0) => return Err(Errno::EIO),
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match uio::pwrite(&self.fd, &buf[done..], position(offset, done)?) {
                Ok(0) => return Err(Errno::EIO),
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was opened for reading only has nothing to flush; FreeBSD would
    /// refuse it. A disk that does not know the request (EOPNOTSUPP, ENOTTY)
    /// has no volatile cache: success.
    fn flush(&self) -> nix::Result<()> {
        if !self.writable {
            return Ok(());
        }
        match self.kind {
            Kind::File => nix::unistd::fdatasync(&self.fd),
            Kind::Disk => match ioctl::flush(self.as_fd()) {
                Err(Errno::EOPNOTSUPP | Errno::ENOTTY) => Ok(()),
                result => result,
            },
        }
    }

    fn delete(&self, range: ByteRange) -> nix::Result<()> {
        if range.length == 0 {
            return Ok(());
        }
        match self.kind {
            Kind::File => punch(self.as_fd(), range),
            Kind::Disk => ioctl::delete(self.as_fd(), range).map_err(|error| match error {
                Errno::ENOTTY => Errno::EOPNOTSUPP,
                other => other,
            }),
        }
    }
}

fn position(offset: u64, done: usize) -> nix::Result<libc::off_t> {
    let position = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
    libc::off_t::try_from(position).map_err(|_| Errno::EINVAL)
}

/// Gives a file's blocks back; they read as zeros.
#[cfg(target_os = "linux")]
fn punch(fd: BorrowedFd<'_>, range: ByteRange) -> nix::Result<()> {
    use fcntl::FallocateFlags;
    fcntl::fallocate(
        fd,
        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        position(range.offset, 0)?,
        position(range.length, 0)?,
    )
}

/// fspacectl(2) came with FreeBSD 14; programs that use it do not start on 13.
#[cfg(target_os = "freebsd")]
fn punch(_: BorrowedFd<'_>, _: ByteRange) -> nix::Result<()> {
    Err(Errno::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::super::{OpenOptions, open};
    use super::*;
    use crate::gate::Access;
    use std::io::Write as _;
    use std::path::Path;

    fn file(size: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        file
    }

    fn access(access: Access) -> OpenOptions {
        OpenOptions {
            access,
            ..OpenOptions::default()
        }
    }

    fn error(path: &Path, access: OpenOptions) -> Errno {
        open(path, access).unwrap_err().errno()
    }

    #[test]
    fn a_file_is_read_and_written_in_whole() {
        let file = file(1 << 20);
        let media = open(file.path(), OpenOptions::default()).unwrap();
        assert_eq!(media.geometry().media_size, 1 << 20);
        assert_eq!(media.geometry().sector_size, 512);
        media.write_at(&[7; 8192], 4096).unwrap();
        let mut buf = [0; 8192];
        media.read_at(&mut buf, 8192).unwrap();
        assert_eq!(buf[..4096], [7; 4096]);
        assert_eq!(buf[4096..], [0; 4096]);
        media.flush().unwrap();
    }

    #[test]
    fn a_read_that_meets_the_end_of_the_file_fails() {
        let file = file(8192);
        let media = open(file.path(), OpenOptions::default()).unwrap();
        file.as_file().set_len(4608).unwrap();
        assert_eq!(media.read_at(&mut [0; 4096], 4096), Err(Errno::EIO));
        assert_eq!(media.read_at(&mut [0; 512], 4096), Ok(()));
    }

    #[test]
    fn offsets_beyond_the_system_s_are_refused() {
        let file = file(512);
        let media = open(file.path(), OpenOptions::default()).unwrap();
        assert_eq!(media.read_at(&mut [0; 512], u64::MAX), Err(Errno::EINVAL));
        assert_eq!(media.write_at(&[0; 512], 1 << 63), Err(Errno::EINVAL));
    }

    #[test]
    fn access_modes_hold() {
        let mut file = file(0);
        file.write_all(&[1; 512]).unwrap();
        let reader = open(file.path(), access(Access::ReadOnly)).unwrap();
        assert_eq!(reader.write_at(&[0; 512], 0), Err(Errno::EBADF));
        assert_eq!(reader.flush(), Ok(()));
        let writer = open(file.path(), access(Access::WriteOnly)).unwrap();
        assert_eq!(writer.read_at(&mut [0; 512], 0), Err(Errno::EBADF));
        assert_eq!(writer.write_at(&[2; 512], 0), Ok(()));
    }

    #[test]
    fn what_is_no_disk_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(error(dir.path(), access(Access::ReadOnly)), Errno::EISDIR);
        assert_eq!(error(dir.path(), OpenOptions::default()), Errno::EISDIR);
        let null = Path::new("/dev/null");
        assert_eq!(error(null, OpenOptions::default()), Errno::ENOTBLK);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, stat::Mode::S_IRWXU).unwrap();
        for mode in [Access::ReadOnly, Access::WriteOnly, Access::ReadWrite] {
            assert_eq!(error(&fifo, access(mode)), Errno::ENOTBLK);
        }
        let missing = dir.path().join("missing");
        assert_eq!(error(&missing, OpenOptions::default()), Errno::ENOENT);
    }

    #[test]
    fn a_passed_descriptor_is_blocking_and_not_inherited() {
        let file = file(512);
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let fd = fcntl::open(file.path(), flags, stat::Mode::empty()).unwrap();
        let media = LocalMedia::from_fd(fd).unwrap();
        let flags = fcntl::fcntl(&media.fd, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
        let flags = fcntl::fcntl(&media.fd, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn deleted_ranges_of_a_file_read_as_zeros() {
        let file = file(0);
        file.as_file().set_len(16 << 10).unwrap();
        let media = open(file.path(), OpenOptions::default()).unwrap();
        media.write_at(&[7; 16 << 10], 0).unwrap();
        media.delete(ByteRange::new(4096, 8192)).unwrap();
        media.delete(ByteRange::new(0, 0)).unwrap();
        let mut buf = [1; 16 << 10];
        media.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf[..4096], [7; 4096]);
        assert_eq!(buf[4096..12288], [0; 8192]);
        assert_eq!(buf[12288..], [7; 4 << 10]);
        assert_eq!(file.as_file().metadata().unwrap().len(), 16 << 10);
    }
}

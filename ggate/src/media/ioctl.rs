//! What disks are asked beyond reading and writing.
//!
//! FreeBSD: `sys/disk.h`. Linux: `linux/fs.h`.

#![allow(unsafe_code)] // ioctl(2)

use crate::range::ByteRange;
use std::os::fd::{AsRawFd as _, BorrowedFd};

#[cfg(target_os = "freebsd")]
mod ffi {
    nix::ioctl_read!(diocgsectorsize, b'd', 128, libc::c_uint);
    nix::ioctl_read!(diocgmediasize, b'd', 129, libc::off_t);
    nix::ioctl_none!(diocgflush, b'd', 135);
    nix::ioctl_write_ptr!(diocgdelete, b'd', 136, [libc::off_t; 2]);
}

/// The calls that are made while a disk is served.
#[cfg(target_os = "freebsd")]
pub const SERVING: [libc::c_ulong; 2] = [
    nix::request_code_none!(b'd', 135),
    nix::request_code_write!(b'd', 136, size_of::<[libc::off_t; 2]>()),
];

#[cfg(target_os = "linux")]
mod ffi {
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), libc::c_int);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), libc::c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, libc::size_t);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
}

/// Media size and sector size in bytes.
#[cfg(target_os = "freebsd")]
pub(super) fn sizes(fd: BorrowedFd<'_>) -> nix::Result<(u64, u32)> {
    let (mut media, mut sector) = (0, 0);
    // SAFETY: both calls write one value of the type their pointer has.
    unsafe {
        ffi::diocgmediasize(fd.as_raw_fd(), &raw mut media)?;
        ffi::diocgsectorsize(fd.as_raw_fd(), &raw mut sector)?;
    }
    let media = u64::try_from(media).map_err(|_| nix::errno::Errno::EINVAL)?;
    Ok((media, sector))
}

/// Media size and sector size in bytes.
#[cfg(target_os = "linux")]
pub(super) fn sizes(fd: BorrowedFd<'_>) -> nix::Result<(u64, u32)> {
    // The request number says size_t, the call writes a u64: the same here.
    let (mut media, mut sector) = (0, 0);
    // SAFETY: both calls write one value of the type their pointer has.
    unsafe {
        ffi::blkgetsize64(fd.as_raw_fd(), &raw mut media)?;
        ffi::blksszget(fd.as_raw_fd(), &raw mut sector)?;
    }
    let sector = u32::try_from(sector).map_err(|_| nix::errno::Errno::EINVAL)?;
    Ok((media as u64, sector))
}

/// Whether the disk was switched to read-only. FreeBSD refuses to open such a
/// disk for writing; Linux may not.
#[cfg(target_os = "linux")]
pub(super) fn is_read_only(fd: BorrowedFd<'_>) -> bool {
    let mut answer = 0;
    // SAFETY: the call writes one int.
    let result = unsafe { ffi::blkroget(fd.as_raw_fd(), &raw mut answer) };
    result.is_ok() && answer != 0
}

/// See the Linux half.
#[cfg(target_os = "freebsd")]
pub(super) fn is_read_only(_: BorrowedFd<'_>) -> bool {
    false
}

/// Empties the disk's volatile cache.
#[cfg(target_os = "freebsd")]
pub(super) fn flush(fd: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the call takes no argument.
    unsafe { ffi::diocgflush(fd.as_raw_fd()) }.map(drop)
}

/// Empties the disk's volatile cache; fsync reaches it, too.
#[cfg(target_os = "linux")]
pub(super) fn flush(fd: BorrowedFd<'_>) -> nix::Result<()> {
    nix::unistd::fdatasync(fd)
}

/// Tells the disk that the range is no longer needed.
#[cfg(target_os = "freebsd")]
pub(super) fn delete(fd: BorrowedFd<'_>, range: ByteRange) -> nix::Result<()> {
    let number = |n| libc::off_t::try_from(n).map_err(|_| nix::errno::Errno::EINVAL);
    let range = [number(range.offset)?, number(range.length)?];
    // SAFETY: the call reads two off_t.
    unsafe { ffi::diocgdelete(fd.as_raw_fd(), &raw const range) }.map(drop)
}

/// Tells the disk that the range is no longer needed.
#[cfg(target_os = "linux")]
pub(super) fn delete(fd: BorrowedFd<'_>, range: ByteRange) -> nix::Result<()> {
    let range = [range.offset, range.length];
    // SAFETY: the call reads two u64.
    unsafe { ffi::blkdiscard(fd.as_raw_fd(), &raw const range) }.map(drop)
}

//! FreeBSD's part: jail(2) and capsicum(4).

use super::{Root, SandboxError};
use crate::log;
use capsicum::{CapRights, FileRights, IoctlsBuilder, Right};
use ggate::gate::{Files, kernel};
use ggate::media;
use nix::errno::Errno;
use nix::unistd;
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// As in base, chroot(2) must do where jails cannot be made: inside one.
pub(super) fn change_root(home: &Path, title: &str) -> Result<Root, SandboxError> {
    let root = match jail(home, title) {
        Ok(()) => Root::Jail,
        Err(errno) => {
            log::warning!(
                "Cannot jail this process, using chroot(2): {}.",
                errno.desc()
            );
            unistd::chroot(home).map_err(|errno| SandboxError::Call {
                step: "change the root directory",
                errno,
            })?;
            Root::Chroot
        }
    };
    unistd::chdir("/").map_err(|errno| SandboxError::Call {
        step: "enter the root directory",
        errno,
    })?;
    Ok(root)
}

#[allow(unsafe_code, reason = "nix has no jail(2)")]
fn jail(home: &Path, title: &str) -> nix::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = CString::new(home.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let hostname = CString::new(title).map_err(|_| Errno::EINVAL)?;
    let mut jail = libc::jail {
        version: libc::JAIL_API_VERSION,
        path: path.as_ptr().cast_mut(),
        hostname: hostname.as_ptr().cast_mut(),
        jailname: std::ptr::null_mut(),
        ip4s: 0,
        ip6s: 0,
        ip4: std::ptr::null_mut(),
        ip6: std::ptr::null_mut(),
    };
    // SAFETY: the strings end with a NUL, outlive the call and are only read;
    // there are no addresses and no name.
    Errno::result(unsafe { libc::jail(&raw mut jail) }).map(drop)
}

/// Whether this process is in capability mode now. As in base, a kernel
/// without it is no error.
pub(super) fn restrict() -> bool {
    match capsicum::enter() {
        Ok(()) => true,
        Err(error) => {
            log::debug!(1, "Cannot enter capability mode: {error}.");
            false
        }
    }
}

/// What base allows, and fsync(2): a file has no ioctl for it.
pub(super) fn limit_component(file: BorrowedFd<'_>) -> Result<(), SandboxError> {
    let rights = [
        Right::Flock,
        Right::Fsync,
        Right::Ioctl,
        Right::Pread,
        Right::Pwrite,
    ];
    limit("limit the component", file, &rights, &media::SERVING)
}

pub(super) fn limit_gate(files: Files<'_>) -> Result<(), SandboxError> {
    let step = "limit the gate";
    limit(step, files.control, &[Right::Ioctl], &kernel::SERVING)?;
    limit(step, files.lock, &[Right::Flock], &[])
}

pub(super) fn limit_socket(socket: BorrowedFd<'_>) -> Result<(), SandboxError> {
    let rights = [
        Right::Event,
        Right::Getpeername,
        Right::Getsockopt,
        Right::Read,
        Right::Setsockopt,
        Right::Shutdown,
        Right::Write,
    ];
    limit("limit a socket", socket, &rights, &[])
}

/// A kernel without Capsicum limits nothing, which is no error.
fn limit(
    step: &'static str,
    file: BorrowedFd<'_>,
    rights: &[Right],
    ioctls: &[libc::c_ulong],
) -> Result<(), SandboxError> {
    let mut allowed = FileRights::new();
    for right in rights {
        allowed.allow(*right);
    }
    let mut numbers = IoctlsBuilder::new();
    for ioctl in ioctls {
        numbers = numbers.allow(*ioctl);
    }
    let limited = match allowed.limit(&file) {
        // Limiting its calls takes the right to make some.
        Ok(()) if !ioctls.is_empty() => numbers.finalize().limit(&file),
        limited => limited,
    };
    match limited.map_err(|error| errno(&error)) {
        Ok(()) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(SandboxError::Call { step, errno }),
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

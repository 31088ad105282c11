//! Linux's part: a root directory that is no more.

use super::{Root, SandboxError};
use crate::log;
use ggate::gate::Files;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::unistd;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// `hast`'s home may be anything here, and `nobody`'s is; a directory without
/// a name is empty and stays so. Containers may not allow it.
#[expect(clippy::unnecessary_wraps, reason = "FreeBSD's may fail")]
pub(super) fn change_root(_home: &Path, _title: &str) -> Result<Root, SandboxError> {
    match enter_nowhere() {
        Ok(()) => Ok(Root::Chroot),
        Err(errno) => {
            log::debug!(1, "Cannot leave the file system: {}.", errno.desc());
            Ok(Root::Unchanged)
        }
    }
}

fn enter_nowhere() -> nix::Result<()> {
    let template = std::env::temp_dir().join("hast-XXXXXX");
    let path = unistd::mkdtemp(&template)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = open(&path, flags, Mode::empty());
    std::fs::remove_dir(&path).map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
    unistd::fchdir(directory?)?;
    unistd::chroot(".")?;
    unistd::chdir("/")
}

/// Whether descriptors are limited, too: they are not.
pub(super) fn restrict() -> bool {
    if let Err(errno) = prctl::set_no_new_privs() {
        log::debug!(1, "Cannot refuse new privileges: {}.", errno.desc());
    }
    false
}

#[expect(clippy::unnecessary_wraps, reason = "FreeBSD's may fail")]
pub(super) fn limit_component(_: BorrowedFd<'_>) -> Result<(), SandboxError> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "FreeBSD's may fail")]
pub(super) fn limit_gate(_: Files<'_>) -> Result<(), SandboxError> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "FreeBSD's may fail")]
pub(super) fn limit_socket(_: BorrowedFd<'_>) -> Result<(), SandboxError> {
    Ok(())
}

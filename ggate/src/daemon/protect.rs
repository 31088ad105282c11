//! Keeping a process that serves a gate alive and its kernel module loaded.
//!
//! When memory is short the kernel writes dirty pages out, some of them to our
//! gate. Killing or paging out the process that must take them would deadlock
//! the machine (`spec/ggate-wire-and-cli.md` section 16 row 35).

use crate::log;
use nix::sys::mman::{MlockAllFlags, mlockall};
use std::io;

/// Environment variable: 1 wires all memory of a serving process.
const MLOCK_VARIABLE: &str = "GGATE_MLOCKALL";

/// Protects this process, as far as it may: from the out-of-memory killer when
/// it runs as root, and from paging with `GGATE_MLOCKALL=1`. Call it in the
/// daemon after the last fork; neither is inherited everywhere.
pub fn protect() {
    if nix::unistd::geteuid().is_root()
        && let Err(e) = protect_from_oom()
    {
        log::debug!("Cannot protect the process from the out-of-memory killer: {e}.");
    }
    if std::env::var_os(MLOCK_VARIABLE).is_some_and(|v| v == "1")
        && let Err(e) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
    {
        log::warning!("{MLOCK_VARIABLE}=1, but memory cannot be wired: {e}.");
    }
}

#[cfg(target_os = "linux")]
fn protect_from_oom() -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", "-1000")
}

#[cfg(target_os = "freebsd")]
fn protect_from_oom() -> io::Result<()> {
    let mut flags = libc::PPROT_SET;
    // SAFETY: PROC_SPROTECT reads one int through the pointer (procctl(2)).
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::procctl(
            libc::P_PID,
            libc::id_t::from(std::process::id()),
            libc::PROC_SPROTECT,
            (&raw mut flags).cast(),
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn protect_from_oom() -> io::Result<()> {
    Ok(())
}

/// Loads a kernel module from `file` (`geom_gate`) unless a module `name`
/// (`g_gate`) is there.
#[cfg(target_os = "freebsd")]
pub(crate) fn load_module(file: &std::ffi::CStr, name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: both take a NUL-terminated string and keep nothing of it (kld(3)).
    #[allow(unsafe_code)]
    let result = unsafe {
        if libc::kld_isloaded(name.as_ptr()) != 0 {
            return Ok(());
        }
        libc::kld_load(file.as_ptr())
    };
    match nix::errno::Errno::result(result) {
        // Somebody else has loaded it meanwhile.
        Ok(_) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

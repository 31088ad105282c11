//! Helpers as processes.

use super::{Launcher, Request};
use crate::daemon;
use crate::media::{self, Identity, OpenOptions};
use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the program that is running, again, for each provider. Opened once: an
/// upgrade in between cannot mix versions.
#[derive(Debug)]
pub struct Processes {
    program: &'static str,
    binary: File,
}

impl Processes {
    /// Helpers of the running program, which is called this.
    pub fn new(program: &'static str) -> io::Result<Self> {
        let binary = File::open(std::env::current_exe()?)?;
        Ok(Self::with_binary(program, binary))
    }

    /// Helpers that run `binary`, whose `main` must look for a
    /// [`Request`] first of all.
    #[must_use]
    pub const fn with_binary(program: &'static str, binary: File) -> Self {
        Self { program, binary }
    }
}

impl Launcher for Processes {
    fn is_provider(&self, path: &Path) -> bool {
        media::identify(path).is_ok_and(Identity::is_disk)
    }

    fn launch(&self, path: &Path, options: OpenOptions) -> io::Result<UnixStream> {
        let request = Request {
            path: path.into(),
            options,
        };
        let (ours, theirs) = UnixStream::pair()?;
        let exec = Exec {
            binary: self.binary.try_clone()?.into(),
            arguments: Strings::new(request.to_args(self.program))?,
            environment: Strings::new(std::env::vars_os().map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            }))?,
        };
        // The name is not used: `exec` never returns but with an error.
        let mut command = Command::new(self.program);
        command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: between fork and exec there is one system call, and no
        // allocation: its arguments were made before.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || exec.run());
        }
        let mut child = command.spawn()?;
        // It may take for ever to end; only this thread waits for that.
        daemon::spawn("reaper", move || child.wait())?;
        Ok(ours)
    }
}

/// The arguments of fexecve(2).
struct Exec {
    binary: OwnedFd,
    arguments: Strings,
    environment: Strings,
}

impl Exec {
    fn run(&self) -> io::Result<()> {
        // SAFETY: both are arrays of strings as exec wants them.
        #[allow(unsafe_code)]
        unsafe {
            libc::fexecve(
                self.binary.as_raw_fd(),
                self.arguments.pointers.as_ptr(),
                self.environment.pointers.as_ptr(),
            );
        }
        Err(io::Error::last_os_error())
    }
}

/// Strings, and an array of pointers to them that ends with a null.
struct Strings {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers are to strings that live as long and never change.
#[allow(unsafe_code)]
unsafe impl Send for Strings {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Strings {}

impl Strings {
    fn new(strings: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let strings = strings
            .into_iter()
            .map(|string| CString::new(OsStr::as_bytes(&string)))
            .collect::<Result<Vec<_>, _>>()?;
        let ends = std::iter::once(std::ptr::null());
        Ok(Self {
            pointers: strings.iter().map(|s| s.as_ptr()).chain(ends).collect(),
            _strings: strings,
        })
    }
}

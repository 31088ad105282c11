//! Helpers as processes.

use super::{Launcher, Request};
use crate::daemon::{self, Exec};
use crate::media::{self, Identity, OpenOptions};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

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
        let arguments = request.to_args(self.program);
        let mut command = Exec::new(&self.binary, arguments)?.command(self.program);
        command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        // It may take for ever to end; only this thread waits for that.
        daemon::spawn("reaper", move || child.wait())?;
        Ok(ours)
    }
}

//! What a daemon does around its work.
//!
//! Base daemonises first and sets up later, so that its exit status says
//! nothing and its errors reach only syslog (`spec/ggate-wire-and-cli.md`
//! sections 9 and 16 row 17). Here the program forks while it has one thread,
//! the child does the whole set-up with the terminal still in its hands, and
//! the parent's exit status is the set-up's: see [`start`].

mod exec;
mod pidfile;
mod protect;
mod signals;

pub use exec::Exec;
pub use pidfile::{PidFile, PidFileError};
#[cfg(target_os = "freebsd")]
pub(crate) use protect::load_module;
pub use protect::protect;
pub use signals::{Signal, on_signals};

use crate::log::{self, Sink};
use nix::poll::{PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whether the program stays where it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Leave the terminal once ready.
    Background,
    /// Stay (`-v`).
    Foreground,
}

impl Mode {
    /// What `-v` means.
    #[must_use]
    pub const fn foreground_if(verbose: bool) -> Self {
        if verbose {
            Self::Foreground
        } else {
            Self::Background
        }
    }
}

/// Which process this is after [`start`].
#[derive(Debug)]
pub enum Start {
    /// The one the user started; `main` returns this status.
    Parent(ExitCode),
    /// The one that does the work.
    Daemon(Readiness),
}

/// Begins a daemon. Call it while the process has one thread and before
/// anything is opened that two processes should not share.
///
/// In the background this forks. The parent waits until the child calls
/// [`Readiness::detach`] or ends, and passes its exit status on: 0 means that
/// the daemon is ready. In the foreground nothing happens.
pub fn start(mode: Mode) -> io::Result<Start> {
    if mode == Mode::Foreground {
        return Ok(Start::Daemon(Readiness { parent: None }));
    }
    let (reader, writer) = io::pipe()?;
    match fork()? {
        ForkResult::Parent { child } => {
            drop(writer);
            Ok(Start::Parent(wait_for(child, reader)?))
        }
        ForkResult::Child => {
            drop(reader);
            log::forked();
            Ok(Start::Daemon(Readiness {
                parent: Some(writer),
            }))
        }
    }
}

/// [`start`]s a daemon called `program` and runs it: messages go where `mode`
/// wants them, an error is logged as the reason of its end, and the result is
/// what `main` returns.
pub fn run<E: Display>(
    program: &'static str,
    mode: Mode,
    daemon: impl FnOnce(Readiness) -> Result<(), E>,
) -> ExitCode {
    log::start(
        program,
        match mode {
            Mode::Foreground => Sink::Foreground,
            Mode::Background => Sink::Starting,
        },
    );
    match start(mode) {
        Ok(Start::Parent(status)) => status,
        Ok(Start::Daemon(ready)) => match daemon(ready) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => log::fatal(format_args!("{why}.")),
        },
        Err(error) => log::fatal(format_args!(
            "Cannot start a daemon: {}.",
            crate::errno::words(&error)
        )),
    }
}

/// The daemon's obligation to say that it is ready. Dropped without that, the
/// parent waits for the daemon's end and takes over its exit status.
#[must_use = "the program that started the daemon waits for it"]
#[derive(Debug)]
pub struct Readiness {
    parent: Option<PipeWriter>,
}

impl Readiness {
    /// Leaves the terminal: new session, working directory `/`, standard
    /// descriptors to `/dev/null`, messages to syslog alone. Then lets the
    /// parent exit with 0. Paths that are used later must be absolute by now.
    ///
    /// In the foreground nothing happens.
    pub fn detach(self) -> io::Result<()> {
        let Some(mut parent) = self.parent else {
            return Ok(());
        };
        nix::unistd::setsid()?;
        std::env::set_current_dir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        io::stdout().flush()?;
        log::detached();
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        match parent.write_all(&[READY]) {
            // The parent was killed; the daemon is ready all the same.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// What the daemon writes to its parent; only that something comes matters.
const READY: u8 = 1;

/// The parent's part: a byte is success, end of file the child's own status.
fn wait_for(child: Pid, mut ready: PipeReader) -> io::Result<ExitCode> {
    if ready.read(&mut [0])? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    match waitpid(child, None)? {
        WaitStatus::Exited(_, code) => Ok(u8::try_from(code).map_or(ExitCode::FAILURE, Into::into)),
        WaitStatus::Signaled(_, signal, _) => Err(io::Error::other(format!(
            "ended by {signal} before it was ready"
        ))),
        other => Err(io::Error::other(format!("unexpected end: {other:?}"))),
    }
}

/// Closes everything but the standard descriptors: what whoever started the
/// program has left open by mistake would stay open in every process that it
/// starts. Call it first of all.
pub fn close_inherited() {
    // SAFETY: the program has opened nothing yet, so nobody owns what is
    // closed.
    #[allow(unsafe_code)]
    unsafe {
        #[cfg(target_os = "linux")]
        libc::close_range(3, libc::c_uint::MAX, 0);
        #[cfg(target_os = "freebsd")]
        libc::closefrom(3);
    }
}

fn fork() -> nix::Result<ForkResult> {
    debug_assert!(single_threaded(), "fork with several threads");
    // SAFETY: the process has one thread, so no lock can be held and no
    // invariant half restored by a thread that the child lacks.
    #[allow(unsafe_code)]
    unsafe {
        nix::unistd::fork()
    }
}

/// Whether this is the only thread, as far as the system tells.
fn single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// Starts a thread under a name that `top -H` shows (at most 15 bytes on
/// Linux). The names are base's: `sendtd`, `recvtd`, `disktd`.
///
/// The main thread has no such call on purpose: on Linux its name is the
/// process's, and `pkill ggatec` must go on finding it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

/// Sleeps. `std::thread::sleep` makes a system call that FreeBSD denies to who
/// is in capability mode (`clock_nanosleep`), and panics when it is denied.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Whole milliseconds, so rather one too many than none.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
        // An interruption is noticed above.
        let _ = poll(&mut [], timeout.unwrap_or(PollTimeout::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_it_should_be() {
        for time in [0, 1, 1500, 20_000].map(Duration::from_micros) {
            let begin = Instant::now();
            pause(time);
            assert!(begin.elapsed() >= time, "{time:?}");
        }
    }
}

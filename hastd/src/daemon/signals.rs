//! Signals as something that poll(2) waits for.

use nix::poll::PollFlags;
use signal_hook::consts;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

/// What somebody wants of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT: end in order.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGINFO, or SIGUSR1 where there is none: say what goes on.
    Report,
    /// SIGCHLD: a process has ended.
    Child,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const REPORT: i32 = consts::SIGUSR1;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const REPORT: i32 = consts::SIGINFO;

/// Signals that came.
#[derive(Debug)]
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Those of the daemon's children alone: what tests have of it.
    pub(super) fn of_children() -> io::Result<Self> {
        Self::of(&[consts::SIGCHLD])
    }

    /// All of them.
    pub(super) fn all() -> io::Result<Self> {
        Self::of(&[
            consts::SIGTERM,
            consts::SIGINT,
            consts::SIGHUP,
            REPORT,
            consts::SIGCHLD,
        ])
    }

    fn of(signals: &[i32]) -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let delivery = SignalDelivery::with_pipe(reader, writer, SignalOnly, signals)?;
        Ok(Self(delivery))
    }

    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.0.get_read().as_fd(), PollFlags::POLLIN)
    }

    /// Those that came; several of a kind may be one.
    pub(super) fn pending(&mut self) -> Vec<Signal> {
        let meaning = |number| match number {
            consts::SIGTERM | consts::SIGINT => Some(Signal::Terminate),
            consts::SIGHUP => Some(Signal::Reload),
            REPORT => Some(Signal::Report),
            consts::SIGCHLD => Some(Signal::Child),
            _ => None,
        };
        self.0.pending().filter_map(meaning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollTimeout, poll};

    #[test]
    fn a_child_that_ends_ends_the_waiting() {
        let mut signals = Signals::of_children().unwrap();
        std::process::Command::new("true").status().unwrap();
        let (fd, flags) = signals.interest();
        let mut fds = [PollFd::new(fd, flags)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000u16)), Ok(1));
        assert!(signals.pending().contains(&Signal::Child));
    }
}

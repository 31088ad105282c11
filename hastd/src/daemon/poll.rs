//! Everything the daemon waits for, in one poll(2).

use ggate::crowd::Id;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What a descriptor belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Signals.
    Signals,
    /// Threads that have something to tell.
    Threads,
    /// The control socket.
    Control,
    /// A client of it.
    Client(u64),
    /// A socket that peers connect to, by its number.
    Listener(usize),
    /// Somebody who has connected there.
    Stranger(Id),
    /// A primary between its two steps: the resource.
    Caller(u64),
    /// The worker of a resource.
    Worker(u64),
}

/// What is waited for, collected anew each time.
#[derive(Default)]
pub(crate) struct Interests<'fd> {
    sources: Vec<Source>,
    fds: Vec<PollFd<'fd>>,
    due: Option<Instant>,
}

impl<'fd> Interests<'fd> {
    /// Waits for a descriptor to be ready; hang-ups and errors are always
    /// reported.
    pub(crate) fn add(&mut self, source: Source, fd: BorrowedFd<'fd>, flags: PollFlags) {
        self.sources.push(source);
        self.fds.push(PollFd::new(fd, flags));
    }

    /// Waits no longer than this.
    pub(crate) fn until(&mut self, due: Option<Instant>) {
        self.due = match (self.due, due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Waits; gives what is ready.
    pub(crate) fn wait(&mut self) -> Result<Vec<(Source, PollFlags)>, Errno> {
        match poll(&mut self.fds, timeout(self.due, Instant::now())) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let ready = self.sources.iter().zip(&self.fds);
        let ready = ready.filter_map(|(source, fd)| {
            let flags = fd.revents().filter(|flags| !flags.is_empty())?;
            Some((*source, flags))
        });
        Ok(ready.collect())
    }
}

/// Rounded up: what is due is due when poll(2) is over.
fn timeout(due: Option<Instant>, now: Instant) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    let left = due.saturating_duration_since(now) + Duration::from_micros(999);
    PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_before_it_is_due() {
        let now = Instant::now();
        let after = |micros| Some(now + Duration::from_micros(micros));
        assert_eq!(timeout(None, now), PollTimeout::NONE);
        assert_eq!(timeout(Some(now), now), PollTimeout::ZERO);
        assert_eq!(timeout(after(1), now), PollTimeout::from(1u8));
        assert_eq!(timeout(after(1_000), now), PollTimeout::from(1u8));
        assert_eq!(timeout(after(1_001), now), PollTimeout::from(2u8));
        assert_eq!(timeout(after(u64::MAX / 4), now), PollTimeout::MAX);
    }
}

//! How threads tell the loop that they have something for it.

use nix::poll::PollFlags;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The loop's end.
#[derive(Debug)]
pub(super) struct Bell(UnixStream);

/// A thread's end.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

impl Bell {
    pub(super) fn new() -> io::Result<(Self, Waker)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Self(ours), Waker(Arc::new(theirs))))
    }

    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.0.as_fd(), PollFlags::POLLIN)
    }

    /// Before what the threads left is looked at.
    pub(super) fn silence(&self) {
        while matches!((&self.0).read(&mut [0; 64]), Ok(1..)) {}
    }
}

impl Waker {
    pub(crate) fn wake(&self) {
        // Full: it rings already.
        let _ = (&*self.0).write(&[1]);
    }
}

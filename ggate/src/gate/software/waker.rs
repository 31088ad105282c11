//! A wake-up for one thread that sleeps in poll(2), free of system calls while
//! nobody sleeps.
//!
//! The sleeper calls [`Waker::begin`], looks at everything it waits for, and
//! sleeps only when [`Waker::may_sleep`] says that nothing was announced in
//! between. Whoever changes something announces it afterwards with
//! [`Waker::wake`]. Sequential consistency of the two marks makes one of both
//! see the other.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[derive(Debug)]
pub(super) struct Waker {
    out: OwnedFd,
    into: OwnedFd,
    kicked: AtomicBool,
    asleep: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> nix::Result<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self {
            out,
            into,
            kicked: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
        })
    }

    /// Something changed.
    pub(super) fn wake(&self) {
        self.kicked.store(true, SeqCst);
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            // The pipe is full only when it is readable anyway.
            let _ = write(&self.into, &[0]);
        }
    }

    /// From here on changes count.
    pub(super) fn begin(&self) {
        self.kicked.store(false, SeqCst);
    }

    /// Whether nothing changed since [`Self::begin`]. When true, poll(2) and
    /// then [`Self::slept`] follow.
    pub(super) fn may_sleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        if self.kicked.load(SeqCst) {
            self.slept(false);
            return false;
        }
        true
    }

    /// After poll(2); `readable` as it was said of [`AsFd`].
    pub(super) fn slept(&self, readable: bool) {
        self.asleep.store(false, SeqCst);
        if readable {
            let mut bytes = [0; 64];
            while read(&self.out, &mut bytes) == Err(Errno::EINTR) {}
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.out.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn sleep(waker: &Waker) {
        let mut fds = [PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(10_000u16)).unwrap();
        assert_eq!(ready, 1, "the wake-up was lost");
        waker.slept(true);
    }

    #[test]
    fn no_change_goes_unnoticed() {
        const ROUNDS: usize = 20_000;
        let waker = Arc::new(Waker::new().unwrap());
        let value = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(AtomicUsize::new(0));
        let writer = std::thread::spawn({
            let (waker, value, seen) = (waker.clone(), value.clone(), seen.clone());
            move || {
                for round in 1..=ROUNDS {
                    value.store(round, SeqCst);
                    waker.wake();
                    while seen.load(SeqCst) < round {
                        std::thread::yield_now();
                    }
                }
            }
        });
        while seen.load(SeqCst) < ROUNDS {
            waker.begin();
            let now = value.load(SeqCst);
            if now > seen.load(SeqCst) {
                seen.store(now, SeqCst);
            } else if waker.may_sleep() {
                sleep(&waker);
            }
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_wake_up_before_the_sleep_prevents_it() {
        let waker = Waker::new().unwrap();
        waker.begin();
        waker.wake();
        assert!(!waker.may_sleep());
        waker.begin();
        assert!(waker.may_sleep());
        waker.wake();
        sleep(&waker);
    }
}

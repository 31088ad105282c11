//! Flushes of the component, of its data, its map and its metadata.
//!
//! That something could not be written the system tells once, to one of those
//! who flush at that moment; the next hears that all is well. The machine must
//! hear the bad news first: hast-core's `primary::Action::Local`. So one flush
//! runs at a time, for all who wait, and until a failure was told every other
//! flush fails, too.

use ggate::media::Media;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

pub(super) struct Flushes {
    component: Arc<dyn Media>,
    state: Mutex<State>,
    something_ended: Condvar,
}

/// Flushes have numbers.
#[derive(Default)]
struct State {
    begun: u64,
    ended: u64,
    /// The last that failed.
    failed: u64,
    /// Callers that heard of a failure and have not told the machine.
    untold: u32,
}

impl Flushes {
    pub(super) fn of(component: Arc<dyn Media>) -> Self {
        Self {
            component,
            state: Mutex::default(),
            something_ended: Condvar::new(),
        }
    }

    /// Flushes all that was written before. Whoever gets an error tells the
    /// machine, then [`Self::told`].
    pub(super) fn flush(&self) -> nix::Result<()> {
        let mut state = self.state.lock();
        // The one that runs may have missed what was written meanwhile.
        let mine = state.begun + 1;
        while state.ended < mine {
            if state.begun > state.ended {
                self.something_ended.wait(&mut state);
                continue;
            }
            state.begun += 1;
            drop(state);
            let result = self.component.flush();
            state = self.state.lock();
            state.ended = state.begun;
            if result.is_err() {
                state.failed = state.ended;
            }
            self.something_ended.notify_all();
        }
        if state.failed < mine && state.untold == 0 {
            return Ok(());
        }
        state.untold += 1;
        Err(Errno::EIO)
    }

    /// The machine knows of the failure.
    pub(super) fn told(&self) {
        let mut state = self.state.lock();
        state.untold = state.untold.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::daemon::pause;
    use ggate::range::{ByteRange, Geometry};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// Fails when told to, once, like a system.
    #[derive(Default)]
    struct Disk {
        fails: AtomicBool,
        flushes: AtomicU32,
        /// The flush under way goes on when this can be had.
        gate: Mutex<()>,
    }

    impl Media for Disk {
        fn geometry(&self) -> Geometry {
            Geometry {
                media_size: 1 << 20,
                sector_size: 512,
            }
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> nix::Result<()> {
            Err(Errno::EIO)
        }
        fn write_at(&self, _: &[u8], _: u64) -> nix::Result<()> {
            Err(Errno::EIO)
        }
        fn flush(&self) -> nix::Result<()> {
            self.flushes.fetch_add(1, Ordering::SeqCst);
            let _gate = self.gate.lock();
            let fails = self.fails.swap(false, Ordering::SeqCst);
            if fails { Err(Errno::EIO) } else { Ok(()) }
        }
        fn delete(&self, _: ByteRange) -> nix::Result<()> {
            Err(Errno::EIO)
        }
    }

    #[test]
    fn no_flush_succeeds_before_a_failure_was_told() {
        let disk = Arc::new(Disk::default());
        let flushes = Flushes::of(disk.clone());
        assert_eq!(flushes.flush(), Ok(()));
        disk.fails.store(true, Ordering::SeqCst);
        assert_eq!(flushes.flush(), Err(Errno::EIO));
        assert_eq!(flushes.flush(), Err(Errno::EIO), "the disk says yes again");
        flushes.told();
        assert_eq!(flushes.flush(), Err(Errno::EIO), "one of two was told");
        flushes.told();
        flushes.told();
        assert_eq!(flushes.flush(), Ok(()));
    }

    #[test]
    fn who_waits_shares_the_next_flush_and_how_it_ends() {
        let disk = Arc::new(Disk::default());
        let flushes = Arc::new(Flushes::of(disk.clone()));
        let (sender, results) = mpsc::channel();
        let flush = || {
            let (flushes, sender) = (Arc::clone(&flushes), sender.clone());
            thread::spawn(move || sender.send(flushes.flush()));
        };
        let gate = disk.gate.lock();
        flush();
        while disk.flushes.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        (0..3).for_each(|_| flush());
        // Until they wait: earlier they would begin a flush each, which is right
        // but shows nothing.
        pause(Duration::from_millis(200));
        drop(gate);
        let within = Duration::from_secs(10);
        for _ in 0..4 {
            assert_eq!(results.recv_timeout(within), Ok(Ok(())));
        }
        assert_eq!(disk.flushes.load(Ordering::SeqCst), 2);
    }
}

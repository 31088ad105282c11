//! Reading a stream is a role, not a thread.
//!
//! Completing a request may hold the calling thread for seconds: the kernel
//! runs completion code of upper layers in it (kernel document 7.4, row 9).
//! Whoever reads requests or replies must not be held up by that, yet handing
//! every completion to another thread would cost a wake-up per request. So the
//! holder of the role completes what it read itself, and only when it has been
//! inside one completion for [`PATIENCE`] does a thread that stands by take
//! the role, and the stream with it. The old holder then stands by.
//!
//! The price per request is one uncontended lock and two atomic operations.

use crate::daemon::pause;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the holder may be inside a completion before it is replaced: far
/// above what a completion takes, far below what a consumer of a provider
/// would notice as a hang.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// A stream of type `T` and the turn that decides who reads it.
#[derive(Debug)]
pub struct Role<T> {
    stream: Mutex<T>,
    /// Even: the holder is reading. Odd: it is completing, and whoever makes
    /// the number even again holds the role.
    turn: AtomicU64,
    ended: AtomicBool,
}

/// What one thread does with the role.
pub trait Actor<T> {
    /// What was read and must be completed.
    type Work;

    /// Reads the next piece of work, with the role held. `Break` ends the role
    /// for all threads.
    fn take(&mut self, stream: &mut T) -> ControlFlow<(), Self::Work>;

    /// Completes it, without the role. May take as long as it likes.
    fn finish(&mut self, work: Self::Work);

    /// Somebody else has the role: whatever this thread would have done before
    /// it waited in [`Self::take`] must be done now.
    fn dismissed(&mut self);
}

impl<T> Role<T> {
    /// A role for this stream; the first thread that calls [`Role::hold`] has it.
    pub const fn new(stream: T) -> Self {
        Self {
            stream: Mutex::new(stream),
            turn: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// Holds the role from the start; exactly one thread calls this. Returns
    /// when the role has ended.
    pub fn hold<A: Actor<T>>(&self, actor: &mut A) {
        loop {
            self.work(actor);
            if !self.succeed() {
                return;
            }
        }
    }

    /// Stands by and takes the role when its holder is stuck. Returns when the
    /// role has ended.
    pub fn stand_by<A: Actor<T>>(&self, actor: &mut A) {
        while self.succeed() {
            self.work(actor);
        }
    }

    /// Works until the role ends or somebody else has it.
    fn work<A: Actor<T>>(&self, actor: &mut A) {
        loop {
            let taken = actor.take(&mut self.stream.lock());
            let ControlFlow::Continue(work) = taken else {
                self.ended.store(true, Ordering::Release);
                return;
            };
            let turn = self.turn.fetch_add(1, Ordering::AcqRel) + 1;
            actor.finish(work);
            if !self.claim(turn) {
                actor.dismissed();
                return;
            }
        }
    }

    /// Makes an odd turn even; whoever manages that holds the role.
    fn claim(&self, turn: u64) -> bool {
        self.turn
            .compare_exchange(turn, turn + 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Waits until the holder is stuck and takes its place; false when the
    /// role has ended.
    fn succeed(&self) -> bool {
        let mut seen = 0;
        while !self.ended.load(Ordering::Acquire) {
            let turn = self.turn.load(Ordering::Acquire);
            if turn % 2 == 1 && turn == seen && self.claim(turn) {
                return true;
            }
            seen = turn;
            pause(PATIENCE);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    /// Counts up to `last`; `finish` of one number waits for a word.
    struct Counter<'a> {
        last: u32,
        stuck_at: Option<u32>,
        entered: Sender<u32>,
        release: &'a Mutex<Receiver<()>>,
        out: Sender<u32>,
        dismissals: u32,
    }

    impl Actor<u32> for Counter<'_> {
        type Work = u32;

        fn take(&mut self, next: &mut u32) -> ControlFlow<(), u32> {
            if *next == self.last {
                return ControlFlow::Break(());
            }
            *next += 1;
            ControlFlow::Continue(*next)
        }

        fn finish(&mut self, work: u32) {
            if self.stuck_at == Some(work) {
                self.entered.send(work).unwrap();
                self.release.lock().recv().unwrap();
            }
            self.out.send(work).unwrap();
        }

        fn dismissed(&mut self) {
            self.dismissals += 1;
        }
    }

    /// The kernel may hold a thread in DONE for seconds; the requests behind
    /// it must not wait for that.
    #[test]
    fn a_stuck_completion_holds_up_nobody_and_nothing_is_lost_or_done_twice() {
        let role = Role::new(0);
        let (entered, has_entered) = channel();
        let (release, released) = channel();
        let released = Mutex::new(released);
        let (out, done) = channel();
        let actor = |stuck_at| Counter {
            last: 1000,
            stuck_at,
            entered: entered.clone(),
            release: &released,
            out: out.clone(),
            dismissals: 0,
        };
        let (mut first, mut second) = (actor(Some(10)), actor(None));
        thread::scope(|s| {
            s.spawn(|| role.hold(&mut first));
            s.spawn(|| role.stand_by(&mut second));
            assert_eq!(has_entered.recv().unwrap(), 10);
            let mut numbers: Vec<u32> = done.iter().take(999).collect();
            assert!(!numbers.contains(&10), "10 cannot be done yet");
            release.send(()).unwrap();
            numbers.push(done.recv().unwrap());
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
        });
        assert!(first.dismissals > 0);
    }

    #[test]
    fn without_trouble_one_thread_does_it_all() {
        let role = Role::new(0);
        let (entered, _) = channel();
        let (_release, released) = channel();
        let released = Mutex::new(released);
        let (mine, done_by_me) = channel();
        let (theirs, done_by_them) = channel();
        let actor = |out| Counter {
            last: 5000,
            stuck_at: None,
            entered: entered.clone(),
            release: &released,
            out,
            dismissals: 0,
        };
        let (mut first, mut second) = (actor(mine), actor(theirs));
        thread::scope(|s| {
            s.spawn(|| role.stand_by(&mut second));
            role.hold(&mut first);
        });
        assert_eq!(done_by_me.try_iter().count(), 5000);
        assert_eq!(done_by_them.try_iter().count(), 0);
    }
}

//! Disk threads: requests against a medium, in parallel, overlapping ones in
//! order.
//!
//! A request that the medium answers from memory is done before another thread
//! has woken up, or would keep that one just as busy, so [`Disk::submit`] then
//! runs it on the calling thread.
//! Otherwise it goes to threads named `disktd`, which come when there is work
//! for them, up to [`MAX_THREADS`], and go when there is none. What may run at
//! the same time is decided by [`order`].

mod order;
mod service;

use crate::buffer::Buf;
use crate::media::Media;
use crate::range::ByteRange;
use nix::errno::Errno;
use order::{Order, Ticket};
use parking_lot::{Condvar, Mutex, MutexGuard};
use service::{ServiceTimes, Stopwatch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Threads per medium: as many requests as a disk's own queue (32 for SATA)
/// can make use of.
pub const MAX_THREADS: usize = 32;

/// A thread without work goes after this time.
const IDLE: Duration = Duration::from_secs(10);

/// What to do with a range of the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Fill the buffer.
    Read,
    /// Write the buffer.
    Write,
    /// Bring every write submitted before to stable storage.
    Flush,
    /// Tell the medium that the content is no longer needed.
    Delete,
}

/// What a READ fills and a WRITE is taken from.
pub trait Data: Send + 'static {
    /// Fills itself from `range` of the medium.
    fn read_from(&mut self, medium: &dyn Media, range: ByteRange) -> nix::Result<()>;

    /// Writes itself to `range` of the medium.
    fn write_to(&self, medium: &dyn Media, range: ByteRange) -> nix::Result<()>;
}

impl Data for Buf {
    fn read_from(&mut self, medium: &dyn Media, range: ByteRange) -> nix::Result<()> {
        check_length(self, range)?;
        medium.read_at(self, range.offset)
    }

    fn write_to(&self, medium: &dyn Media, range: ByteRange) -> nix::Result<()> {
        check_length(self, range)?;
        medium.write_at(self, range.offset)
    }
}

fn check_length(data: &[u8], range: ByteRange) -> nix::Result<()> {
    if data.len() as u64 == range.length {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// A request; comes back with the completion.
#[derive(Debug)]
pub struct Job<T, D = Buf> {
    /// Whatever the caller needs to know it again.
    pub tag: T,
    /// What to do.
    pub op: Op,
    /// Where; the caller has checked it against the medium's geometry.
    pub range: ByteRange,
    /// As long as the range for READ and WRITE; unused otherwise.
    pub data: D,
}

/// How a request was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submitted {
    /// It ran on the calling thread; its completion was called before.
    Executed,
    /// Its completion will be called from another thread.
    Queued,
    /// The disk is closed: the request was dropped, nobody will answer it.
    Dropped,
}

/// A medium with its threads. Dropping it discards what has not begun.
pub struct Disk<T: Send + 'static, D: Data = Buf>(Arc<Shared<T, D>>);

type Completion<T, D> = Box<dyn Fn(Job<T, D>, nix::Result<()>) + Send + Sync>;

struct Shared<T, D> {
    media: Arc<dyn Media>,
    complete: Completion<T, D>,
    /// How many threads are of use while the medium answers from memory.
    processors: usize,
    state: Mutex<State<T, D>>,
    /// Signalled when a job became ready, or the disk closes.
    work: Condvar,
    /// Signalled when the last running job ended after the disk was closed.
    quiet: Condvar,
}

struct State<T, D> {
    order: Order<Job<T, D>>,
    ready: VecDeque<(Ticket, Job<T, D>)>,
    times: ServiceTimes,
    running: usize,
    threads: usize,
    /// Threads that were woken up or started and have not looked into `ready`
    /// since.
    coming: usize,
    /// Threads, ours or not, in completions; part of `running`.
    completing: usize,
    closed: bool,
}

/// Load of a [`Disk`], for reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Jobs being executed.
    pub running: usize,
    /// Jobs that could be.
    pub ready: usize,
    /// Threads, busy or not.
    pub threads: usize,
}

impl<T: Send + 'static, D: Data> Disk<T, D> {
    /// Serves `media`. `complete` is called with every job, on the thread that
    /// did the work and without a lock held. By then requests that overlap the
    /// job may run: completing towards a kernel can take as long as one of
    /// them takes (kernel document 7.4, row 9).
    pub fn new(
        media: Arc<dyn Media>,
        complete: impl Fn(Job<T, D>, nix::Result<()>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            media,
            complete: Box::new(complete),
            processors: thread::available_parallelism().map_or(1, usize::from),
            state: Mutex::new(State {
                order: Order::default(),
                ready: VecDeque::new(),
                times: ServiceTimes::default(),
                running: 0,
                threads: 0,
                coming: 0,
                completing: 0,
                closed: false,
            }),
            work: Condvar::new(),
            quiet: Condvar::new(),
        }))
    }

    /// The medium.
    #[must_use]
    pub fn media(&self) -> &Arc<dyn Media> {
        &self.0.media
    }

    /// Takes a request. It runs on the calling thread when the medium waits for
    /// less than a wake-up, even if the caller has more of them: handing over costs
    /// both threads together as much, and whoever sent a batch over one
    /// connection gets it faster from one processor than that carries it.
    pub fn submit(&self, job: Job<T, D>) -> Submitted {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if state.closed {
            return Submitted::Dropped;
        }
        let (op, range) = (job.op, job.range);
        let Some((ticket, job)) = state.order.admit(op, range, job) else {
            return Submitted::Queued;
        };
        let fast = state.times.is_fast(op, range.length);
        // Behind others that wait for a thread it would overtake them.
        if fast && state.ready.is_empty() {
            shared.run(&mut state, ticket, job);
            shared.wake(&mut state);
            return Submitted::Executed;
        }
        state.ready.push_back((ticket, job));
        shared.wake(&mut state);
        Submitted::Queued
    }

    /// What is going on.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.0.state.lock();
        Load {
            running: state.running,
            ready: state.ready.len(),
            threads: state.threads,
        }
    }

    /// Discards every request that has not begun and takes no more. Waits
    /// until those that run have ended, completions included, so that
    /// afterwards nothing touches the medium; `false` when that takes longer
    /// than `patience`. Not to be called from a completion.
    #[must_use]
    pub fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.0.state.lock();
        let discarded = self.0.stop(&mut state);
        while state.running != 0 {
            if self.0.quiet.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let quiet = state.running == 0;
        drop(state);
        drop(discarded);
        quiet
    }
}

impl<T: Send + 'static, D: Data> Drop for Disk<T, D> {
    fn drop(&mut self) {
        let discarded = self.0.stop(&mut self.0.state.lock());
        drop(discarded);
    }
}

impl<T: Send + 'static, D: Data> Shared<T, D> {
    /// Does a job, lets those run that waited for it, and completes it.
    fn run(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, State<T, D>>,
        ticket: Ticket,
        mut job: Job<T, D>,
    ) {
        state.running += 1;
        let (result, waited) = MutexGuard::unlocked(state, || self.perform(&mut job));
        let State {
            order,
            ready,
            times,
            ..
        } = &mut **state;
        times.record(job.op, job.range.length, waited);
        order.finish(ticket, |ticket, job| ready.push_back((ticket, job)));
        state.completing += 1;
        self.wake(state);
        MutexGuard::unlocked(state, || (self.complete)(job, result));
        state.completing -= 1;
        state.running -= 1;
        if state.closed && state.running == 0 {
            self.quiet.notify_all();
        }
    }

    /// The medium's part, and how long it made us wait.
    fn perform(&self, job: &mut Job<T, D>) -> (nix::Result<()>, Duration) {
        let watch = Stopwatch::start(job.range.length);
        let result = match job.op {
            Op::Read => job.data.read_from(&*self.media, job.range),
            Op::Write => job.data.write_to(&*self.media, job.range),
            Op::Flush => self.media.flush(),
            Op::Delete => self.media.delete(job.range),
        };
        (result, watch.waited())
    }

    /// Sees to it that somebody takes the ready jobs.
    fn wake(self: &Arc<Self>, state: &mut MutexGuard<'_, State<T, D>>) {
        // Waiting for a disk, every job can use a thread of its own; copying
        // memory, only as many as there are processors, and whoever is held in
        // a completion counts for nothing.
        let limit = if state.times.is_slow() {
            MAX_THREADS
        } else {
            MAX_THREADS.min(self.processors + state.completing)
        };
        while state.ready.len() > state.coming {
            if !self.work.notify_one() {
                if state.threads >= limit || !self.spawn() {
                    break;
                }
                state.threads += 1;
            }
            state.coming += 1;
        }
        if state.threads == 0 && state.completing == 0 {
            // The system has no thread for us: do it here, one by one.
            self.run_ready(state);
        }
    }

    fn spawn(self: &Arc<Self>) -> bool {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("disktd".into())
            .spawn(move || shared.serve())
            .is_ok()
    }

    /// A disk thread.
    fn serve(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.coming -= 1;
        loop {
            self.run_ready(&mut state);
            if state.closed {
                break;
            }
            // Who is woken up was counted as coming; who wakes up by itself
            // was not, but may find work all the same.
            if !self.work.wait_for(&mut state, IDLE).timed_out() {
                state.coming -= 1;
            } else if state.ready.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }

    fn run_ready(self: &Arc<Self>, state: &mut MutexGuard<'_, State<T, D>>) {
        while let Some((ticket, job)) = state.ready.pop_front() {
            self.run(state, ticket, job);
        }
    }

    /// Ends the disk; hands out what is discarded, to be dropped without lock.
    fn stop(&self, state: &mut MutexGuard<'_, State<T, D>>) -> Vec<Job<T, D>> {
        state.closed = true;
        let mut discarded = state.order.discard_waiting();
        while let Some((ticket, job)) = state.ready.pop_front() {
            // Nobody waits for it any more.
            state.order.finish(ticket, |_, _| {});
            discarded.push(job);
        }
        state.coming += self.work.notify_all();
        discarded
    }
}

#[cfg(test)]
mod tests;

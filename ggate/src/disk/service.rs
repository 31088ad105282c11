//! How long a medium makes us wait, as moving averages.
//!
//! Another thread is worth a wake-up while one waits for a disk. While memory
//! is copied it is not: the copy takes as long there, from a cache that has
//! not seen the payload. So a large request that never gave the processor up
//! counts as no wait, however long it took; for a small one, the clock alone
//! is good enough.

use super::Op;
use nix::sys::resource::{UsageWho, getrusage};
use std::time::{Duration, Instant};

/// What handing a request to another thread adds to its latency (measured on
/// Linux and FreeBSD servers: 15 to 30 us).
const WAKE_UP: Duration = Duration::from_micros(25);

/// Requests up to here count as small: copying them is not what takes time.
const SMALL: u64 = 32 << 10;

/// A new sample's share in the average is one of this many.
const WEIGHT: u32 = 8;

/// Measures the wait for one request on the calling thread.
pub(super) struct Stopwatch {
    begin: Instant,
    /// How often the thread had slept before a large request.
    sleeps: Option<i64>,
}

impl Stopwatch {
    pub(super) fn start(length: u64) -> Self {
        Self {
            sleeps: if length > SMALL { sleeps() } else { None },
            begin: Instant::now(),
        }
    }

    pub(super) fn waited(self) -> Duration {
        let taken = self.begin.elapsed();
        if self.sleeps.is_some() && self.sleeps == sleeps() {
            return Duration::ZERO;
        }
        taken
    }
}

/// How often this thread has given its processor up to wait for something.
fn sleeps() -> Option<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    Some(usage.voluntary_context_switches())
}

/// One average per kind of request; none before the first one was measured.
#[derive(Default)]
pub(super) struct ServiceTimes([Option<Duration>; 8]);

fn class(op: Op, length: u64) -> usize {
    let op = match op {
        Op::Read => 0,
        Op::Write => 2,
        Op::Flush => 4,
        Op::Delete => 6,
    };
    op + usize::from(length > SMALL)
}

impl ServiceTimes {
    pub(super) fn record(&mut self, op: Op, length: u64, waited: Duration) {
        let average = &mut self.0[class(op, length)];
        *average = Some(match *average {
            None => waited,
            Some(old) => (old * (WEIGHT - 1) + waited) / WEIGHT,
        });
    }

    /// Whether the request is better done at once than by another thread;
    /// never before one was measured, since a disk may hang.
    pub(super) fn is_fast(&self, op: Op, length: u64) -> bool {
        self.0[class(op, length)].is_some_and(|average| average < WAKE_UP)
    }

    /// Whether some requests wait for a disk rather than for a processor, as
    /// far as known.
    pub(super) fn is_slow(&self) -> bool {
        let mut known = self.0.iter().flatten().peekable();
        known.peek().is_none() || known.any(|average| *average >= WAKE_UP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(2);
    const SLOW: Duration = Duration::from_millis(5);

    #[test]
    fn an_unknown_medium_is_slow() {
        let times = ServiceTimes::default();
        assert!(!times.is_fast(Op::Read, 512));
        assert!(times.is_slow());
    }

    #[test]
    fn one_slow_answer_sends_the_next_requests_to_threads_for_a_while() {
        let mut times = ServiceTimes::default();
        times.record(Op::Read, 512, FAST);
        assert!(times.is_fast(Op::Read, 512));
        times.record(Op::Read, 512, SLOW);
        assert!(!times.is_fast(Op::Read, 512));
        for _ in 0..100 {
            times.record(Op::Read, 512, FAST);
        }
        assert!(times.is_fast(Op::Read, 512));
    }

    /// The time of a copy depends on the machine's load; whether it slept does
    /// not.
    #[test]
    fn a_large_copy_is_no_wait_and_a_sleep_is_one() {
        let mut bytes = vec![1; 1 << 20];
        // The system may make any thread wait, but not again and again.
        let copies = (0..100).map(|_| {
            let copy = Stopwatch::start(1 << 20);
            bytes.rotate_left(1 << 19);
            copy.waited()
        });
        assert!(copies.min() == Some(Duration::ZERO));
        let sleep = Stopwatch::start(1 << 20);
        std::thread::sleep(SLOW);
        assert!(sleep.waited() >= SLOW);
        let small = Stopwatch::start(4096);
        std::thread::sleep(SLOW);
        assert!(small.waited() >= SLOW);
    }

    #[test]
    fn a_slow_flush_does_not_make_writes_slow() {
        let mut times = ServiceTimes::default();
        times.record(Op::Write, 4096, FAST);
        times.record(Op::Flush, 0, SLOW);
        assert!(times.is_fast(Op::Write, 4096));
        assert!(!times.is_fast(Op::Flush, 0));
        assert!(times.is_slow());
    }
}

//! How long a medium takes, as moving averages.

use super::Op;
use std::time::Duration;

/// What handing a request to another thread adds to its latency (measured on
/// Linux and FreeBSD servers: 15 to 30 us).
const WAKE_UP: Duration = Duration::from_micros(25);

/// Requests up to here count as small: copying them is not what takes time.
const SMALL: u64 = 32 << 10;

/// A new sample's share in the average is one of this many.
const WEIGHT: u32 = 8;

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
    pub(super) fn record(&mut self, op: Op, length: u64, taken: Duration) {
        let average = &mut self.0[class(op, length)];
        *average = Some(match *average {
            None => taken,
            Some(old) => (old * (WEIGHT - 1) + taken) / WEIGHT,
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

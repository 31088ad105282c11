//! How fast is copied: how many requests at a time, and how far it has come.
//!
//! Clients come first: the more they ask for, the fewer requests copy, but
//! never none, since a pair that is always busy must get in sync, too.

use super::{Millis, SYNC_WINDOW};

/// Requests that copy at a time however busy the clients are: a quarter of
/// the window.
const LEAST: u32 = SYNC_WINDOW / 4;

/// Requests of clients in a tick, which is a second, for which one request
/// less copies: 200 a second make it a quarter, one now and then makes hardly
/// a difference.
const PER_SLOT: u32 = 32;

/// Part of the old rate in the new one, in eighths: half of a change shows
/// after five ticks.
const SMOOTHING: u64 = 7;

/// What was copied, and how busy the clients are.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Requests of clients since the last tick.
    asked: u32,
    /// Requests of clients in the tick before.
    asked_before: u32,
    /// Bytes copied since copying began.
    copied: u64,
    /// The same at the last tick, and when that was.
    at_tick: u64,
    tick: Millis,
    /// Bytes a second.
    rate: u64,
}

/// How far copying has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that are still to be copied.
    pub left: u64,
    /// Bytes that were, since the nodes met.
    pub copied: u64,
    /// Bytes a second, smoothed.
    pub rate: u64,
    /// Seconds until it is done at this rate; unknown before anything was
    /// copied.
    pub seconds_left: Option<u64>,
}

impl Pace {
    pub(super) const fn request(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// Requests that may copy now, with so many of clients in flight.
    pub(super) fn window(&self, clients: u32) -> u32 {
        let recent = self.asked.max(self.asked_before) / PER_SLOT;
        SYNC_WINDOW.saturating_sub(recent.max(clients)).max(LEAST)
    }

    pub(super) fn begin(&mut self, now: Millis) {
        self.copied = 0;
        self.at_tick = 0;
        self.rate = 0;
        self.tick = now;
    }

    pub(super) const fn copied(&mut self, bytes: u64) {
        self.copied += bytes;
    }

    pub(super) fn tick(&mut self, now: Millis) {
        self.asked_before = core::mem::take(&mut self.asked);
        let elapsed = now.0.saturating_sub(self.tick.0);
        if elapsed == 0 {
            return;
        }
        let bytes = self.copied - self.at_tick;
        let rate = bytes.saturating_mul(1000) / elapsed;
        self.rate = if self.rate == 0 {
            rate
        } else {
            (self.rate.saturating_mul(SMOOTHING) + rate) / (SMOOTHING + 1)
        };
        self.at_tick = self.copied;
        self.tick = now;
    }

    pub(super) fn progress(&self, left: u64) -> Progress {
        Progress {
            left,
            copied: self.copied,
            rate: self.rate,
            seconds_left: (self.rate > 0).then(|| left.div_ceil(self.rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_first_and_copying_never_stops() {
        let mut pace = Pace::default();
        assert_eq!(pace.window(0), SYNC_WINDOW);
        assert_eq!(pace.window(3), SYNC_WINDOW - 3);
        assert_eq!(pace.window(200), LEAST);
        for _ in 0..10_000 {
            pace.request();
        }
        assert_eq!(pace.window(0), LEAST, "one at a time, but many");
        pace.tick(Millis(1000));
        assert_eq!(pace.window(0), LEAST, "a tick is no pause");
        pace.tick(Millis(2000));
        assert_eq!(pace.window(0), SYNC_WINDOW);
    }

    #[test]
    fn the_rate_follows_slowly_and_tells_when_it_is_done() {
        let mut pace = Pace::default();
        pace.begin(Millis(0));
        assert_eq!(pace.progress(1000).seconds_left, None);
        pace.copied(8000);
        pace.tick(Millis(2000));
        let progress = pace.progress(9000);
        assert_eq!((progress.rate, progress.copied), (4000, 8000));
        assert_eq!(progress.seconds_left, Some(3));
        pace.copied(12_000);
        pace.tick(Millis(3000));
        assert_eq!(pace.progress(0).rate, 5000);
        pace.tick(Millis(3000));
        assert_eq!(pace.progress(0).rate, 5000, "no time has gone by");
    }
}

//! How fast is copied: how much at a time, and how far it has come.
//!
//! What is under way keeps the link and both components busy while answers
//! travel: twice the bytes that the link carries in a round trip, and a good
//! deal at least, for components that need several requests at a time.
//!
//! Clients come first: whatever they ask for may have to wait behind what is
//! being copied. The more they ask for, the less is under way, and in shorter
//! pieces; but never nothing, since a pair that is always busy must get in
//! sync, too.

use super::{LONGEST_REQUEST, Millis};

/// Bytes under way to a near peer while clients are idle.
pub(super) const ENOUGH: u64 = 8 << 20;

/// Bytes a second that a link is taken to carry until it has shown: 10 Gbit/s.
const ASSUMED: u64 = 1_250_000_000;

/// Most bytes of a request that copies while clients are there. One of these
/// is always under way.
const SHORT: u32 = 128 << 10;

/// As many requests of clients leave no more to copying than the least.
const BUSY: u32 = 8;

/// Part of what a long link carries that stays for copying then.
const LEAST: u64 = 8;

/// Requests of clients in a tick that count as one that is always there:
/// several hundred a second are busy, one now and then makes no difference.
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
    /// About the most in a tick that copied from its begin and with hardly a
    /// client: what was a peak and no more, as zeros are, is forgotten.
    best: u64,
    /// Clients had less copied since the last tick than there could have been.
    held_back: bool,
    /// Between the nodes.
    round_trip: Millis,
}

/// What may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    /// In bytes.
    pub(super) bytes: u64,
    /// Most bytes of a request.
    pub(super) longest: u32,
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

    /// What may be under way now, of at most `most` bytes, with so many
    /// requests of clients in flight.
    pub(super) fn window(&mut self, clients: u32, most: u64) -> Window {
        // Twice what is carried in a round trip: a link that carries more shows
        // it then, and one that does not, once that is known, makes nobody wait
        // for longer than another round trip.
        let rate = if self.best == 0 { ASSUMED } else { self.best };
        let carried = rate.saturating_mul(2 * self.round_trip.0) / 1000;
        let idle = carried.max(ENOUGH).min(most);
        let busy = self.busy().max(clients);
        if busy == 0 {
            return Window {
                bytes: idle,
                longest: LONGEST_REQUEST,
            };
        }
        let left = u64::from(BUSY.saturating_sub(busy)) * idle / u64::from(BUSY);
        self.held_back = true;
        let least = match self.best {
            // It may be a slow one.
            0 => (carried / LEAST).min(ENOUGH / LEAST),
            _ => carried / LEAST,
        };
        Window {
            bytes: left.max(least).max(SHORT.into()).min(most),
            longest: SHORT,
        }
    }

    /// Requests of clients in flight, as far as that can be told from their
    /// number.
    fn busy(&self) -> u32 {
        self.asked.max(self.asked_before) / PER_SLOT
    }

    pub(super) fn begin(&mut self, now: Millis, round_trip: Millis) {
        *self = Self {
            tick: now,
            round_trip,
            asked: self.asked,
            asked_before: self.asked_before,
            ..Self::default()
        };
    }

    pub(super) const fn copied(&mut self, bytes: u64) {
        self.copied += bytes;
    }

    pub(super) fn tick(&mut self, now: Millis) {
        let idle = self.busy() == 0;
        self.asked_before = core::mem::take(&mut self.asked);
        let elapsed = now.0.saturating_sub(self.tick.0);
        if elapsed == 0 {
            return;
        }
        let bytes = self.copied - self.at_tick;
        let rate = bytes.saturating_mul(1000) / elapsed;
        let held_back = core::mem::take(&mut self.held_back);
        if idle && self.at_tick > 0 {
            let could_have = !held_back && bytes > 0;
            let forgotten = if could_have { self.best / 8 } else { 0 };
            self.best = rate.max(self.best - forgotten);
        }
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

    const MOST: u64 = 28 << 20;

    fn window(bytes: u64, longest: u32) -> Window {
        Window { bytes, longest }
    }

    #[test]
    fn clients_come_first_and_copying_never_stops() {
        let mut pace = Pace::default();
        let idle = window(ENOUGH, LONGEST_REQUEST);
        let least = window(SHORT.into(), SHORT);
        assert_eq!(pace.window(0, MOST), idle);
        assert_eq!(pace.window(2, MOST), window(ENOUGH / 4 * 3, SHORT));
        assert_eq!(pace.window(200, MOST), least);
        for _ in 0..10_000 {
            pace.request();
        }
        assert_eq!(pace.window(0, MOST), least, "one at a time, but many");
        pace.tick(Millis(1000));
        assert_eq!(pace.window(0, MOST), least, "a tick is no pause");
        pace.tick(Millis(2000));
        assert_eq!(pace.window(0, MOST), idle);
    }

    #[test]
    fn a_long_link_is_kept_full() {
        let mut pace = Pace::default();
        let bytes = |pace: &mut Pace| pace.window(0, MOST).bytes;
        let mut second = 0;
        let mut tick = |pace: &mut Pace, copied| {
            pace.copied(copied);
            second += 1000;
            pace.tick(Millis(second));
        };
        pace.begin(Millis(0), Millis(10));
        assert_eq!(bytes(&mut pace), 25_000_000, "10 Gbit/s, perhaps");
        let least = window(ENOUGH / LEAST, SHORT);
        assert_eq!(pace.window(200, MOST), least, "perhaps not");
        tick(&mut pace, 1_000_000);
        assert_eq!(bytes(&mut pace), 25_000_000, "it began late");
        for _ in 0..1000 {
            pace.request();
        }
        tick(&mut pace, 1_000_000);
        tick(&mut pace, 1_000_000);
        assert_eq!(
            bytes(&mut pace),
            25_000_000,
            "clients do not make a link slow"
        );
        tick(&mut pace, 1_300_000_000);
        assert_eq!(
            bytes(&mut pace),
            26_000_000,
            "and a little more, as it seems"
        );
        let busy = window(26_000_000 / LEAST, SHORT);
        assert_eq!(pace.window(200, MOST), busy);
        for most in [1, 1 << 20] {
            assert_eq!(pace.window(0, most).bytes, most, "all there may be");
            assert_eq!(pace.window(8, most).bytes, most);
        }
    }

    #[test]
    fn a_slow_link_is_not_overfull() {
        let mut pace = Pace::default();
        pace.begin(Millis(0), Millis(100));
        for second in 1..3 {
            pace.copied(110_000_000);
            pace.tick(Millis(second * 1000));
        }
        let bytes = pace.window(0, MOST).bytes;
        assert_eq!(bytes, 22_000_000, "1 Gbit/s: twice what is under way");
    }

    #[test]
    fn what_is_not_sent_does_not_make_a_link_fast() {
        let mut pace = Pace::default();
        pace.begin(Millis(0), Millis(10));
        for second in 1..30 {
            let zeros = second < 4;
            pace.copied(if zeros { 4_000_000_000 } else { 500_000_000 });
            pace.tick(Millis(second * 1000));
        }
        assert_eq!(pace.window(0, MOST).bytes, 10_000_000);
    }

    #[test]
    fn what_clients_kept_from_being_copied_does_not_make_a_link_slow() {
        let mut pace = Pace::default();
        pace.begin(Millis(0), Millis(100));
        pace.copied(1);
        pace.tick(Millis(1000));
        pace.copied(100_000_000);
        pace.tick(Millis(2000));
        let busy = window(20_000_000 / LEAST, SHORT);
        for second in 3..30 {
            assert_eq!(pace.window(8, MOST), busy);
            pace.copied(25_000_000);
            pace.tick(Millis(second * 1000));
        }
        for second in 30..60 {
            pace.tick(Millis(second * 1000));
        }
        assert_eq!(pace.window(8, MOST), busy, "nor what did not have to be");
    }

    #[test]
    fn the_rate_follows_slowly_and_tells_when_it_is_done() {
        let mut pace = Pace::default();
        pace.begin(Millis(0), Millis(0));
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

//! Lines of the log that strangers cause: as many as somebody can read.

use std::time::{Duration, Instant};

/// Lines in ten seconds that strangers may cause.
pub(crate) const STRANGERS: u32 = 20;

/// Lines in ten seconds of one worker, but for those that were asked for by a
/// debug level. It says a dozen when it starts.
pub(crate) const WORKER: u32 = 100;

/// The time that is looked at.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the lines of one kind.
#[derive(Debug)]
pub(crate) struct Limit {
    most: u32,
    begin: Instant,
    lines: u32,
    untold: u64,
}

impl Limit {
    /// So many lines in ten seconds.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            begin: Instant::now(),
            lines: 0,
            untold: 0,
        }
    }

    /// Whether another line may be written, and how many were not written
    /// before it.
    pub(crate) fn allows(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.begin) >= WINDOW {
            self.begin = now;
            self.lines = 0;
        }
        if self.lines >= self.most {
            self.untold += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.untold))
    }

    /// Logs a line if it may be written.
    pub(crate) fn log(&mut self, level: crate::log::Level, line: std::fmt::Arguments<'_>) {
        if let crate::log::Level::Debug(_) = level {
            return crate::log::write(level, line);
        }
        match self.allows(Instant::now()) {
            Some(0) => crate::log::write(level, line),
            Some(untold) => {
                crate::log::write(level, line);
                crate::log::warning!("{untold} lines like this one were left out before it.");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_later() {
        let mut limit = Limit::new(20);
        let begin = limit.begin;
        for _ in 0..20 {
            assert_eq!(limit.allows(begin), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(limit.allows(begin + WINDOW / 2), None);
        }
        assert_eq!(limit.allows(begin + WINDOW), Some(1000));
        assert_eq!(limit.allows(begin + WINDOW), Some(0));
    }
}

//! What a client may read, given what it was told: per sector a register of
//! unique values. 0 stands for a sector never written, or deleted.
//!
//! - A read returns a value whose write no other confirmed write followed,
//!   wholly and before the read began.
//! - After a crash only flushed writes count as confirmed.
//! - A copy that says it is of one state has no write without those that were
//!   flushed before it began.

/// A write to one sector.
#[derive(Clone, Copy, Debug)]
struct Write {
    /// Unique; the value is not, since a DELETE leaves 0.
    key: u64,
    value: u64,
    began: u64,
    /// `u64::MAX` while it is under way.
    ended: u64,
    confirmed: bool,
    /// A FLUSH failed that may have been about it.
    doubtful: bool,
    /// When a FLUSH that covers it was confirmed; `u64::MAX` before.
    flushed: u64,
}

impl Write {
    fn is_flushed(&self) -> bool {
        self.flushed != u64::MAX
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Checker {
    sectors: Vec<Vec<Write>>,
    clock: u64,
}

/// Writes of a sector that are remembered before old ones are forgotten.
const MOST: usize = 64;

impl Checker {
    /// A history that begins with these values, which are permanent.
    pub(crate) fn new(values: impl IntoIterator<Item = u64>) -> Self {
        let first = |value| Write {
            key: 0,
            value,
            began: 0,
            ended: 0,
            confirmed: true,
            doubtful: false,
            flushed: 0,
        };
        Self {
            sectors: values.into_iter().map(|value| vec![first(value)]).collect(),
            clock: 0,
        }
    }

    pub(crate) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn write_began(&mut self, sector: usize, key: u64, value: u64) {
        let began = self.now();
        self.sectors[sector].push(Write {
            key,
            value,
            began,
            ended: u64::MAX,
            confirmed: false,
            doubtful: false,
            flushed: u64::MAX,
        });
    }

    pub(crate) fn write_ended(&mut self, sector: usize, key: u64, confirmed: bool) {
        let ended = self.now();
        let writes = &mut self.sectors[sector];
        for write in writes.iter_mut().filter(|w| w.key == key) {
            write.ended = ended;
            write.confirmed = confirmed && !write.doubtful;
        }
        self.forget(sector);
    }

    /// A FLUSH that began at `began` succeeded.
    pub(crate) fn flushed(&mut self, began: u64) {
        let now = self.now();
        for write in self.sectors.iter_mut().flatten() {
            if write.confirmed && write.ended < began {
                write.flushed = write.flushed.min(now);
            }
        }
    }

    /// A FLUSH failed: what was not flushed, or is under way, may be there or
    /// not, and a later one does not change that.
    pub(crate) fn flush_failed(&mut self) {
        for write in self.sectors.iter_mut().flatten() {
            write.doubtful |= !write.is_flushed();
            write.confirmed &= !write.doubtful;
        }
    }

    /// What is served from now on has lost what was not flushed.
    pub(crate) fn crashed(&mut self) {
        for write in self.sectors.iter_mut().flatten() {
            write.confirmed = write.is_flushed();
        }
        self.interrupted();
    }

    /// Nobody will answer what is under way.
    pub(crate) fn interrupted(&mut self) {
        let now = self.now();
        for write in self.sectors.iter_mut().flatten() {
            write.ended = write.ended.min(now);
        }
    }

    /// Whether a read that began at `began` may return the value.
    pub(crate) fn may_read(&self, sector: usize, value: u64, began: u64) -> bool {
        let writes = &self.sectors[sector];
        let hidden = |candidate: &Write| {
            let mut later = writes.iter().filter(|w| w.began > candidate.ended);
            later.any(|w| w.confirmed && w.ended < began)
        };
        let mut candidates = writes.iter().filter(|w| w.value == value);
        candidates.any(|candidate| !hidden(candidate))
    }

    /// Whether some of the values each sector may have were never permanent
    /// together: a sector that lacks what was flushed before a write began
    /// that is there, and the value of that.
    pub(crate) fn mixture(&self, values: &[Vec<u64>]) -> Option<(usize, u64)> {
        // The newest writes that may be there: values but 0 are unique.
        let there = |(sector, values): (usize, &Vec<u64>)| {
            let there = |w: &&Write| w.value != 0 && values.contains(&w.value);
            let newest = self.sectors[sector].iter().filter(there);
            newest.max_by_key(|w| w.began).map(|w| (sector, *w))
        };
        let there: Vec<_> = values.iter().enumerate().filter_map(there).collect();
        let lacks = |(sector, values): (usize, &Vec<u64>)| {
            let others = there.iter().filter(|(other, _)| *other != sector);
            let newest = others.map(|(_, w)| w).max_by_key(|w| w.began)?;
            let old = values.iter().any(|value| {
                let oldest = self.oldest_loss(sector, *value);
                oldest.is_some_and(|flushed| flushed < newest.began)
            });
            old.then_some((sector, newest.value))
        };
        values.iter().enumerate().find_map(lacks)
    }

    /// When a write was first flushed that a sector with this value lacks. That
    /// cannot be told of one of another history: a primary that was given up
    /// wrote it and answered nobody.
    fn oldest_loss(&self, sector: usize, value: u64) -> Option<u64> {
        let writes = &self.sectors[sector];
        let same = writes.iter().filter(|w| w.value == value);
        let ended = same.map(|w| w.ended).max()?;
        let later = writes.iter().filter(|w| w.began > ended && w.is_flushed());
        later.map(|w| w.flushed).min()
    }

    /// The values and states of a sector's writes, for the trace.
    pub(crate) fn describe(&self, sector: usize) -> String {
        let writes = self.sectors[sector].iter().map(|w| {
            let state = match (w.confirmed, w.is_flushed()) {
                (_, true) => "flushed",
                (true, _) => "confirmed",
                _ => "maybe",
            };
            let ended = if w.ended == u64::MAX { 0 } else { w.ended };
            format!("{} ({state}, {} to {ended})", w.value, w.began)
        });
        writes.collect::<Vec<_>>().join(", ")
    }

    /// Drops what no read and no crash can bring back.
    fn forget(&mut self, sector: usize) {
        let writes = &mut self.sectors[sector];
        if writes.len() < MOST {
            return;
        }
        let flushed = writes.iter().filter(|w| w.is_flushed());
        if let Some(flushed) = flushed.map(|w| w.began).max() {
            writes.retain(|w| w.ended >= flushed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmed_write_hides_what_came_before() {
        let mut checker = Checker::new([0]);
        checker.write_began(0, 7, 7);
        let now = checker.now();
        assert!(checker.may_read(0, 0, now) && checker.may_read(0, 7, now));
        checker.write_ended(0, 7, true);
        let now = checker.now();
        assert!(!checker.may_read(0, 0, now) && checker.may_read(0, 7, now));
        assert!(!checker.may_read(0, 8, now));
    }

    #[test]
    fn a_crash_takes_only_what_was_not_flushed() {
        let mut checker = Checker::new([0]);
        checker.write_began(0, 7, 7);
        checker.write_ended(0, 7, true);
        let began = checker.now();
        checker.flushed(began);
        checker.write_began(0, 8, 8);
        checker.write_ended(0, 8, true);
        checker.crashed();
        let now = checker.now();
        assert!(!checker.may_read(0, 0, now));
        assert!(checker.may_read(0, 7, now) && checker.may_read(0, 8, now));
    }

    #[test]
    fn a_copy_has_no_write_without_what_was_flushed_before_it() {
        let mut checker = Checker::new([0, 0]);
        for (sector, key) in [(0, 7), (1, 8)] {
            checker.write_began(sector, key, key);
            checker.write_ended(sector, key, true);
            let began = checker.now();
            checker.flushed(began);
        }
        for old in [[0, 0], [7, 0], [7, 8]] {
            let old = old.map(|value| vec![value]);
            assert_eq!(checker.mixture(&old), None, "a state there was");
        }
        assert_eq!(checker.mixture(&[vec![0], vec![8]]), Some((0, 8)));
        assert_eq!(checker.mixture(&[vec![7, 0], vec![0, 8]]), Some((0, 8)));
        // A primary that was given up wrote it.
        assert_eq!(checker.mixture(&[vec![9], vec![8]]), None);
    }
}

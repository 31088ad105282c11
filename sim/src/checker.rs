//! What a client may read, given what it was told: per sector a register of
//! unique values. 0 stands for a sector never written.
//!
//! - A read returns a value whose write no other confirmed write followed,
//!   wholly and before the read began.
//! - After a crash only flushed writes count as confirmed.

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
    flushed: bool,
}

#[derive(Debug)]
pub(crate) struct Checker {
    sectors: Vec<Vec<Write>>,
    clock: u64,
}

impl Checker {
    pub(crate) fn new(sectors: usize) -> Self {
        let first = Write {
            key: 0,
            value: 0,
            began: 0,
            ended: 0,
            confirmed: true,
            flushed: true,
        };
        Self {
            sectors: vec![vec![first]; sectors],
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
            flushed: false,
        });
    }

    pub(crate) fn write_ended(&mut self, sector: usize, key: u64, confirmed: bool) {
        let ended = self.now();
        let writes = &mut self.sectors[sector];
        for write in writes.iter_mut().filter(|w| w.key == key) {
            write.ended = ended;
            write.confirmed = confirmed;
        }
        self.forget(sector);
    }

    /// A FLUSH that began at `began` succeeded.
    pub(crate) fn flushed(&mut self, began: u64) {
        for write in self.sectors.iter_mut().flatten() {
            write.flushed |= write.confirmed && write.ended < began;
        }
    }

    /// The serving node, or what it served from, lost power.
    pub(crate) fn crashed(&mut self) {
        let now = self.now();
        for write in self.sectors.iter_mut().flatten() {
            write.ended = write.ended.min(now);
            write.confirmed = write.flushed;
        }
    }

    /// Whether a read that began at `began` may return the value.
    pub(crate) fn may_read(&self, sector: usize, value: u64, began: u64) -> bool {
        let writes = &self.sectors[sector];
        let candidates = writes.iter().filter(|w| w.value == value);
        candidates.into_iter().any(|candidate| {
            !writes
                .iter()
                .any(|w| w.confirmed && w.began > candidate.ended && w.ended < began)
        })
    }

    /// The values and states of a sector's writes, for the trace.
    pub(crate) fn describe(&self, sector: usize) -> String {
        let writes = self.sectors[sector].iter().map(|w| {
            let state = match (w.confirmed, w.flushed) {
                (_, true) => "flushed",
                (true, _) => "confirmed",
                _ => "maybe",
            };
            format!("{}({state} {}..{})", w.value, w.began, w.ended)
        });
        writes.collect::<Vec<_>>().join(" ")
    }

    /// Drops what no read and no crash can bring back.
    fn forget(&mut self, sector: usize) {
        let writes = &mut self.sectors[sector];
        if writes.len() < 64 {
            return;
        }
        let flushed = writes.iter().filter(|w| w.flushed).map(|w| w.began).max();
        if let Some(flushed) = flushed {
            writes.retain(|w| w.ended >= flushed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmed_write_hides_what_came_before() {
        let mut checker = Checker::new(1);
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
        let mut checker = Checker::new(1);
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
}

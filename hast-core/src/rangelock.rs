//! Who waits for whom: writes, deletes and synchronisation of overlapping
//! ranges are carried out one after the other, in the order they came.
//! Facts: spec/hast-behaviour.md section 5.5.
//!
//! **Invariant:** of two overlapping locks only the one that came first is
//! held. A lock that waits is held as soon as every overlapping one that came
//! before it is gone, so nobody waits for ever and nobody overtakes. Base
//! lets client writes overlap each other, and then the components may keep
//! them in different orders.

use crate::units::ByteRange;
use alloc::vec::Vec;

/// A lock, held or waiting. Using it after its release is a bug and panics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LockId {
    index: u32,
    order: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    range: ByteRange,
    /// Its place in the order of arrival; unique.
    order: u64,
    /// Overlapping locks that came before it and are still there.
    before: u32,
}

/// All locks of a resource.
///
/// A lock costs a look at every other one, which is less than it takes to
/// keep a tree for the few hundred requests there can be.
#[derive(Clone, Debug, Default)]
pub struct RangeLocks {
    slots: Vec<Option<Lock>>,
    free: Vec<u32>,
    next: u64,
}

impl RangeLocks {
    /// None. Room for `expected` is made at once; more only cost an
    /// allocation, and their number is bounded by the requests there are.
    #[must_use]
    pub fn new(expected: usize) -> Self {
        Self {
            slots: Vec::with_capacity(expected),
            free: Vec::with_capacity(expected),
            next: 0,
        }
    }

    /// Asks for a range. The flag says whether the lock is held already;
    /// otherwise [`RangeLocks::release`] of another will name it.
    ///
    /// # Panics
    /// Beyond 2^32 locks.
    pub fn acquire(&mut self, range: ByteRange) -> (LockId, bool) {
        let overlapping = self.slots.iter().flatten();
        let before = overlapping.filter(|l| l.range.overlaps(range)).count();
        let lock = Lock {
            range,
            order: self.next,
            before: u32::try_from(before).expect("requests are bounded"),
        };
        self.next += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("requests are bounded")
        });
        self.slots[crate::index(index.into())] = Some(lock);
        let id = LockId {
            index,
            order: lock.order,
        };
        (id, before == 0)
    }

    /// Gives a lock back, held or waiting. Locks that are held from now on
    /// are appended to `granted`, in the order they came.
    ///
    /// # Panics
    /// If it was given back before.
    pub fn release(&mut self, id: LockId, granted: &mut Vec<LockId>) {
        let slot = &mut self.slots[crate::index(id.index.into())];
        let gone = slot
            .take_if(|lock| lock.order == id.order)
            .expect("a lock is released once");
        self.free.push(id.index);
        let first = granted.len();
        for (index, slot) in (0..).zip(&mut self.slots) {
            let Some(lock) = slot else { continue };
            if lock.order > gone.order && lock.range.overlaps(gone.range) {
                lock.before -= 1;
                if lock.before == 0 {
                    granted.push(LockId {
                        index,
                        order: lock.order,
                    });
                }
            }
        }
        granted[first..].sort_unstable_by_key(|lock| lock.order);
    }

    /// Whether the lock is held.
    ///
    /// # Panics
    /// If it was given back.
    #[must_use]
    pub fn is_held(&self, id: LockId) -> bool {
        let lock = self.slots[crate::index(id.index.into())];
        let lock = lock.filter(|lock| lock.order == id.order);
        lock.expect("the lock was not released").before == 0
    }

    /// Number of locks, held and waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange::new(offset, length).unwrap()
    }

    #[test]
    fn a_waiter_is_not_overtaken() {
        let mut locks = RangeLocks::new(4);
        let (first, held) = locks.acquire(range(0, 10));
        assert!(held);
        let (wide, held) = locks.acquire(range(5, 20));
        assert!(!held);
        let (behind, held) = locks.acquire(range(20, 5));
        assert!(!held, "it would overtake the wide one");
        let (apart, held) = locks.acquire(range(30, 5));
        assert!(held);
        let mut granted = Vec::new();
        locks.release(first, &mut granted);
        assert_eq!(granted, [wide]);
        granted.clear();
        locks.release(apart, &mut granted);
        assert_eq!(granted, []);
        locks.release(wide, &mut granted);
        assert_eq!(granted, [behind]);
        assert!(locks.is_held(behind));
    }

    #[test]
    fn a_waiter_may_give_up() {
        let mut locks = RangeLocks::new(4);
        let (first, _) = locks.acquire(range(0, 10));
        let (waiting, _) = locks.acquire(range(0, 10));
        let (third, _) = locks.acquire(range(0, 10));
        let mut granted = Vec::new();
        locks.release(waiting, &mut granted);
        assert_eq!(granted, []);
        locks.release(first, &mut granted);
        assert_eq!(granted, [third]);
    }

    #[test]
    #[should_panic(expected = "released once")]
    fn a_lock_given_back_twice_is_a_bug() {
        let mut locks = RangeLocks::new(4);
        let (first, _) = locks.acquire(range(0, 10));
        locks.release(first, &mut Vec::new());
        locks.acquire(range(0, 10));
        locks.release(first, &mut Vec::new());
    }

    proptest! {
        /// The model is a list in order of arrival: a lock is held if nothing
        /// before it overlaps.
        #[test]
        fn the_order_of_arrival_decides(
            steps in prop::collection::vec(
                prop_oneof![
                    (0u64..40, 1u64..12).prop_map(Ok),
                    any::<prop::sample::Index>().prop_map(Err),
                ], 0..120)
        ) {
            let mut locks = RangeLocks::new(0);
            let mut model: Vec<(LockId, ByteRange, bool)> = Vec::new();
            for step in steps {
                let mut granted = Vec::new();
                match step {
                    Ok((offset, length)) => {
                        let range = range(offset, length);
                        let (id, held) = locks.acquire(range);
                        model.push((id, range, held));
                        let (_, before) = model.split_last().unwrap();
                        prop_assert_eq!(held, before.iter().all(|(_, r, _)| !r.overlaps(range)));
                    }
                    Err(at) if !model.is_empty() => {
                        let (id, ..) = model.remove(at.index(model.len()));
                        locks.release(id, &mut granted);
                    }
                    Err(_) => {}
                }
                let mut expected = Vec::new();
                for n in 0..model.len() {
                    let (id, range, was_held) = model[n];
                    let held = model[..n].iter().all(|(_, r, _)| !r.overlaps(range));
                    prop_assert_eq!(locks.is_held(id), held);
                    if held && !was_held {
                        expected.push(id);
                    }
                    model[n].2 = held;
                }
                prop_assert_eq!(granted, expected);
                prop_assert_eq!(locks.len(), model.len());
            }
        }
    }
}

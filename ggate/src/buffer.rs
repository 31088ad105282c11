//! Page-aligned buffers in size classes, limited in bytes.
//!
//! Payloads live in these from the socket to the disk and back. Alignment
//! serves `O_DIRECT`; the classes (powers of two from one page) and the free
//! lists make sure that a program in steady state allocates nothing; the limit
//! bounds what a peer can make us hold. Whoever must not wait uses
//! [`Pool::try_get`].
//!
//! A buffer is zero when its memory is fresh and holds old payload when it was
//! used before: whoever sends one has overwritten all of it first. Pools are
//! per peer, so that a mistake there shows a peer its own bytes at worst.

use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Alignment of every buffer, in bytes, and the smallest class: what `O_DIRECT`
/// needs for sectors of up to 4 KiB.
pub const ALIGNMENT: usize = 4096;

/// Classes go up to 128 MiB; larger buffers are made to measure, not kept.
const CLASSES: usize = 16;

/// A source of [`Buf`]s; clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// Signalled when room was made and somebody waits for it.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of the buffers that are out.
    used: usize,
    /// Bytes of the buffers in `free`.
    kept: usize,
    free: [Vec<Memory>; CLASSES],
    /// A buffer was asked for since the last [`Pool::rest`].
    needed: bool,
    /// Waiters are served in order, so that small requests cannot starve a
    /// large one: tickets given out, and the one whose turn it is.
    next_ticket: u64,
    serving: u64,
}

/// A page-aligned run inside a slightly larger allocation.
struct Memory {
    bytes: Box<[u8]>,
    start: usize,
    size: usize,
}

impl Memory {
    fn new(size: usize) -> Self {
        // A zeroed box comes from calloc: large ones cost nothing until used.
        let bytes = vec![0; size.saturating_add(ALIGNMENT - 1)].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start, size }
    }

    /// What an empty buffer has.
    fn none() -> Self {
        Self {
            bytes: Box::default(),
            start: 0,
            size: 0,
        }
    }
}

/// Bytes a buffer of `len` bytes takes from the limit: those of its class.
#[must_use]
pub fn size_for(len: usize) -> usize {
    match len {
        0 => 0,
        len if len > ALIGNMENT << (CLASSES - 1) => len,
        len => len.next_power_of_two().max(ALIGNMENT),
    }
}

/// The free list for buffers of `size` bytes.
fn class_of(size: usize) -> Option<usize> {
    let class = (size / ALIGNMENT).checked_ilog2()?;
    let class = usize::try_from(class).ok()?;
    (class < CLASSES && ALIGNMENT << class == size).then_some(class)
}

impl Pool {
    /// A pool that has at most `limit_bytes` out or kept, counted in size
    /// classes, but for [`Pool::get_now`]. One larger buffer is given out when
    /// no other is.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            limit: limit_bytes,
            state: Mutex::default(),
            room: Condvar::new(),
        }))
    }

    /// A buffer of `len` bytes; waits for room, in order of arrival.
    #[must_use]
    pub fn get(&self, len: usize) -> Buf {
        let size = size_for(len);
        let mut state = self.0.state.lock();
        if size != 0 && !(state.nobody_waits() && state.has_room(size, self.0.limit)) {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            while !(state.serving == ticket && state.has_room(size, self.0.limit)) {
                self.0.room.wait(&mut state);
            }
            state.serving += 1;
            if !state.nobody_waits() {
                self.0.room.notify_all();
            }
        }
        self.take(state, size, len)
    }

    /// A buffer of `len` bytes, or `None` when there is no room or somebody
    /// waits for it already.
    #[must_use]
    pub fn try_get(&self, len: usize) -> Option<Buf> {
        let size = size_for(len);
        let state = self.0.state.lock();
        let granted = size == 0 || (state.nobody_waits() && state.has_room(size, self.0.limit));
        granted.then(|| self.take(state, size, len))
    }

    /// A buffer of `len` bytes without waiting, beyond the limit if need be:
    /// for who must not wait and keeps to a bound of its own. Others wait until
    /// there is room again.
    #[must_use]
    pub fn get_now(&self, len: usize) -> Buf {
        self.take(self.0.state.lock(), size_for(len), len)
    }

    /// Bytes that are out, in size classes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.state.lock().used
    }

    /// Gives back all that is kept, if nobody needed any of it since the last
    /// call. Whoever calls this from time to time keeps nothing while idle.
    pub fn rest(&self) {
        let mut state = self.0.state.lock();
        if std::mem::take(&mut state.needed) {
            return;
        }
        state.kept = 0;
        let gone = std::mem::take(&mut state.free);
        drop(state);
        drop(gone);
    }

    fn take(&self, mut state: parking_lot::MutexGuard<'_, State>, size: usize, len: usize) -> Buf {
        state.needed |= size != 0;
        state.used += size;
        let kept = class_of(size).and_then(|class| state.free[class].pop());
        if kept.is_some() {
            state.kept -= size;
        } else {
            state.shrink_to(self.0.limit);
        }
        drop(state);
        let memory = kept.unwrap_or_else(|| match size {
            0 => Memory::none(),
            size => Memory::new(size),
        });
        Buf {
            pool: self.clone(),
            memory,
            len,
        }
    }
}

impl State {
    fn nobody_waits(&self) -> bool {
        self.serving == self.next_ticket
    }

    fn has_room(&self, size: usize, limit: usize) -> bool {
        self.used == 0 || self.used.saturating_add(size) <= limit
    }

    /// Gives kept memory back, largest first, until all fits the limit.
    fn shrink_to(&mut self, limit: usize) {
        for list in self.free.iter_mut().rev() {
            while self.used.saturating_add(self.kept) > limit {
                let Some(memory) = list.pop() else { break };
                self.kept -= memory.size;
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} of {} bytes)", self.used(), self.0.limit)
    }
}

/// A buffer of exactly the asked length; returns to its [`Pool`] on drop.
pub struct Buf {
    pool: Pool,
    memory: Memory,
    len: usize,
}

impl Buf {
    /// Makes the buffer shorter; its memory stays its own.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.bytes[self.memory.start..][..self.len]
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes[self.memory.start..][..self.len]
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::none());
        let size = memory.size;
        if size == 0 {
            return;
        }
        let shared = &self.pool.0;
        let mut state = shared.state.lock();
        state.used -= size;
        let keep = state.used.saturating_add(state.kept).saturating_add(size) <= shared.limit;
        let surplus = match class_of(size) {
            Some(class) if keep => {
                state.kept += size;
                state.free[class].push(memory);
                None
            }
            _ => Some(memory),
        };
        let somebody_waits = !state.nobody_waits();
        drop(state);
        drop(surplus);
        if somebody_waits {
            shared.room.notify_all();
        }
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn buffers_are_aligned_zeroed_and_as_long_as_asked() {
        let pool = Pool::new(1 << 20);
        for len in [0, 1, 511, 512, 4096, 4097, 131_072, 1 << 20] {
            let buf = pool.get(len);
            assert_eq!(buf.len(), len);
            assert!(buf.iter().all(|b| *b == 0));
            assert!(len == 0 || buf.as_ptr().align_offset(ALIGNMENT) == 0);
        }
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn memory_is_used_again() {
        let pool = Pool::new(1 << 20);
        let first = pool.get(5000);
        let at = first.as_ptr();
        drop(first);
        assert_eq!(pool.get(8192).as_ptr(), at);
    }

    #[test]
    fn memory_is_given_back_when_nobody_needed_it_for_a_while() {
        let pool = Pool::new(1 << 20);
        let out = pool.get(4096);
        drop(pool.get(8192));
        let kept = || pool.0.state.lock().kept;
        pool.rest();
        assert_eq!(kept(), 8192);
        pool.rest();
        assert_eq!((kept(), pool.used()), (0, 4096));
        drop(out);
        assert_eq!((kept(), pool.used()), (4096, 0));
    }

    #[test]
    fn the_limit_holds_but_one_buffer_above_it_is_granted_alone() {
        let pool = Pool::new(16 << 10);
        let large = pool.try_get(1 << 20);
        assert!(large.is_some());
        assert!(pool.try_get(1).is_none());
        drop(large);
        let small = pool.try_get(1);
        assert!(small.is_some());
        assert!(pool.try_get(1 << 20).is_none());
    }

    #[test]
    fn who_must_not_wait_goes_beyond_the_limit_and_others_wait_for_that() {
        let pool = Pool::new(16 << 10);
        let first = pool.get(16 << 10);
        let second = pool.get_now(8 << 10);
        assert_eq!(pool.used(), 24 << 10);
        drop(first);
        assert_eq!(pool.0.state.lock().kept, 0, "nor is it kept");
        assert!(pool.try_get(16 << 10).is_none());
        drop(second);
        assert!(pool.try_get(16 << 10).is_some());
    }

    #[test]
    fn a_waiting_large_request_is_not_overtaken() {
        let pool = Pool::new(16 << 10);
        let first = pool.get(4096);
        let (sent, got) = mpsc::channel();
        let waiter = {
            let pool = pool.clone();
            std::thread::spawn(move || sent.send(pool.get(16 << 10).len()))
        };
        let queued = || !pool.0.state.lock().nobody_waits();
        while !queued() {
            std::thread::yield_now();
        }
        assert!(pool.try_get(4096).is_none(), "overtook the waiting request");
        drop(first);
        assert_eq!(got.recv_timeout(Duration::from_secs(10)), Ok(16 << 10));
        waiter.join().unwrap().unwrap();
        assert!(pool.try_get(4096).is_some());
    }

    #[test]
    fn waiters_come_through_under_contention() {
        let pool = Pool::new(64 << 10);
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..200_usize {
                        let mut buf = pool.get((thread + 1) * (round % 16 + 1) * 512);
                        buf.fill(1);
                    }
                });
            }
        });
        assert_eq!(pool.used(), 0);
    }

    proptest! {
        /// However buffers come and go, the pool holds no more than its limit.
        #[test]
        fn out_and_kept_stay_within_the_limit(
            steps in prop::collection::vec((any::<bool>(), 0_usize..200_000), 1..100),
        ) {
            const LIMIT: usize = 512 << 10;
            let pool = Pool::new(LIMIT);
            let mut out = Vec::new();
            for (get, n) in steps {
                if get {
                    out.extend(pool.try_get(n));
                } else if !out.is_empty() {
                    out.swap_remove(n % out.len());
                }
                let state = pool.0.state.lock();
                let kept: usize = state.free.iter().flatten().map(|m| m.size).sum();
                prop_assert_eq!(kept, state.kept);
                prop_assert!(state.used + state.kept <= LIMIT);
            }
        }
    }
}

//! Counts what each thread allocates.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn taken(size: usize) {
    CALLS.set(CALLS.get() + 1);
    NOW.set(NOW.get().wrapping_add(size));
    PEAK.set(PEAK.get().max(NOW.get()));
}

fn given_back(size: usize) {
    NOW.set(NOW.get().saturating_sub(size));
}

// SAFETY: every call goes to the system's allocator as it came; the counters
// neither allocate nor have destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        given_back(layout.size());
        taken(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a piece of work cost.
pub(crate) struct Cost {
    /// Allocations.
    pub(crate) calls: usize,
    /// Most bytes allocated at a time.
    pub(crate) peak: usize,
}

/// Does some work on this thread and tells what it allocated.
pub(crate) fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    CALLS.set(0);
    NOW.set(0);
    PEAK.set(0);
    let result = work();
    let cost = Cost {
        calls: CALLS.get(),
        peak: PEAK.get(),
    };
    (result, cost)
}

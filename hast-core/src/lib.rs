//! HAST without I/O.
//!
//! The bytes HAST exchanges and stores, and the tables and rules it decides
//! by. There is no socket, file, thread or clock here and none can be
//! reached: what runs in the simulator is what runs in production.
//!
//! | what | where |
//! |---|---|
//! | name/value entries, framing | [`nv`], [`frame`] |
//! | every message of the protocol | [`message`], [`outstanding`] |
//! | what happens to data on the wire | [`payload`], [`lzf`] |
//! | what lies on disk | [`metadata`], [`extent`], [`bitmap`], [`dirtymap`] |
//! | which extents may differ | [`activemap`], [`keepdirty`] |
//! | who waits for whom | [`rangelock`] |
//! | who copies from whom | [`decision`] |
//! | the state machines | [`primary`], [`secondary`] |
//! | what they remember for people | [`watch`] |
//!
//! Integers are little-endian on the wire and on disk, whatever the machine.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("HAST's layouts are those of 64-bit machines (amd64, arm64)");

pub mod activemap;
pub mod bitmap;
pub mod decision;
pub mod dirtymap;
pub mod errno;
pub mod extent;
mod extenttable;
pub mod frame;
pub mod keepdirty;
pub mod lzf;
pub mod message;
pub mod metadata;
mod metastore;
pub mod nv;
pub mod outstanding;
pub mod payload;
pub mod primary;
pub mod rangelock;
pub mod role;
pub mod secondary;
pub mod slab;
pub mod units;
pub mod watch;

/// A `u64` that indexes memory.
pub(crate) fn index(n: u64) -> usize {
    usize::try_from(n).expect("only 64-bit machines are supported")
}

/// The length of something in memory as a number of bytes.
pub(crate) fn length(n: usize) -> u64 {
    u64::try_from(n).expect("no memory is larger than 2^64 bytes")
}

//! What the tests of all crates share.

// Helpers assert inside; what they give back is often not needed.
#![allow(clippy::must_use_candidate, clippy::return_self_not_must_use)]

pub mod allocations;
pub mod cases;
pub mod chain;
pub mod hast;
pub mod load;
pub mod nbd;
pub mod noise;
pub mod process;
pub mod proxy;

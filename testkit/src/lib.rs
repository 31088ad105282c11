//! What the tests of all crates share.

pub mod nbd;
pub mod process;
pub mod proxy;

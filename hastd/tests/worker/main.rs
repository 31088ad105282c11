//! Workers as processes, without a daemon: the tests are theirs.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod bad_input;
mod captures;
mod failover;
mod harness;
mod hostile;
mod in_use;
#[cfg(target_os = "linux")]
mod media;
#[cfg(target_os = "linux")]
mod memory;
mod pair;
mod peers;
mod quirks;
mod reconfigure;
mod requests;
mod split_brain;
mod stopping;
mod sync;

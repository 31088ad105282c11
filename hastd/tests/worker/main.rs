//! Workers as processes, without a daemon: the tests are theirs.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod bad_input;
mod captures;
mod harness;
mod in_use;
mod pair;

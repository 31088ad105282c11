//! The whole program hastctl, with a hastd that says what the tests want.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod base;
mod components;
mod fake;
mod ours;
mod privileges;
mod resolve;

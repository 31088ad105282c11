//! The whole program hastd, its workers included, as hastctl, the other node
//! and the system see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod control;
mod hostile;
mod node;
mod peers;
mod reload;
mod roles;
mod start;

//! One host with a GEOM, its client and its server, in one process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod deadlock;
mod host;
mod requests;

//! Workers as processes, without a daemon: the tests are theirs.

mod harness;
mod pair;

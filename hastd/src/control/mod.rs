//! The conversation of hastctl and hastd. Facts: spec/hast-wire.md section 10;
//! the messages are in [`hast_core::message`].
//!
//! | module | what |
//! |---|---|
//! | `client` | hastctl's side: one question, one answer |
//! | `server` | hastd's side: clients, their requests, and the answers |
//! | `reply` | an answer that is collected piece by piece |

pub(crate) mod client;
pub(crate) mod reply;
pub(crate) mod server;

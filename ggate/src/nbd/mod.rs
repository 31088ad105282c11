//! NBD server side: what a software gate speaks on its unix socket.
//!
//! Facts come from the NBD project's `doc/proto.md`. [`proto`] has numbers and
//! codec, [`negotiate`] the handshake up to the first request, [`transmit`] the
//! judgement on each request; all three are free of I/O. [`conn`] is a client's
//! output side, [`lane`] its input side.

pub(crate) mod conn;
pub(crate) mod lane;
pub mod negotiate;
pub mod proto;
pub mod transmit;

use crate::gate::Access;
use crate::range::Geometry;

/// What a client gets to know of a gate.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// The provider's name; clients may also ask for the empty name.
    pub name: &'a str,
    /// Sizes.
    pub geometry: Geometry,
    /// What requests are allowed.
    pub access: Access,
}

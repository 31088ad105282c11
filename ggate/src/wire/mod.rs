//! The protocol between ggatec and ggated.
//!
//! A session is two TCP connections that a random token ties together. On
//! each, the client sends a [`Version`] and a [`ClientInitial`] packet and the
//! server answers with a [`Version`] and a [`ServerInitial`] packet. Then one
//! connection carries [`Request`]s (and payloads of WRITEs) to the server, the
//! other one [`Reply`]s (and payloads of READs) to the client.
//!
//! All numbers are big-endian, nothing is padded. Every layout is shown at the
//! type that encodes it; encoding and decoding work on arrays and allocate
//! nothing. Source: `spec/ggate-wire-and-cli.md` part I; what two programs of
//! ours add to it is the [`Hello`], described in `docs/extensions.md`.

mod client;
mod frames;
mod handshake;
mod input;
mod transfer;

pub use client::{Accepted, HandshakeError, Refusal, Step, exchange_initial, exchange_versions};
pub use frames::{Frame, Frames, Progress, wait_writable};
pub use handshake::{
    ClientInitial, Direction, ExportPath, Hello, InstanceId, PathError, ServerInitial, Token,
    Version, VersionError,
};
pub use input::{Header, Input};
pub use transfer::{Command, Reply, Request};

/// The first 16 bytes of every connection.
pub const MAGIC: [u8; 16] = *b"GEOM_GATE       ";

/// The protocol's version number.
pub const VERSION: u16 = 0;

/// Where ggated listens.
pub const DEFAULT_PORT: u16 = 3080;

/// In a version packet's error field: "I know the extensions". A client's is
/// ignored by base servers; ours answer with the same value, and never
/// otherwise, because base clients take any other answer than 0 for a refusal.
pub const EXTENDED: u16 = 0x4847;

/// Bytes of the path field: FreeBSD's `PATH_MAX` and one, on every system.
pub const PATH_FIELD: usize = 1025;

/// Longest path in bytes, its NUL not counted.
pub const PATH_MAX: usize = 1023;

/// The client asks for read-only access.
pub const FLAG_READ_ONLY: u64 = 0x01;
/// The client asks for write-only access. Neither means both.
pub const FLAG_WRITE_ONLY: u64 = 0x02;
/// The server sends (replies) on this connection.
pub const FLAG_SEND: u64 = 0x04;
/// The server receives (requests) on this connection.
pub const FLAG_RECV: u64 = 0x08;
/// The client asks the server to open the medium with `O_DIRECT` (15).
pub const FLAG_DIRECT: u64 = 0x10;

/// The number of connections in a session: always 2, never examined.
pub const CONNECTIONS: u16 = 2;

/// Copies `N` bytes from `offset` on; the caller's arithmetic is constant.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

//! Numbers and layouts of NBD. Everything is big-endian.
//!
//! | request header   | bytes | | simple reply | bytes | | structured chunk | bytes |
//! |------------------|-------|-|--------------|-------|-|------------------|-------|
//! | magic 0x25609513 | 0-3   | | magic        | 0-3   | | magic            | 0-3   |
//! | command flags    | 4-5   | | error        | 4-7   | | flags            | 4-5   |
//! | command          | 6-7   | | cookie       | 8-15  | | type             | 6-7   |
//! | cookie           | 8-15  | | (READ: data) |       | | cookie           | 8-15  |
//! | offset           | 16-23 | |              |       | | length           | 16-19 |
//! | length           | 24-27 | |              |       | | (payload)        |       |

use nix::errno::Errno;

/// `NBDMAGIC`, first in the server's greeting.
pub const GREETING_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`, second in the greeting and first in each client option.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First in each reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Server and client speak the fixed newstyle handshake.
pub const FLAG_FIXED_NEWSTYLE: u16 = 1;
/// The 124 zero bytes after `OPT_EXPORT_NAME` are left out.
pub const FLAG_NO_ZEROES: u16 = 2;

/// Choose an export and begin, without a way to refuse but to disconnect.
pub const OPT_EXPORT_NAME: u32 = 1;
/// The client gives up.
pub const OPT_ABORT: u32 = 2;
/// Names of exports.
pub const OPT_LIST: u32 = 3;
/// Describe an export.
pub const OPT_INFO: u32 = 6;
/// Describe an export and begin.
pub const OPT_GO: u32 = 7;
/// READ replies come in chunks.
pub const OPT_STRUCTURED_REPLY: u32 = 8;

/// The option is done.
pub const REP_ACK: u32 = 1;
/// One export name.
pub const REP_SERVER: u32 = 2;
/// One piece of information on an export.
pub const REP_INFO: u32 = 3;
/// Unknown option.
pub const REP_ERR_UNSUP: u32 = 0x8000_0001;
/// The option's data makes no sense.
pub const REP_ERR_INVALID: u32 = 0x8000_0003;
/// No such export.
pub const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

/// Size and transmission flags.
pub const INFO_EXPORT: u16 = 0;
/// The export's canonical name.
pub const INFO_NAME: u16 = 1;
/// Smallest, preferred and largest request.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// The flags field is valid.
pub const HAS_FLAGS: u16 = 1;
/// Writes are refused.
pub const READ_ONLY: u16 = 1 << 1;
/// FLUSH works.
pub const SEND_FLUSH: u16 = 1 << 2;
/// The FUA command flag works.
pub const SEND_FUA: u16 = 1 << 3;
/// TRIM works.
pub const SEND_TRIM: u16 = 1 << 5;
/// `WRITE_ZEROES` works.
pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
/// The DF command flag works: a READ comes in one chunk.
pub const SEND_DF: u16 = 1 << 7;
/// A FLUSH on one connection covers the writes of all.
pub const CAN_MULTI_CONN: u16 = 1 << 8;

/// First in each request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First in each simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First in each chunk of a structured reply.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Read a range.
pub const CMD_READ: u16 = 0;
/// Write a range.
pub const CMD_WRITE: u16 = 1;
/// The client goes.
pub const CMD_DISC: u16 = 2;
/// Make acknowledged writes durable.
pub const CMD_FLUSH: u16 = 3;
/// The range's content is not needed.
pub const CMD_TRIM: u16 = 4;
/// Write zeros.
pub const CMD_WRITE_ZEROES: u16 = 6;

/// The request's effect must be durable before it is answered.
pub const CMD_FLAG_FUA: u16 = 1;
/// `WRITE_ZEROES` must not punch a hole.
pub const CMD_FLAG_NO_HOLE: u16 = 1 << 1;
/// A structured READ reply must not be split.
pub const CMD_FLAG_DF: u16 = 1 << 2;

/// The last chunk of a reply.
pub const CHUNK_FLAG_DONE: u16 = 1;
/// A chunk that says nothing but that the reply is complete.
pub const CHUNK_NONE: u16 = 0;
/// A chunk of data with its offset.
pub const CHUNK_OFFSET_DATA: u16 = 1;
/// The request failed.
pub const CHUNK_ERROR: u16 = 0x8001;

/// Largest READ or WRITE: what NBD tells clients to expect of any server, and
/// what libnbd and qemu split at.
pub const MAX_PAYLOAD: u32 = 32 << 20;
/// Length of a request header.
pub const REQUEST_LEN: usize = 28;

/// The errors NBD knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum NbdError {
    /// Not allowed, or a read-only export.
    Perm = 1,
    /// Input/output error.
    Io = 5,
    /// Out of memory.
    NoMem = 12,
    /// A request that makes no sense.
    Inval = 22,
    /// Beyond the end of the medium.
    NoSpc = 28,
    /// Too large for one reply.
    Overflow = 75,
    /// Not supported.
    NotSup = 95,
    /// The export is going away.
    Shutdown = 108,
}

impl From<Errno> for NbdError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Self::Perm,
            Errno::ENOMEM => Self::NoMem,
            Errno::EINVAL => Self::Inval,
            Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Self::NoSpc,
            Errno::EOVERFLOW => Self::Overflow,
            Errno::EOPNOTSUPP => Self::NotSup,
            Errno::ENXIO | Errno::ESHUTDOWN => Self::Shutdown,
            _ => Self::Io,
        }
    }
}

/// A request as it stands on the wire, unchecked but for its magic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// `CMD_FLAG_*`.
    pub flags: u16,
    /// `CMD_*`.
    pub command: u16,
    /// The client's name for the request, returned in the reply.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u32,
}

impl RequestHeader {
    /// Decodes a header; `None` when the magic is wrong, after which nothing on
    /// this connection can be trusted.
    #[must_use]
    pub fn decode(bytes: &[u8; REQUEST_LEN]) -> Option<Self> {
        let (magic, rest) = take4(bytes)?;
        let (flags, rest) = take2(rest)?;
        let (command, rest) = take2(rest)?;
        let (cookie, rest) = take8(rest)?;
        let (offset, rest) = take8(rest)?;
        let (length, _) = take4(rest)?;
        (magic == REQUEST_MAGIC).then_some(Self {
            flags,
            command,
            cookie,
            offset,
            length,
        })
    }

    /// Encodes the header as a client sends it.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut out = [0; REQUEST_LEN];
        out[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..28].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// A simple reply: everything but a READ's data.
#[must_use]
pub fn simple_reply(cookie: u64, error: Option<NbdError>) -> [u8; 16] {
    let mut out = [0; 16];
    out[0..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    out[4..8].copy_from_slice(&error.map_or(0, |e| e as u32).to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The only chunk of a structured READ reply: everything but the `length`
/// bytes of data, which must be at most [`MAX_PAYLOAD`].
#[must_use]
pub fn data_chunk(cookie: u64, offset: u64, length: u32) -> [u8; 28] {
    let mut out = [0; 28];
    chunk(&mut out, CHUNK_OFFSET_DATA, cookie, 8 + length);
    out[20..28].copy_from_slice(&offset.to_be_bytes());
    out
}

/// The only chunk of a structured READ reply that failed, with an empty text.
#[must_use]
pub fn error_chunk(cookie: u64, error: NbdError) -> [u8; 26] {
    let mut out = [0; 26];
    chunk(&mut out, CHUNK_ERROR, cookie, 6);
    out[20..24].copy_from_slice(&(error as u32).to_be_bytes());
    out
}

/// The only chunk of a structured reply to an empty READ.
#[must_use]
pub fn empty_chunk(cookie: u64) -> [u8; 20] {
    let mut out = [0; 20];
    chunk(&mut out, CHUNK_NONE, cookie, 0);
    out
}

fn chunk(out: &mut [u8], kind: u16, cookie: u64, length: u32) {
    out[0..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
    out[4..6].copy_from_slice(&CHUNK_FLAG_DONE.to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..20].copy_from_slice(&length.to_be_bytes());
}

/// What goes before a reply's data, or all of a reply that has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyHead {
    bytes: [u8; 28],
    length: usize,
}

impl ReplyHead {
    /// No bytes at all.
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; 28],
        length: 0,
    };

    /// The bytes to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Of any of the heads above.
impl<const N: usize> From<[u8; N]> for ReplyHead {
    fn from(head: [u8; N]) -> Self {
        let mut bytes = [0; 28];
        bytes[..N].copy_from_slice(&head);
        Self { bytes, length: N }
    }
}

/// Splits a number off the front; `None` when there are too few bytes.
pub(super) fn take2(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*head), rest))
}

/// As [`take2`], four bytes.
pub(super) fn take4(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*head), rest))
}

/// As [`take2`], eight bytes.
pub(super) fn take8(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_read_request_has_the_bytes_of_the_protocol_text() {
        let header = RequestHeader {
            flags: CMD_FLAG_FUA,
            command: CMD_WRITE,
            cookie: 0x0102_0304_0506_0708,
            offset: 0x1000,
            length: 0x200,
        };
        assert_eq!(
            header.encode(),
            [
                0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x10,
                0, 0, 0, 2, 0
            ]
        );
    }

    #[test]
    fn replies_have_the_bytes_of_the_protocol_text() {
        assert_eq!(
            simple_reply(7, Some(NbdError::NoSpc)),
            [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 7]
        );
        assert_eq!(
            data_chunk(7, 512, 1024)[..20],
            [
                0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 4, 8
            ]
        );
        assert_eq!(
            error_chunk(7, NbdError::Io)[4..],
            [
                0, 1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0
            ]
        );
    }

    #[test]
    fn a_wrong_magic_is_no_request() {
        assert_eq!(RequestHeader::decode(&[0; REQUEST_LEN]), None);
    }

    proptest! {
        #[test]
        fn headers_survive_the_wire(
            flags: u16, command: u16, cookie: u64, offset: u64, length: u32,
        ) {
            let header = RequestHeader { flags, command, cookie, offset, length };
            prop_assert_eq!(RequestHeader::decode(&header.encode()), Some(header));
        }
    }
}

//! Requests and replies.

use super::field;
use crate::errno::WireErrno;
use crate::gate::Seq;
use crate::range::ByteRange;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// 0: read the range.
    Read,
    /// 1: write the payload to the range. Zero length at the end of the medium
    /// is what clients of FreeBSD 12.1 send for a flush after a write.
    Write,
    /// 3 (FreeBSD 14 on): bring every write that was answered, or received
    /// before this, to stable storage.
    Flush,
    /// Nothing that is defined; answered with EOPNOTSUPP.
    Other(u8),
}

impl From<u8> for Command {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Read,
            1 => Self::Write,
            3 => Self::Flush,
            other => Self::Other(other),
        }
    }
}

impl From<Command> for u8 {
    fn from(command: Command) -> Self {
        match command {
            Command::Read => 0,
            Command::Write => 1,
            Command::Flush => 3,
            Command::Other(code) => code,
        }
    }
}

/// A request's header.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1 | command |
/// | 1 | 8 | offset in bytes |
/// | 9 | 4 | length in bytes |
/// | 13 | 8 | sequence number |
/// | 21 | 2 | error: 0 in requests |
///
/// A WRITE's payload of `length` bytes follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u32,
    /// The client's number for it; opaque to the server.
    pub seq: Seq,
}

impl Request {
    /// Bytes of the header.
    pub const SIZE: usize = 23;

    /// A request for `range`; `None` when it is longer than the wire can say.
    #[must_use]
    pub fn new(command: Command, range: ByteRange, seq: Seq) -> Option<Self> {
        Some(Self {
            command,
            offset: range.offset,
            length: u32::try_from(range.length).ok()?,
            seq,
        })
    }

    /// Offset and length.
    #[must_use]
    pub fn range(self) -> ByteRange {
        ByteRange::new(self.offset, u64::from(self.length))
    }

    /// Bytes that follow the header.
    #[must_use]
    pub fn payload_len(self) -> u32 {
        match self.command {
            Command::Write => self.length,
            _ => 0,
        }
    }

    /// The header.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        self.with_error(0)
    }

    /// Reads a header. The error field is ignored.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            command: Command::from(bytes[0]),
            offset: u64::from_be_bytes(field(bytes, 1)),
            length: u32::from_be_bytes(field(bytes, 9)),
            seq: Seq(u64::from_be_bytes(field(bytes, 13))),
        }
    }

    /// The answer to this request: everything repeated, and how it ended.
    #[must_use]
    pub fn reply(self, error: Option<WireErrno>) -> Reply {
        Reply {
            request: self,
            error,
        }
    }

    fn with_error(self, error: u16) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[0] = self.command.into();
        out[1..9].copy_from_slice(&self.offset.to_be_bytes());
        out[9..13].copy_from_slice(&self.length.to_be_bytes());
        out[13..21].copy_from_slice(&self.seq.0.to_be_bytes());
        out[21..].copy_from_slice(&error.to_be_bytes());
        out
    }
}

/// A reply's header: the layout of [`Request`], with an error. A successful
/// READ's payload of `length` bytes follows; nothing else has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The request as the server repeats it. Clients compare it with what they
    /// sent before they believe it.
    pub request: Request,
    /// How it ended.
    pub error: Option<WireErrno>,
}

impl Reply {
    /// Bytes of the header.
    pub const SIZE: usize = Request::SIZE;

    /// What our servers send to our clients when they have had nothing else to
    /// say for a second: an empty answer to request 0, which no gate has.
    pub const HEARTBEAT: Self = Self {
        request: Request {
            command: Command::Read,
            offset: 0,
            length: 0,
            seq: Seq(0),
        },
        error: None,
    };

    /// Bytes that follow the header.
    #[must_use]
    pub fn payload_len(self) -> u32 {
        match (self.request.command, self.error) {
            (Command::Read, None) => self.request.length,
            _ => 0,
        }
    }

    /// The header.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        self.request
            .with_error(self.error.map_or(0, WireErrno::get))
    }

    /// Reads a header.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            request: Request::decode(bytes),
            error: WireErrno::new(u16::from_be_bytes(field(bytes, 21))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_write_request_and_a_successful_read_reply_carry_payload() {
        for code in 0..=u8::MAX {
            let request = Request {
                command: Command::from(code),
                offset: 0,
                length: 512,
                seq: Seq(1),
            };
            let expected = if code == 1 { 512 } else { 0 };
            assert_eq!(request.payload_len(), expected);
            let expected = if code == 0 { 512 } else { 0 };
            assert_eq!(request.reply(None).payload_len(), expected);
            assert_eq!(request.reply(Some(WireErrno::EIO)).payload_len(), 0);
        }
    }

    #[test]
    fn a_length_beyond_the_field_cannot_be_asked_for() {
        let range = ByteRange::new(0, 1 << 32);
        assert_eq!(Request::new(Command::Read, range, Seq(1)), None);
    }

    proptest! {
        #[test]
        fn headers_round_trip(bytes: [u8; Request::SIZE]) {
            prop_assert_eq!(Reply::decode(&bytes).encode(), bytes);
            let request = Request::decode(&bytes);
            prop_assert_eq!(&request.encode()[..21], &bytes[..21]);
            prop_assert_eq!(Request::decode(&request.encode()), request);
        }
    }
}

//! Requests, primary to secondary on A.
//! Facts: spec/hast-wire.md section 6.
//!
//! | cmd | name | entries | payload |
//! |---|---|---|---|
//! | 1 | READ | `seq`, `offset`, `length` | |
//! | 2 | WRITE | the same, `memsync` (optional), payload entries | data |
//! | 3 | DELETE | `seq`, `offset`, `length` | |
//! | 4 | FLUSH | `seq`, `offset` and `length` 0 | |
//! | 5 | KEEPALIVE | | |
//! | 5 | state, ours | `seq`, `hg_consistent`, `hg_generation`, `hg_localcnt` (optional) | |

use super::handshake::{CONSISTENT, GENERATION, read_consistency, read_generation};
use super::{LONGEST_DATA, MessageError, Reply};
use crate::errno::Errno;
use crate::frame;
use crate::metadata::Consistency;
use crate::nv::{Field, FieldError, Full, Writer, pick};
use crate::payload::{self, Header};
use crate::units::{ByteRange, Generation, Seq, Version};
use core::fmt;

const READ: u8 = 1;
const WRITE: u8 = 2;
const DELETE: u8 = 3;
const FLUSH: u8 = 4;
const KEEPALIVE: u8 = 5;

/// Entry of ours, `docs/extensions.md`.
const RAISE: &str = "hg_localcnt";

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Send me this data.
    Read {
        /// The request.
        seq: Seq,
        /// Which data.
        range: ByteRange,
    },
    /// Store the data that follows.
    Write {
        /// The request.
        seq: Seq,
        /// Where.
        range: ByteRange,
        /// Answer twice: once the data is in memory, and once it is stored.
        memsync: bool,
        /// How the data travels; its length is checked against `range`.
        payload: Header,
    },
    /// Forget this data.
    Delete {
        /// The request.
        seq: Seq,
        /// Which data.
        range: ByteRange,
    },
    /// Store for good what was written before.
    Flush {
        /// The request.
        seq: Seq,
    },
    /// The primary is alive.
    Keepalive {
        /// Asks for an answer, which base never gives: only with
        /// [`Extensions::KEEPALIVE_REPLY`](super::Extensions::KEEPALIVE_REPLY).
        seq: Option<Seq>,
    },
    /// What the secondary is to store in its metadata about its data, before
    /// it answers. To base it is a KEEPALIVE. Only with
    /// [`Extensions::STATE`](super::Extensions::STATE).
    State {
        /// The request.
        seq: Seq,
        /// Whether its component is of one state.
        consistency: Consistency,
        /// State of its data.
        generation: Option<Generation>,
        /// What its own counter is raised to, if it is lower: it alone has
        /// everything. Only with
        /// [`Extensions::RAISE`](super::Extensions::RAISE).
        raise: Option<u64>,
    },
}

impl Request {
    /// Reads the message. Sizes and alignment remain to be checked against
    /// the component: [`Request::validate`].
    pub fn decode(entries: &[u8]) -> Result<Self, RequestError> {
        let [
            cmd,
            seq,
            offset,
            length,
            memsync,
            consistent,
            generation,
            raise,
            payload @ ..,
        ] = pick(
            entries,
            [
                "cmd",
                "seq",
                "offset",
                "length",
                "memsync",
                CONSISTENT,
                GENERATION,
                RAISE,
                payload::NAMES[0],
                payload::NAMES[1],
                payload::NAMES[2],
                payload::NAMES[3],
            ],
        )
        .map_err(MessageError::from)?;
        // Without a known command nothing tells whether a payload follows.
        let cmd = cmd.get::<u8>().map_err(MessageError::from)?;
        let drain = match cmd {
            KEEPALIVE => {
                let seq = seq.optional().ok().flatten().and_then(Seq::new);
                return Ok(match (seq, consistent.is_present()) {
                    (Some(seq), true) => Self::State {
                        seq,
                        consistency: read_consistency(&consistent)?,
                        generation: read_generation(&generation)?,
                        raise: raise.optional().map_err(MessageError::from)?,
                    },
                    _ => Self::Keepalive { seq },
                });
            }
            WRITE => drain(&payload)?,
            READ | DELETE | FLUSH => 0,
            _ => return Err(MessageError::Value("cmd").into()),
        };
        let mut refusal = Refusal {
            seq: None,
            received: cmd == WRITE && memsync.is_present(),
            drain,
            reason: Reason::Seq,
        };
        let seq = seq.get().ok().and_then(Seq::new).ok_or(refusal)?;
        refusal.seq = Some(seq);
        if cmd == FLUSH {
            return Ok(Self::Flush { seq });
        }
        let range = range(&offset, &length).map_err(|reason| Refusal { reason, ..refusal })?;
        Ok(match cmd {
            READ => Self::Read { seq, range },
            DELETE => Self::Delete { seq, range },
            _ => {
                let payload = Header::read(&payload).map_err(MessageError::from)?;
                payload.check(range.length()).map_err(MessageError::from)?;
                Self::Write {
                    seq,
                    range,
                    memsync: memsync.is_present(),
                    payload,
                }
            }
        })
    }

    /// Writes the message; a WRITE's payload follows it.
    pub fn encode(&self, version: Version, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, version, |w| match self {
            Self::Read { seq, range } => common(w, READ, *seq, Some(*range)),
            Self::Delete { seq, range } => common(w, DELETE, *seq, Some(*range)),
            Self::Flush { seq } => common(w, FLUSH, *seq, None),
            Self::Write {
                seq,
                range,
                memsync,
                payload,
            } => {
                common(w, WRITE, *seq, Some(*range));
                w.put_some("memsync", memsync.then_some(1u8));
                payload.write(w);
            }
            Self::Keepalive { seq } => {
                w.put("cmd", KEEPALIVE);
                w.put_some("seq", seq.map(Seq::get));
            }
            Self::State {
                seq,
                consistency,
                generation,
                raise,
            } => {
                w.put("cmd", KEEPALIVE);
                w.put("seq", seq.get());
                w.put(CONSISTENT, consistency.to_byte());
                w.put_some(GENERATION, generation.map(Generation::get));
                w.put_some(RAISE, *raise);
            }
        })
    }

    /// Checks the request against the component it is for.
    pub fn validate(&self, limits: &Limits) -> Result<(), Refusal> {
        let (seq, range, received, drain) = match self {
            Self::Flush { .. } | Self::Keepalive { .. } | Self::State { .. } => return Ok(()),
            Self::Read { seq, range } | Self::Delete { seq, range } => (seq, range, false, 0),
            Self::Write {
                seq,
                range,
                memsync,
                payload,
            } => (seq, range, *memsync, payload.size),
        };
        let sector = u64::from(limits.sectorsize);
        let deletes = matches!(self, Self::Delete { .. });
        let reason = if !deletes && range.length() > limits.longest.into() {
            Reason::TooLong
        } else if range.offset() % sector != 0 || range.length() % sector != 0 {
            Reason::Unaligned
        } else if range.end() > limits.datasize {
            Reason::BeyondEnd
        } else {
            return Ok(());
        };
        Err(Refusal {
            seq: Some(*seq),
            received,
            drain,
            reason,
        })
    }

    /// The number of the request.
    #[must_use]
    pub const fn seq(&self) -> Option<Seq> {
        match self {
            Self::Read { seq, .. }
            | Self::Write { seq, .. }
            | Self::Delete { seq, .. }
            | Self::Flush { seq }
            | Self::State { seq, .. } => Some(*seq),
            Self::Keepalive { seq } => *seq,
        }
    }

    /// Bytes of payload behind the message.
    #[must_use]
    pub const fn payload_size(&self) -> u32 {
        match self {
            Self::Write { payload, .. } => payload.size,
            _ => 0,
        }
    }
}

fn common(w: &mut Writer<'_>, cmd: u8, seq: Seq, range: Option<ByteRange>) {
    w.put("cmd", cmd);
    w.put("seq", seq.get());
    w.put("offset", range.map_or(0, ByteRange::offset));
    w.put("length", range.map_or(0, ByteRange::length));
}

/// What must be skipped if the WRITE is refused.
fn drain(payload: &[Field<'_>; 4]) -> Result<u32, MessageError> {
    let size = Header::size(payload)?;
    if size > LONGEST_DATA {
        return Err(MessageError::Value("size"));
    }
    Ok(size)
}

fn range(offset: &Field<'_>, length: &Field<'_>) -> Result<ByteRange, Reason> {
    let (offset, length) = (offset.get()?, length.get()?);
    ByteRange::new(offset, length).ok_or(Reason::Range)
}

/// What a component can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the data area.
    pub datasize: u64,
    /// Bytes of a sector.
    pub sectorsize: u32,
    /// Longest READ or WRITE, in bytes; at most [`LONGEST_DATA`].
    pub longest: u32,
}

/// Why a message on A is no request to carry out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The stream can no longer be followed; the connection ends.
    Fatal(MessageError),
    /// The request is answered with an error and the stream goes on.
    Refused(Refusal),
}

impl From<MessageError> for RequestError {
    fn from(error: MessageError) -> Self {
        Self::Fatal(error)
    }
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fatal(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.reason.fmt(f),
        }
    }
}

impl core::error::Error for RequestError {}

/// A request that is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Its number, if it had one.
    pub seq: Option<Seq>,
    /// It asked for a memsync acknowledgement, which then is in the refusal.
    pub received: bool,
    /// Bytes of payload to skip before the next message; at most
    /// [`LONGEST_DATA`].
    pub drain: u32,
    /// Why.
    pub reason: Reason,
}

impl Refusal {
    /// The answer: base's error for all of these is EINVAL.
    #[must_use]
    pub const fn reply(&self) -> Reply {
        Reply {
            seq: self.seq,
            received: self.received,
            error: Some(Errno::EINVAL),
            payload: None,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// No number, or 0.
    Seq,
    /// No offset or length.
    Field(FieldError),
    /// Length 0, or an end beyond 2^64.
    Range,
    /// Longer than one request may be.
    TooLong,
    /// Not a multiple of the sector size.
    Unaligned,
    /// Beyond the end of the data.
    BeyondEnd,
}

impl From<FieldError> for Reason {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seq => f.write_str("request without a number"),
            Self::Field(error) => write!(f, "request {error}"),
            Self::Range => f.write_str("request of impossible offset and length"),
            Self::TooLong => f.write_str("request is too long"),
            Self::Unaligned => f.write_str("request is not aligned to sectors"),
            Self::BeyondEnd => f.write_str("request reaches beyond the end of the data"),
        }
    }
}

#[cfg(test)]
mod tests;

//! Replies, secondary to primary on B.
//! Facts: spec/hast-wire.md section 8.
//!
//! | entry | type | there if |
//! |---|---|---|
//! | `seq` | uint64 | always |
//! | `received` | int8 | the data of a memsync WRITE is in memory |
//! | `error` | int16 | the request failed |
//! | payload entries | | a READ succeeded; data follows |

use super::{LONGEST_DATA, MessageError};
use crate::errno::Errno;
use crate::frame;
use crate::nv::{Full, pick};
use crate::payload::{self, Header, PayloadError};
use crate::units::{Seq, Version};

/// A reply. What it answers only its number tells:
/// [`Outstanding`](crate::outstanding::Outstanding).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The request; `None` for 0, which answers nothing.
    pub seq: Option<Seq>,
    /// Acknowledges that data is in memory. With `error` it is the refusal of
    /// a memsync WRITE, and the only reply to it.
    pub received: bool,
    /// The request failed.
    pub error: Option<Errno>,
    /// Data follows.
    pub payload: Option<Header>,
}

impl Reply {
    /// The request was carried out, and there is no data to send.
    #[must_use]
    pub const fn done(seq: Seq) -> Self {
        Self {
            seq: Some(seq),
            received: false,
            error: None,
            payload: None,
        }
    }

    /// The data of a memsync WRITE is in memory.
    #[must_use]
    pub const fn received(seq: Seq) -> Self {
        Self {
            received: true,
            ..Self::done(seq)
        }
    }

    /// The request failed.
    #[must_use]
    pub const fn failed(seq: Seq, error: Errno) -> Self {
        Self {
            error: Some(error),
            ..Self::done(seq)
        }
    }

    /// The data of a READ follows.
    #[must_use]
    pub const fn data(seq: Seq, payload: Header) -> Self {
        Self {
            payload: Some(payload),
            ..Self::done(seq)
        }
    }

    /// Reads the message.
    pub fn decode(entries: &[u8]) -> Result<Self, MessageError> {
        let [seq, received, error, payload @ ..] = pick(
            entries,
            [
                "seq",
                "received",
                "error",
                payload::NAMES[0],
                payload::NAMES[1],
                payload::NAMES[2],
                payload::NAMES[3],
            ],
        )?;
        let error = match error.optional::<i16>()? {
            None | Some(0) => None,
            Some(n) => Some(
                u16::try_from(n)
                    .ok()
                    .and_then(Errno::new)
                    .ok_or(MessageError::Value("error"))?,
            ),
        };
        let payload = Header::read(&payload)?;
        if payload.size > LONGEST_DATA {
            return Err(MessageError::Value("size"));
        }
        let received = received.is_present();
        // Data comes with a READ that succeeded and with nothing else.
        if payload.size > 0 && (error.is_some() || received) {
            return Err(PayloadError::Length.into());
        }
        Ok(Self {
            seq: seq.optional()?.and_then(Seq::new),
            received,
            error,
            payload: (payload != Header::EMPTY).then_some(payload),
        })
    }

    /// Writes the message; data follows it if it says so.
    pub fn encode(&self, version: Version, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, version, |w| {
            w.put("seq", self.seq.map_or(0, Seq::get));
            w.put_some("received", self.received.then_some(1i8));
            // Errno never exceeds an int16.
            let error = self.error.and_then(|e| i16::try_from(e.get()).ok());
            w.put_some("error", error);
            if let Some(payload) = &self.payload {
                payload.write(w);
            }
        })
    }

    /// Bytes of payload behind the message.
    #[must_use]
    pub fn payload_size(&self) -> u32 {
        self.payload.map_or(0, |payload| payload.size)
    }
}

#[cfg(test)]
mod tests;

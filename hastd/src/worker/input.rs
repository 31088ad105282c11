//! The receiving side of a link: many messages per read, payloads straight to
//! where they belong.

use ggate::buffer::Buf;
use ggate::net::read_ahead;
use hast_core::frame::{Decoder, Event, FrameError, NODE_LIMIT};
use hast_core::payload::{Header, PayloadError};
use socket2::Socket;
use std::io::{self, Read as _};
use std::sync::Arc;

/// Input buffer in bytes: two requests of 128 KiB, hundreds of messages.
const INPUT: usize = 256 << 10;

/// Why a link ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the other node closed the connection")]
    Closed,
    #[error("receiving failed: {}", ggate::errno::words(.0))]
    Receive(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Message(#[from] hast_core::message::MessageError),
}

/// Bytes received and not yet looked at.
pub(super) struct Input {
    socket: Arc<Socket>,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    decoder: Decoder,
    /// A payload that does not travel as it is.
    wire: Vec<u8>,
    last_payload: usize,
}

impl Input {
    pub(super) fn new(socket: Arc<Socket>) -> Self {
        Self {
            socket,
            bytes: vec![0; INPUT].into_boxed_slice(),
            start: 0,
            end: 0,
            decoder: Decoder::new(NODE_LIMIT),
            wire: Vec::new(),
            last_payload: 0,
        }
    }

    /// Looks at the next message, if all of it is here.
    pub(super) fn message<R>(
        &mut self,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, FrameError> {
        let (taken, event) = self.decoder.next(&self.bytes[self.start..self.end])?;
        self.start += taken;
        Ok(match event {
            Some(Event::Message(entries)) => Some(look(entries)),
            _ => None,
        })
    }

    /// Waits for more.
    pub(super) fn fill(&mut self) -> Result<(), LinkError> {
        // At most the begin of a message is left.
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let ahead = read_ahead(self.bytes.len() - self.end, self.last_payload);
        let room = &mut self.bytes[self.end..][..ahead];
        self.end += receive(&self.socket, room)?;
        Ok(())
    }

    /// Goes on with a payload; whether it is complete. Waits at most once, and
    /// only if `may_wait`.
    pub(super) fn payload(
        &mut self,
        coming: &mut Coming,
        may_wait: bool,
    ) -> Result<bool, LinkError> {
        let Self {
            socket,
            bytes,
            start,
            end,
            wire,
            ..
        } = self;
        let size = coming.size();
        let room = match &mut coming.into {
            Into::Data(data, begin) if coming.header.is_verbatim() => &mut data[*begin..][..size],
            Into::Data(..) => {
                wire.resize(size, 0);
                &mut wire[..]
            }
            Into::Nothing => {
                let here = (*end - *start).min(size - coming.done);
                *start += here;
                coming.done += here;
                &mut []
            }
        };
        if !room.is_empty() {
            let here = (*end - *start).min(size - coming.done);
            room[coming.done..][..here].copy_from_slice(&bytes[*start..][..here]);
            *start += here;
            coming.done += here;
            self.last_payload = size;
            if coming.done < size && may_wait {
                coming.done += receive(socket, &mut room[coming.done..])?;
            }
        } else if coming.done < size && may_wait {
            self.fill()?;
            return self.payload(coming, false);
        }
        if coming.done < size {
            return Ok(false);
        }
        if let Into::Data(data, begin) = &mut coming.into {
            let target = &mut data[*begin..][..coming.length];
            if coming.header.is_verbatim() {
                coming.header.verify(target)?;
            } else {
                coming.header.receive(&self.wire, target)?;
            }
        }
        Ok(true)
    }
}

/// Receives something.
fn receive(mut socket: &Socket, room: &mut [u8]) -> Result<usize, LinkError> {
    loop {
        match socket.read(room) {
            Ok(0) => return Err(LinkError::Closed),
            Ok(received) => return Ok(received),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A payload that is arriving.
#[derive(Debug)]
pub(super) struct Coming {
    header: Header,
    into: Into,
    /// Bytes of the data it stands for.
    length: usize,
    /// Bytes of the payload that are here.
    done: usize,
}

#[derive(Debug)]
enum Into {
    /// From this byte of the buffer on.
    Data(Buf, usize),
    /// Nobody wants it.
    Nothing,
}

impl Coming {
    /// Into `length` bytes of the buffer from `begin` on. `None` if they are
    /// not all there.
    pub(super) fn new(header: Header, data: Buf, begin: usize, length: usize) -> Option<Self> {
        let end = begin.checked_add(length)?;
        (end <= data.len()).then_some(Self {
            header,
            into: Into::Data(data, begin),
            length,
            done: 0,
        })
    }

    /// So many bytes of no use.
    pub(super) const fn skip(size: u32) -> Self {
        Self {
            header: Header {
                size,
                ..Header::EMPTY
            },
            into: Into::Nothing,
            length: 0,
            done: 0,
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.header.size).unwrap_or(usize::MAX)
    }

    /// The buffer, when it was not to be skipped.
    pub(super) fn into_data(self) -> Option<Buf> {
        match self.into {
            Into::Data(data, _) => Some(data),
            Into::Nothing => None,
        }
    }
}

//! The receiving side of a session: `recvtd`.
//!
//! Many headers per read; a WRITE's payload goes into its own buffer, whatever
//! of it the input buffer does not hold yet without passing through that.
//! Replies of requests that were executed here are sent together when the
//! input holds no further request, and before anything that may wait.

use super::{MAX_REQUEST, MAX_UNANSWERED, Session, SessionError, Tag};
use ggate::buffer::Buf;
use ggate::disk::{Job, Op, Submitted};
use ggate::errno::WireErrno;
use ggate::range::ByteRange;
use ggate::wire::{Command, Frame, Input, Request};
use nix::errno::Errno;
use std::io;

/// What `recvtd` works with.
pub(super) struct Receiver<'a> {
    session: &'a Session,
    input: Input,
    /// Requests received so far.
    accepted: u64,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(session: &'a Session) -> Self {
        Self {
            session,
            input: Input::default(),
            accepted: 0,
        }
    }

    /// Serves until the client closes the connection (`Ok`) or something
    /// fails.
    pub(super) fn run(&mut self) -> Result<(), SessionError> {
        loop {
            while let Some(header) = self.input.header() {
                self.accept(Request::decode(&header))?;
            }
            self.session.out.send();
            if !self.fill()? {
                return if self.input.is_empty() {
                    Ok(())
                } else {
                    Err(SessionError::CutShort)
                };
            }
        }
    }

    /// Receives more; `false` at the end.
    fn fill(&mut self) -> Result<bool, SessionError> {
        let received = self.input.fill(&self.session.requests);
        Ok(received.map_err(receive_error)? != 0)
    }

    fn accept(&mut self, request: Request) -> Result<(), SessionError> {
        self.accepted += 1;
        let out = &self.session.out;
        if out.unanswered(self.accepted) > MAX_UNANSWERED {
            out.send();
            out.wait_for_room(self.accepted, MAX_UNANSWERED);
        }
        match self.judge(request) {
            Ok(Some(op)) => self.execute(request, op),
            Ok(None) => {
                self.answer(request, None);
                Ok(())
            }
            Err(error) => {
                self.discard_payload(request)?;
                self.answer(request, Some(error));
                Ok(())
            }
        }
    }

    /// What to do for a request; `None` when nothing needs to be done.
    fn judge(&self, request: Request) -> Result<Option<Op>, WireErrno> {
        let geometry = self.session.geometry;
        let op = match request.command {
            Command::Flush => return Ok(Some(Op::Flush)),
            Command::Read => Op::Read,
            Command::Write => Op::Write,
            Command::Other(_) => return Err(WireErrno::EOPNOTSUPP),
        };
        let fits = geometry.check(request.range());
        if fits.is_err() || request.length > MAX_REQUEST {
            return Err(WireErrno::EINVAL);
        }
        Ok(match (op, request.length) {
            // Clients of FreeBSD 12.1 mean a flush by that.
            (Op::Write, 0) if request.offset == geometry.media_size => Some(Op::Flush),
            (_, 0) => None,
            _ => Some(op),
        })
    }

    fn execute(&mut self, request: Request, op: Op) -> Result<(), SessionError> {
        let length = match op {
            Op::Read | Op::Write => request.length as usize,
            Op::Flush | Op::Delete => 0,
        };
        let mut data = self.buffer(length);
        if op == Op::Write {
            self.receive_payload(&mut data)?;
        }
        let range = match op {
            Op::Flush => ByteRange::default(),
            _ => request.range(),
        };
        self.session.stats.begin(op, length);
        let job = Job {
            tag: Tag(request),
            op,
            range,
            data,
        };
        match self.session.disk.submit(job) {
            Submitted::Executed | Submitted::Queued => Ok(()),
            Submitted::Dropped => Err(SessionError::Closed),
        }
    }

    /// A buffer; waits when the session has too much under way, after sending
    /// what would make room.
    fn buffer(&self, length: usize) -> Buf {
        let pool = &self.session.pool;
        pool.try_get(length).unwrap_or_else(|| {
            self.session.out.send();
            pool.get(length)
        })
    }

    fn receive_payload(&mut self, data: &mut [u8]) -> Result<(), SessionError> {
        let mut done = self.input.take(data);
        if done < data.len() {
            self.session.out.send();
        }
        while done < data.len() {
            let received = self
                .input
                .receive(&self.session.requests, &mut data[done..]);
            match received.map_err(receive_error)? {
                0 => return Err(SessionError::CutShort),
                received => done += received,
            }
        }
        Ok(())
    }

    /// Takes the payload of a refused WRITE off the connection, so that the
    /// next header is found behind it.
    fn discard_payload(&mut self, request: Request) -> Result<(), SessionError> {
        let mut left = request.payload_len() as usize;
        left -= self.input.skip(left);
        while left != 0 {
            self.session.out.send();
            if !self.fill()? {
                return Err(SessionError::CutShort);
            }
            left -= self.input.skip(left);
        }
        Ok(())
    }

    /// A reply without payload, to be sent with the others.
    fn answer(&self, request: Request, error: Option<WireErrno>) {
        let frame = Frame::reply(request.reply(error), None);
        self.session.out.queue(frame);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn receive_error(error: io::Error) -> SessionError {
    SessionError::Receive(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

//! The input side of a connection: a buffer that one `recv` fills with many
//! requests, and payloads that go straight where they are wanted.

use super::conn::Conn;
use super::proto::{REQUEST_LEN, RequestHeader};
use crate::net::read_ahead;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::uio::readv;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Input buffer: more than two thousand headers, or fifteen 4 KiB writes.
const INPUT_BUFFER: usize = 64 << 10;

/// Memory for a payload that is collected aside, in bytes at a time: it grows
/// with what has come and not with what was announced.
const PART: usize = 256 << 10;

/// What stands first in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peek {
    /// No whole header yet.
    Nothing,
    /// This request.
    Request(RequestHeader),
    /// Nothing will follow, or nothing that makes sense.
    End,
}

/// How far a payload came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// All of it.
    All,
    /// Only so many bytes within the time.
    Part(usize),
    /// The client is gone.
    Closed,
}

/// One connection's input.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) conn: Arc<Conn>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the payload received last.
    payload: usize,
    skip: usize,
    eof: bool,
}

impl Lane {
    /// Begins with bytes that came with the handshake.
    pub(crate) fn new(conn: Arc<Conn>, leftover: &[u8]) -> Self {
        let mut buffer = vec![0; INPUT_BUFFER.max(leftover.len())].into_boxed_slice();
        buffer[..leftover.len()].copy_from_slice(leftover);
        Self {
            conn,
            buffer,
            start: 0,
            end: leftover.len(),
            payload: 0,
            skip: 0,
            eof: false,
        }
    }

    /// Bytes at hand.
    pub(crate) fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Nothing more will come from the client.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof
    }

    /// What stands first.
    pub(crate) fn peek(&mut self) -> Peek {
        let skipped = self.skip.min(self.buffered());
        self.consume(skipped);
        self.skip -= skipped;
        match self.buffer[self.start..self.end].first_chunk::<REQUEST_LEN>() {
            Some(bytes) => RequestHeader::decode(bytes).map_or(Peek::End, Peek::Request),
            None if self.eof => Peek::End,
            None => Peek::Nothing,
        }
    }

    /// Removes the header that [`Self::peek`] showed.
    pub(crate) fn consume_header(&mut self) {
        self.consume(REQUEST_LEN);
    }

    /// The next `count` bytes are not wanted.
    pub(crate) fn skip(&mut self, count: usize) {
        self.skip += count;
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Moves up to `to.len()` bytes out of the buffer.
    pub(crate) fn copy_out(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.buffered());
        to[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.consume(count);
        count
    }

    /// Moves what is here of a payload, of which so many bytes are missing,
    /// behind `to`; says how much that was.
    pub(crate) fn receive_behind(&mut self, to: &mut Vec<u8>, missing: usize) -> usize {
        let begin = to.len();
        to.resize(begin + missing.min(PART), 0);
        let mut count = self.copy_out(&mut to[begin..]);
        if count == 0 {
            count = read_now(&self.conn, &mut to[begin..], &mut self.eof);
        }
        to.truncate(begin + count);
        count
    }

    /// Reads what the socket has, as far as there is room.
    pub(crate) fn fill(&mut self) {
        if self.start > 0 && self.buffer.len() - self.end < REQUEST_LEN {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let ahead = read_ahead(self.buffer.len() - self.end, self.payload);
        if ahead > 0 {
            let room = &mut self.buffer[self.end..][..ahead];
            self.end += read_now(&self.conn, room, &mut self.eof);
        }
    }

    /// Receives a payload, waiting for at most `budget` in all, and not before
    /// `before_waiting` was called. The requests behind it are taken along into
    /// the buffer.
    pub(crate) fn receive(
        &mut self,
        payload: &mut [u8],
        budget: Duration,
        before_waiting: &mut dyn FnMut(),
    ) -> Received {
        let mut got = self.copy_out(payload);
        self.payload = payload.len();
        let ahead = read_ahead(self.buffer.len(), self.payload);
        let mut deadline = None;
        while got < payload.len() {
            // The buffer is empty now, or the payload would be complete.
            let mut parts = [
                IoSliceMut::new(&mut payload[got..]),
                IoSliceMut::new(&mut self.buffer[..ahead]),
            ];
            match readv(self.conn.as_fd(), &mut parts) {
                Ok(0) => return Received::Closed,
                Ok(count) => {
                    let direct = count.min(payload.len() - got);
                    got += direct;
                    self.end = count - direct;
                }
                Err(Errno::EAGAIN) => match deadline {
                    None => {
                        before_waiting();
                        deadline = Some(Instant::now() + budget);
                        // Clients send it right behind its header: to give way
                        // to them may spare a wake-up.
                        thread::yield_now();
                    }
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Received::Part(got);
                        }
                        self.wait(left);
                    }
                },
                Err(Errno::EINTR) => {}
                Err(_) => return Received::Closed,
            }
        }
        Received::All
    }

    fn wait(&self, at_most: Duration) {
        let timeout = PollTimeout::try_from(at_most.max(Duration::from_millis(1)))
            .unwrap_or(PollTimeout::ZERO);
        // Whatever it says, the next read tells.
        let _ = poll(
            &mut [PollFd::new(self.conn.as_fd(), PollFlags::POLLIN)],
            timeout,
        );
    }
}

/// What the socket has, without waiting; 0 also at the end.
fn read_now(conn: &Conn, room: &mut [u8], eof: &mut bool) -> usize {
    match recv(conn.as_fd().as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => *eof = true,
        Ok(count) => return count,
        Err(Errno::EAGAIN | Errno::EINTR) => {}
        Err(_) => conn.kill(),
    }
    0
}

//! A client's connection after the handshake: replies and accounting.
//!
//! Invariant: a reply is sent whole and unmixed. What the socket does not take
//! at once is copied and follows when it has room; nobody ever waits for a
//! client here.

use super::proto::{self, NbdError, ReplyHead};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, UnixAddr, send, sendmsg};
use parking_lot::Mutex;
use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Reply bytes that may wait for a client before it is read no further: a few
/// ordinary replies, so that a client that reads steadily keeps its pipeline.
const WAITING_REPLIES: usize = 1 << 20;

/// READ bytes that a client may have outstanding, and thus the copies it can
/// make us keep by not reading its replies: half of the largest READ, which is
/// always taken when nothing else is outstanding.
const READ_WINDOW: usize = 16 << 20;

/// Requests in flight per client: twice what qemu, libnbd or the Linux client
/// send, eight times what NBD asks servers to take.
const MAX_IN_FLIGHT: usize = 512;

/// A reply buffer larger than this is freed once it has been sent: a large
/// reply's rest comes again and again, and fresh memory costs page faults.
const KEPT_BUFFER: usize = 1 << 20;

/// What became of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// The socket has it, or the client is gone.
    Done,
    /// The first bytes that had to wait: somebody must call [`Conn::flush`]
    /// when the socket has room.
    Stalled,
}

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: UnixStream,
    structured: bool,
    output: Mutex<Output>,
    unsent: AtomicUsize,
    in_flight: AtomicUsize,
    read_bytes: AtomicUsize,
    parked: AtomicBool,
    dead: AtomicBool,
    departed: AtomicBool,
}

impl Conn {
    /// Wraps a stream that is non-blocking. `unsent` is the end of the
    /// handshake.
    pub(crate) fn new(stream: UnixStream, structured: bool, unsent: Vec<u8>) -> Self {
        Self {
            stream,
            structured,
            unsent: AtomicUsize::new(unsent.len()),
            output: Mutex::new(Output {
                bytes: unsent,
                sent: 0,
            }),
            in_flight: AtomicUsize::new(0),
            read_bytes: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            departed: AtomicBool::new(false),
        }
    }

    /// A request that reads `read` bytes (else 0) was taken.
    pub(crate) fn took(&self, read: usize) {
        self.in_flight.fetch_add(1, SeqCst);
        self.read_bytes.fetch_add(read, SeqCst);
    }

    /// That many are over, which read so many bytes together. True when the
    /// connection was parked and may be read again.
    pub(crate) fn finished(&self, requests: usize, read: usize) -> bool {
        self.in_flight.fetch_sub(requests, SeqCst);
        self.read_bytes.fetch_sub(read, SeqCst);
        self.unpark()
    }

    /// Whether a further request that reads `read` bytes must wait; if so the
    /// connection is parked until [`Self::finished`] or [`Self::flush`] says
    /// otherwise.
    pub(crate) fn must_wait(&self, read: usize) -> bool {
        if !self.is_congested(read) {
            return false;
        }
        self.parked.store(true, SeqCst);
        // Whoever made room before seeing the mark would not tell us. And whoever
        // has seen it meanwhile must not be overruled.
        if self.is_congested(read) {
            return true;
        }
        self.parked.store(false, SeqCst);
        false
    }

    /// Whether [`Self::must_wait`] would say so now.
    pub(crate) fn is_congested(&self, read: usize) -> bool {
        let outstanding = self.read_bytes.load(SeqCst);
        self.unsent.load(SeqCst) > WAITING_REPLIES
            || self.in_flight.load(SeqCst) >= MAX_IN_FLIGHT
            || (outstanding > 0 && read > 0 && outstanding + read > READ_WINDOW)
    }

    /// Whether the connection is not to be read now.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(SeqCst)
    }

    fn unpark(&self) -> bool {
        self.parked.load(SeqCst) && self.parked.swap(false, SeqCst)
    }

    /// The answer to a request that is not a READ, or to a READ that failed or
    /// was empty.
    pub(crate) fn head(&self, cookie: u64, read: bool, error: Option<NbdError>) -> ReplyHead {
        match error {
            Some(error) if read && self.structured => proto::error_chunk(cookie, error).into(),
            None if read && self.structured => proto::empty_chunk(cookie).into(),
            _ => proto::simple_reply(cookie, error).into(),
        }
    }

    /// What goes before the data of a READ from `offset` on.
    pub(crate) fn data_head(&self, cookie: u64, offset: u64, data: &[u8]) -> ReplyHead {
        match u32::try_from(data.len()) {
            Ok(length) if self.structured => proto::data_chunk(cookie, offset, length).into(),
            _ => proto::simple_reply(cookie, None).into(),
        }
    }

    /// Sends replies, made of any number of parts.
    pub(crate) fn send(&self, mut parts: &mut [IoSlice<'_>]) -> Sent {
        let mut output = self.output.lock();
        if self.is_dead() {
            return Sent::Done;
        }
        let waited = !output.bytes.is_empty();
        if waited {
            self.send_waiting(&mut output);
        }
        if output.bytes.is_empty() {
            match self.try_send(parts) {
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(Errno::EAGAIN) => {}
                Err(_) => {
                    self.kill();
                    return Sent::Done;
                }
            }
        }
        if parts.is_empty() {
            return Sent::Done;
        }
        for part in parts {
            output.bytes.extend_from_slice(part);
        }
        self.unsent.store(output.bytes.len() - output.sent, SeqCst);
        if waited { Sent::Done } else { Sent::Stalled }
    }

    fn try_send(&self, parts: &[IoSlice<'_>]) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<UnixAddr>(self.stream.as_raw_fd(), parts, &[], flags, None) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    fn send_waiting(&self, output: &mut Output) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while output.sent < output.bytes.len() {
            match send(self.stream.as_raw_fd(), &output.bytes[output.sent..], flags) {
                Ok(count) => output.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    self.kill();
                    output.sent = output.bytes.len();
                }
            }
        }
        if output.sent == output.bytes.len() {
            output.bytes.clear();
            output.bytes.shrink_to(KEPT_BUFFER);
            output.sent = 0;
        }
        self.unsent.store(output.bytes.len() - output.sent, SeqCst);
    }

    /// Sends what waits. Whether something still does, and whether the
    /// connection was parked and may be read again.
    pub(crate) fn flush(&self) -> (bool, bool) {
        let mut output = self.output.lock();
        self.send_waiting(&mut output);
        let waits = !output.bytes.is_empty();
        let room = self.unsent.load(SeqCst) <= WAITING_REPLIES;
        (waits, room && self.unpark())
    }

    /// Ends the connection: its requests are forgotten when they complete.
    pub(crate) fn kill(&self) {
        self.dead.store(true, SeqCst);
        // Fails only when the client has closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The queues know that the client has gone; changed under their lock.
    pub(crate) fn depart(&self) {
        self.departed.store(true, SeqCst);
    }

    /// Whether [`Self::depart`] was called.
    pub(crate) fn has_departed(&self) -> bool {
        self.departed.load(SeqCst)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }

    /// Whether the client has closed its end, noticed by us or not.
    pub(crate) fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        self.is_dead()
            || (poll(&mut fds, PollTimeout::ZERO).is_ok()
                && fds[0]
                    .revents()
                    .is_some_and(|events| events.intersects(gone)))
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

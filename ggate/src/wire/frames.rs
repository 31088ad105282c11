//! Frames on their way out: several per system call, never waiting for the
//! other side.

use super::{Reply, Request};
use crate::buffer::Buf;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

/// Slices per call, two to a frame: enough for the kernel call to be a small
/// part of the work, little stack, and well under the 1024 that systems take.
const SLICES: usize = 128;

/// Until the next attempt when the system is short of network buffers.
const SHORTAGE: Duration = Duration::from_millis(10);

/// A request or a reply with its payload.
#[derive(Debug)]
pub struct Frame {
    header: [u8; Request::SIZE],
    payload: Option<Buf>,
}

impl Frame {
    /// A request; a WRITE's with its data.
    #[must_use]
    pub fn request(request: Request, payload: Option<Buf>) -> Self {
        let header = request.encode();
        Self { header, payload }
    }

    /// A reply; a successful READ's with its data.
    #[must_use]
    pub fn reply(reply: Reply, payload: Option<Buf>) -> Self {
        let header = reply.encode();
        Self { header, payload }
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        self.header.len() + self.payload.as_ref().map_or(0, |payload| payload.len())
    }

    /// The payload, and what a client asked for with it.
    #[must_use]
    pub fn into_request(self) -> (Request, Option<Buf>) {
        (Request::decode(&self.header), self.payload)
    }
}

/// What came of an attempt to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All of it is out.
    Done,
    /// The connection takes no more for the moment: EAGAIN, or the system is
    /// short of network buffers. [`wait_writable`] may help.
    Full(Errno),
    /// The connection is broken.
    Broken(Errno),
}

/// What one thread is sending.
#[derive(Debug, Default)]
pub struct Frames {
    /// In front those that are out.
    queue: VecDeque<Frame>,
    /// How many these are.
    sent: usize,
    /// Bytes of the next one that are out.
    begun: usize,
}

impl Frames {
    /// Nothing to send.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            sent: 0,
            begun: 0,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent == self.queue.len()
    }

    /// Takes a queue over, in exchange for the memory of an empty one. All
    /// frames that were here have been drained.
    pub fn refill(&mut self, queue: &mut VecDeque<Frame>) {
        debug_assert!(self.queue.is_empty(), "frames got lost");
        std::mem::swap(&mut self.queue, queue);
    }

    /// Takes out the frames that have been sent.
    pub fn drain_sent(&mut self) -> impl ExactSizeIterator<Item = Frame> {
        self.queue.drain(..std::mem::take(&mut self.sent))
    }

    /// Takes out all frames: the connection is not used any more.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Frame> {
        (self.sent, self.begun) = (0, 0);
        self.queue.drain(..)
    }

    /// Sends without waiting.
    pub fn send(&mut self, socket: &TcpStream) -> Progress {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            let mut skip = self.begun;
            for frame in self.queue.range(self.sent..).take(SLICES / 2) {
                let payload = frame.payload.as_deref().unwrap_or_default();
                for part in [&frame.header[..], payload] {
                    let cut = skip.min(part.len());
                    skip -= cut;
                    let part = &part[cut..];
                    slices[used] = IoSlice::new(part);
                    used += usize::from(!part.is_empty());
                }
            }
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(socket.as_raw_fd(), &slices[..used], &[], flags, None) {
                Ok(bytes) => self.advance(bytes),
                Err(Errno::EINTR) => {}
                Err(why @ (Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    return Progress::Full(why);
                }
                Err(error) => return Progress::Broken(error),
            }
        }
        Progress::Done
    }

    fn advance(&mut self, bytes: usize) {
        self.begun += bytes;
        while let Some(size) = self.queue.get(self.sent).map(Frame::size)
            && size <= self.begun
        {
            self.begun -= size;
            self.sent += 1;
        }
    }
}

/// Waits until it is worth trying again.
pub fn wait_writable(socket: &TcpStream, why: Errno) {
    if why != Errno::EAGAIN {
        // The socket has room, the system has not: nothing tells when.
        std::thread::sleep(SHORTAGE);
    }
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    // Whatever it says, the next attempt to send will say it better.
    let _ = poll(&mut fds, PollTimeout::NONE);
}

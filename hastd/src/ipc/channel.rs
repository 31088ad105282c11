//! Messages with descriptors over a stream socket, in any pieces.

#![allow(unsafe_code, reason = "descriptors arrive as numbers")]

use super::Received;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest message in bytes: a few paths of 1024 bytes and a handshake.
const LONGEST: usize = 64 << 10;

/// Length and number of descriptors.
const HEADER: usize = 5;

/// Most descriptors beside a message: the two connections of a peer.
const MOST_DESCRIPTORS: usize = 4;

/// Bytes taken from the socket at once.
const READ: usize = 16 << 10;

/// Messages that may wait for a worker to read. One that leaves more unread
/// hangs.
const MOST_QUEUED: usize = 256;

/// Why a channel is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process has ended.
    #[error("the other process has ended")]
    Ended,
    /// The socket failed.
    #[error("{}", .0.desc())]
    Socket(Errno),
    /// A message too long, or with too many descriptors.
    #[error("a message of {0} bytes and {1} descriptors")]
    TooLong(usize, usize),
    /// A message that is none.
    #[error("a message that cannot be understood: {0}")]
    Message(#[from] serde_json::Error),
    /// The other process does not read.
    #[error("{MOST_QUEUED} messages were not read")]
    Unread,
}

/// The sending side. Waits for nobody unless told so.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    queue: VecDeque<Outgoing>,
}

/// A message on its way.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Sends over this socket.
    #[must_use]
    pub const fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            queue: VecDeque::new(),
        }
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Takes a message and sends as much as can be sent at once. The rest goes
    /// with [`Channel::flush`].
    pub fn send<M: Serialize>(
        &mut self,
        message: &M,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ChannelError> {
        if self.queue.len() >= MOST_QUEUED {
            return Err(ChannelError::Unread);
        }
        let mut bytes = vec![0; HEADER];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - HEADER;
        let count = u8::try_from(descriptors.len()).unwrap_or(u8::MAX);
        let length_field = u32::try_from(length).unwrap_or(u32::MAX);
        if length > LONGEST || usize::from(count) > MOST_DESCRIPTORS {
            return Err(ChannelError::TooLong(length, descriptors.len()));
        }
        bytes[..4].copy_from_slice(&length_field.to_le_bytes());
        bytes[4] = count;
        self.queue.push_back(Outgoing {
            bytes,
            sent: 0,
            descriptors,
        });
        self.flush()
    }

    /// Sends what waits, as far as that can be done at once.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some(outgoing) = self.queue.front_mut() {
            match outgoing.send(&self.socket) {
                Ok(()) if outgoing.sent == outgoing.bytes.len() => {
                    self.queue.pop_front();
                }
                Ok(()) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ChannelError::Ended),
                Err(errno) => return Err(ChannelError::Socket(errno)),
            }
        }
        Ok(())
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends all that waits, as far as the other side takes it in time.
    pub fn drain(&mut self, patience: Duration) -> Result<(), ChannelError> {
        let deadline = Instant::now() + patience;
        self.flush()?;
        while self.is_waiting() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ChannelError::Unread);
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(ChannelError::Socket(errno)),
            }
            self.flush()?;
        }
        Ok(())
    }
}

impl Outgoing {
    /// The descriptors go with the first byte that is sent.
    fn send(&mut self, socket: &UnixStream) -> Result<(), Errno> {
        let fds: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let slices = [IoSlice::new(&self.bytes[self.sent..])];
        self.sent += sendmsg::<()>(socket.as_raw_fd(), &slices, control, flags, None)?;
        self.descriptors.clear();
        Ok(())
    }
}

/// The receiving side.
#[derive(Default, Debug)]
pub struct Receiver {
    bytes: Vec<u8>,
    /// Of `bytes`, those that were made into messages.
    taken: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl Receiver {
    /// Takes what is there, once. Waits if the socket is blocking and nothing
    /// is; otherwise `false` says that nothing was.
    pub fn read(&mut self, socket: BorrowedFd<'_>) -> Result<bool, ChannelError> {
        self.read_at_most(socket, READ)
    }

    fn read_at_most(&mut self, socket: BorrowedFd<'_>, most: usize) -> Result<bool, ChannelError> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let begin = self.bytes.len();
        self.bytes.resize(begin + most, 0);
        let mut space = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
        let mut slices = [IoSliceMut::new(&mut self.bytes[begin..])];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let result = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags);
        let read = match result {
            Ok(message) => {
                let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
                let cmsgs = message.cmsgs().map_err(ChannelError::Socket)?;
                self.descriptors.extend(cmsgs.flat_map(descriptors));
                if truncated || self.descriptors.len() > 2 * MOST_DESCRIPTORS {
                    return Err(ChannelError::TooLong(0, self.descriptors.len()));
                }
                Ok(message.bytes)
            }
            Err(errno) => Err(errno),
        };
        self.bytes.truncate(begin + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) | Err(Errno::ECONNRESET) => Err(ChannelError::Ended),
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(ChannelError::Socket(errno)),
        }
    }

    /// The next message, if all of it is there.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<Received<M>>, ChannelError> {
        let bytes = &self.bytes[self.taken..];
        let Some((&[a, b, c, d, count], rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let count = usize::from(count);
        if length > LONGEST || count > MOST_DESCRIPTORS {
            return Err(ChannelError::TooLong(length, count));
        }
        let Some(text) = rest.get(..length) else {
            return Ok(None);
        };
        if self.descriptors.len() < count {
            return Ok(None);
        }
        let message = serde_json::from_slice(text)?;
        self.taken += HEADER + length;
        Ok(Some(Received {
            message,
            descriptors: self.descriptors.drain(..count).collect(),
        }))
    }

    /// Waits for the next message; the socket must be blocking.
    pub fn receive<M: DeserializeOwned>(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> Result<Received<M>, ChannelError> {
        loop {
            if let Some(received) = self.take()? {
                return Ok(received);
            }
            self.read(socket)?;
        }
    }
}

fn descriptors(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let fds = match message {
        ControlMessageOwned::ScmRights(fds) => fds,
        _ => Vec::new(),
    };
    // SAFETY: the kernel has just made them for us; nobody else knows them.
    let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    fds.into_iter().map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::{Event, FromWorker, Peer, ToWorker};
    use std::io::Write as _;

    fn pipe() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    fn messages() -> [(ToWorker, usize); 4] {
        [
            (ToWorker::Status { question: 1 }, 0),
            (
                ToWorker::Peer(Box::new(Peer {
                    address: "tcp://10.0.0.1:1234".into(),
                    version: 2,
                    extensions: 7,
                    hello: vec![0, 255, 8],
                })),
                2,
            ),
            (ToWorker::Stop { if_closed: true }, 0),
            (
                ToWorker::Connected {
                    attempt: 3,
                    error: None,
                },
                1,
            ),
        ]
    }

    /// FreeBSD's bug 292322: base's workers lose messages, or take one's
    /// descriptor for another's, when a read meets more or less than one.
    #[test]
    fn messages_and_descriptors_survive_any_split_of_reads() {
        for most in [1, 2, 3, 5, 7, 64, 4096] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut channel = Channel::new(ours);
            for (message, count) in messages() {
                let descriptors = (0..count).map(|_| pipe()).collect();
                channel.send(&message, descriptors).unwrap();
            }
            assert!(!channel.is_waiting());
            let mut reader = Receiver::default();
            for (message, count) in messages() {
                let received = loop {
                    if let Some(received) = reader.take::<ToWorker>().unwrap() {
                        break received;
                    }
                    reader.read_at_most(theirs.as_fd(), most).unwrap();
                };
                assert_eq!(received.message, message);
                assert_eq!(received.descriptors.len(), count);
            }
        }
    }

    #[test]
    fn who_does_not_read_stops_nobody() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut channel = Channel::new(ours);
        let event = FromWorker::Event(Event::Connect);
        let refused = loop {
            if let Err(error) = channel.send(&event, Vec::new()) {
                break error;
            }
        };
        assert!(matches!(refused, ChannelError::Unread));
        theirs.set_nonblocking(true).unwrap();
        let mut receiver = Receiver::default();
        let mut count = 0;
        while channel.is_waiting() {
            while receiver.read(theirs.as_fd()).unwrap() {
                while let Some(received) = receiver.take::<FromWorker>().unwrap() {
                    assert_eq!(received.message, event);
                    count += 1;
                }
            }
            channel.flush().unwrap();
        }
        assert!(count > MOST_QUEUED);
    }

    #[test]
    fn what_is_no_message_is_an_error_and_takes_no_memory() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0xff; 5]).unwrap();
        let mut reader = Receiver::default();
        reader.read(theirs.as_fd()).unwrap();
        let error = reader.take::<FromWorker>().unwrap_err();
        assert!(matches!(error, ChannelError::TooLong(..)));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[2, 0, 0, 0, 0, b'{', b']']).unwrap();
        let mut reader = Receiver::default();
        let error = reader.receive::<FromWorker>(theirs.as_fd()).unwrap_err();
        assert!(matches!(error, ChannelError::Message(_)));
        drop(ours);
        let ended = Receiver::default().receive::<FromWorker>(theirs.as_fd());
        assert!(matches!(ended, Err(ChannelError::Ended)));
    }
}

//! The sending side of a link.
//!
//! Messages are queued by whoever causes them, in the machine's order. The
//! thread that finds nobody sending sends, without waiting, until nothing is
//! left, many messages per call. When the connection takes no more the thread
//! named `sendtd` goes on, which alone ever waits for the peer: whoever reads
//! replies must not, or two nodes would wait for one another to read.
//!
//! Messages are made when they are sent: checksums and compression cost time
//! that nobody should spend under the machine's lock.

use super::buffers::Buffers;
use ggate::net::wait_writable;
use hast_core::payload::Workspace;
use hast_core::slab::RequestId;
use hast_core::units::ByteRange;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};
use parking_lot::{Condvar, Mutex, MutexGuard};
use socket2::Socket;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

/// Bytes put together for one system call, payloads up to [`COPIED`]
/// included.
const BATCH: usize = 128 << 10;

/// Payloads up to here are copied behind their message, in bytes; larger ones
/// are sent from where they are.
pub(super) const COPIED: usize = 16 << 10;

/// As many messages are worth a system call although more may follow: the peer
/// can begin with them.
const WORTH_A_CALL: usize = 8;

/// Messages that may wait for the connection before whoever causes more of
/// them on behalf of the peer has to wait, too: two replies to each request a
/// secondary has room for.
const MOST_QUEUED: usize = 1024;

thread_local! {
    static BATCHES: Cell<bool> = const { Cell::new(false) };
}

/// This thread calls [`Output::send`] whenever it is about to wait: messages
/// that it causes in between go together.
pub(super) fn batch_on_this_thread() {
    BATCHES.set(true);
}

/// A payload that is sent from where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Large {
    pub(super) id: RequestId,
    pub(super) range: ByteRange,
}

/// Makes messages.
pub(super) trait Encode: Send + Sync {
    /// What is to be sent, small and cheap to copy.
    type Frame: Copy + Send;

    /// Appends the message. `Err` if what it is about has ended.
    fn encode(
        &self,
        frame: &Self::Frame,
        bytes: &mut Vec<u8>,
        workspace: &mut Workspace,
    ) -> Result<Option<Large>, Gone>;

    /// It left this node.
    fn sent(&self, frame: &Self::Frame);

    /// Sending failed, and the connections were shut down.
    fn failed(&self, error: Errno);
}

/// The request of a frame has ended: so has the link it belonged to.
#[derive(Debug)]
pub(super) struct Gone;

/// The queue, and the connection it goes out on.
pub(super) struct Output<F> {
    state: Mutex<State<F>>,
    /// What the sending thread has taken off the queue. Only that thread locks
    /// it, so it never waits.
    batch: Mutex<Batch<F>>,
    buffers: Arc<Buffers>,
    /// Wakes sendtd.
    stalled: Condvar,
    /// Signalled when the queue was emptied.
    emptied: Condvar,
}

struct State<F> {
    queue: VecDeque<F>,
    socket: Option<Arc<Socket>>,
    /// Which of the connections it is: one more for each.
    link: u64,
    sender: Sender,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    /// Nobody sends; the queue is empty or its owner will call `send`.
    Idle,
    /// Some thread is sending.
    Busy,
    /// The connection takes no more for the moment: sendtd's turn.
    Stalled,
}

struct Batch<F> {
    link: u64,
    frames: VecDeque<F>,
    /// Of `frames`, those whose messages are in `bytes`.
    encoded: usize,
    bytes: Vec<u8>,
    /// The payload behind `bytes`.
    large: Option<Large>,
    /// Bytes of `bytes` and `large` that are out.
    begun: usize,
    workspace: Workspace,
}

/// What came of an attempt to send.
enum Progress {
    Done,
    /// EAGAIN, or the system is short of network buffers.
    Full(Errno),
    Broken(Errno),
}

impl<F: Copy + Send> Output<F> {
    /// Without a connection. Payloads of up to `compressed` bytes can be
    /// compressed.
    pub(super) fn new(buffers: Arc<Buffers>, compressed: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                socket: None,
                link: 0,
                sender: Sender::Idle,
            }),
            batch: Mutex::new(Batch {
                link: 0,
                frames: VecDeque::new(),
                encoded: 0,
                bytes: Vec::with_capacity(2 * BATCH),
                large: None,
                begun: 0,
                workspace: Workspace::new(compressed),
            }),
            buffers,
            stalled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// What follows goes out here.
    pub(super) fn open(&self, socket: Arc<Socket>) {
        let mut state = self.state.lock();
        state.queue.clear();
        state.link += 1;
        state.socket = Some(socket);
        self.emptied.notify_all();
    }

    /// A link has ended: if it is the one that messages go out on, nothing of
    /// it is sent any more.
    pub(super) fn close(&self, connections: &[Arc<Socket>]) {
        let mut state = self.state.lock();
        let ended = |socket: &mut Arc<Socket>| {
            let mut of_link = connections.iter();
            of_link.any(|connection| Arc::ptr_eq(connection, socket))
        };
        if let Some(socket) = state.socket.take_if(ended) {
            state.queue.clear();
            // Wakes whoever waits for it; it may be broken already.
            let _ = socket.shutdown(Shutdown::Both);
            self.stalled.notify_all();
            self.emptied.notify_all();
        }
    }

    /// Waits until the peer has taken most of what it caused. To be called by
    /// who takes its requests, and by nobody who reads replies.
    pub(super) fn wait_for_room<E: Encode<Frame = F>>(&self, encoder: &E) {
        let is_full = |state: &State<F>| state.queue.len() >= MOST_QUEUED;
        if !is_full(&self.state.lock()) {
            return;
        }
        self.send(encoder);
        let mut state = self.state.lock();
        while is_full(&state) && state.socket.is_some() {
            self.emptied.wait(&mut state);
        }
    }

    /// Queues a message; [`send`](Self::send) must follow, at the latest when
    /// the caller would wait for something.
    pub(super) fn queue(&self, frame: F) {
        let mut state = self.state.lock();
        if state.socket.is_some() {
            state.queue.push_back(frame);
        }
    }

    /// Sends what is queued, unless another thread is doing that.
    pub(super) fn send<E: Encode<Frame = F>>(&self, encoder: &E) {
        self.send_queued(self.state.lock(), encoder);
    }

    fn send_queued<E: Encode<Frame = F>>(&self, mut state: MutexGuard<'_, State<F>>, encoder: &E) {
        if state.sender == Sender::Idle && !state.queue.is_empty() {
            state.sender = Sender::Busy;
            self.pump(state, encoder, false);
        }
    }

    /// What is queued about a range of this length is sent now, unless this
    /// thread sends before it waits and there is something to be gained by
    /// waiting for more: a payload beyond [`COPIED`] is in no batch.
    pub(super) fn send_about<E: Encode<Frame = F>>(&self, length: u64, encoder: &E) {
        let state = self.state.lock();
        let few = state.queue.len() < WORTH_A_CALL;
        if !BATCHES.get() || length > COPIED as u64 || !few {
            self.send_queued(state, encoder);
        }
    }

    /// The thread `sendtd`; never returns.
    pub(super) fn run<E: Encode<Frame = F>>(&self, encoder: &E) {
        let mut state = self.state.lock();
        loop {
            if state.sender == Sender::Stalled {
                self.pump(state, encoder, true);
                state = self.state.lock();
            } else {
                self.stalled.wait(&mut state);
            }
        }
    }

    /// Sends batch after batch until the queue is empty. If the connection is
    /// full, waits for it or leaves the rest to sendtd.
    fn pump<E: Encode<Frame = F>>(
        &self,
        mut state: MutexGuard<'_, State<F>>,
        encoder: &E,
        may_wait: bool,
    ) {
        let mut batch = self.batch.lock();
        loop {
            if batch.link != state.link || state.socket.is_none() {
                batch.forget(state.link);
            }
            let Some(socket) = state.socket.clone() else {
                state.sender = Sender::Idle;
                return;
            };
            if batch.frames.is_empty() {
                if state.queue.is_empty() {
                    state.sender = Sender::Idle;
                    return;
                }
                std::mem::swap(&mut batch.frames, &mut state.queue);
                self.emptied.notify_all();
            }
            let progress = MutexGuard::unlocked(&mut state, || {
                let progress = batch.send(&socket, &self.buffers, encoder);
                if let Progress::Full(why) = progress
                    && may_wait
                {
                    wait_writable(&*socket, why);
                }
                progress
            });
            match progress {
                Progress::Full(_) if !may_wait => {
                    state.sender = Sender::Stalled;
                    self.stalled.notify_one();
                    return;
                }
                Progress::Done | Progress::Full(_) => {}
                Progress::Broken(error) => {
                    if state.link == batch.link && state.socket.take().is_some() {
                        state.queue.clear();
                        let _ = socket.shutdown(Shutdown::Both);
                        self.emptied.notify_all();
                        MutexGuard::unlocked(&mut state, || encoder.failed(error));
                    }
                }
            }
        }
    }
}

impl<F: Copy + Send> Batch<F> {
    fn forget(&mut self, link: u64) {
        self.link = link;
        self.frames.clear();
        self.encoded = 0;
        self.bytes.clear();
        self.large = None;
        self.begun = 0;
    }

    /// Sends without waiting; what is out is off the list.
    fn send<E: Encode<Frame = F>>(
        &mut self,
        socket: &Socket,
        buffers: &Buffers,
        encoder: &E,
    ) -> Progress {
        while !self.frames.is_empty() {
            if self.encoded == 0
                && let Err(Gone) = self.encode(encoder)
            {
                return Progress::Broken(Errno::ECONNABORTED);
            }
            match self.attempt(socket, buffers) {
                Ok(sent) => self.begun += sent,
                Err(Errno::EINTR) => continue,
                Err(why @ (Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    return Progress::Full(why);
                }
                Err(error) => return Progress::Broken(error),
            }
            if self.begun == self.length() {
                for frame in self.frames.drain(..self.encoded) {
                    encoder.sent(&frame);
                }
                self.encoded = 0;
                self.bytes.clear();
                self.large = None;
                self.begun = 0;
            }
        }
        Progress::Done
    }

    fn length(&self) -> usize {
        let large = self.large.map_or(0, |large| large.range.length());
        self.bytes.len() + super::buffers::to_usize(large)
    }

    /// Makes the messages of as many frames as go into one call.
    fn encode<E: Encode<Frame = F>>(&mut self, encoder: &E) -> Result<(), Gone> {
        for frame in &self.frames {
            self.large = encoder.encode(frame, &mut self.bytes, &mut self.workspace)?;
            self.encoded += 1;
            if self.large.is_some() || self.bytes.len() >= BATCH {
                break;
            }
        }
        Ok(())
    }

    fn attempt(&self, socket: &Socket, buffers: &Buffers) -> nix::Result<usize> {
        let first = &self.bytes[self.begun.min(self.bytes.len())..];
        let call = |second: &[u8]| {
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            sendmsg::<()>(socket.as_raw_fd(), &slices, &[], flags, None)
        };
        match self.large {
            None => call(&[]),
            Some(Large { id, range }) => {
                let begun = self.begun.saturating_sub(self.bytes.len());
                buffers
                    .with(id, range, |data| call(&data[begun..]))
                    .unwrap_or(Err(Errno::ECONNABORTED))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::io::Read as _;

    /// Frames are the bytes of their messages.
    struct Bytes;

    impl Encode for Bytes {
        type Frame = u8;

        fn encode(
            &self,
            frame: &u8,
            bytes: &mut Vec<u8>,
            _: &mut Workspace,
        ) -> Result<Option<Large>, Gone> {
            bytes.push(*frame);
            Ok(None)
        }

        fn sent(&self, _: &u8) {}

        fn failed(&self, error: Errno) {
            panic!("{error}");
        }
    }

    /// A peer that can tell one call from the next.
    fn connected() -> (Output<u8>, Socket) {
        let (ours, peer) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        peer.set_nonblocking(true).unwrap();
        let output = Output::new(Arc::new(Buffers::new(1)), 0);
        output.open(Arc::new(ours));
        (output, peer)
    }

    fn received(mut peer: &Socket) -> Option<Vec<u8>> {
        let mut bytes = [0; 16];
        let length = peer.read(&mut bytes).ok()?;
        Some(bytes[..length].to_vec())
    }

    #[test]
    fn who_sends_before_it_waits_sends_small_messages_together() {
        let (output, peer) = connected();
        batch_on_this_thread();
        for frame in 1..4 {
            output.queue(frame);
            output.send_about(4096, &Bytes);
        }
        assert_eq!(received(&peer), None);
        output.send(&Bytes);
        assert_eq!(received(&peer), Some(vec![1, 2, 3]));
        output.queue(4);
        output.send_about(COPIED as u64 + 1, &Bytes);
        assert_eq!(received(&peer), Some(vec![4]), "nothing would be gained");
        for frame in 0..10 {
            output.queue(frame);
            output.send_about(4096, &Bytes);
        }
        let first: Vec<u8> = (0..8).collect();
        assert_eq!(received(&peer), Some(first), "the peer may begin");
        assert_eq!(received(&peer), None);
    }

    #[test]
    fn who_may_wait_with_messages_in_the_queue_sends_at_once() {
        let (output, peer) = connected();
        for frame in 1..3 {
            output.queue(frame);
            output.send_about(4096, &Bytes);
            assert_eq!(received(&peer), Some(vec![frame]));
        }
    }
}

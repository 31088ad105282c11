//! `sendtd`: from the gate to the server.
//!
//! Requests are queued in the order in which the gate hands them out, and go
//! several to a system call. The thread that takes them from the gate sends
//! them, too, when it would have to wait for the next one or has put together
//! enough; it never waits for the server. What the connection does not take at
//! once is left to another thread, which alone does.

use ggate::gate::serve::{Handler, Payload};
use ggate::gate::{Command, Outcome, Request};
use ggate::wire::{self, Frame, Frames, Progress, wait_writable};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;

use crate::client::Client;
use crate::durability::Covers;

/// Frames that are put together at the most: as many as one call sends.
const MAX_FRAMES: usize = 64;

/// Bytes after which a batch goes out: beyond the size of a socket buffer
/// nothing is won by waiting for more.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// The sending side: what is to be sent, and over which session. Without one
/// nothing is sent; requests wait in the table of the unanswered.
#[derive(Debug)]
pub(crate) struct Outgoing {
    state: Mutex<State>,
    /// What the sending thread has taken off the queue. Only that thread locks
    /// it, so it never waits.
    batch: Mutex<Frames>,
    /// Wakes the thread that may wait for the server.
    stalled: Condvar,
    /// Signalled when nobody sends any more.
    idle: Condvar,
}

#[derive(Debug)]
struct State {
    session: Option<Arc<Session>>,
    queue: VecDeque<Frame>,
    /// Bytes in the queue.
    bytes: usize,
    sender: Sender,
}

#[derive(Debug)]
struct Session {
    number: u64,
    stream: TcpStream,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    /// Nobody sends.
    Idle,
    /// Some thread does.
    Busy,
    /// The connection takes no more for the moment: the other thread's turn.
    Stalled,
}

impl Handler for Client {
    fn reserve(&self) -> bool {
        self.wait_for_room()
    }

    fn handle(&self, request: &Request, payload: Payload<'_>) {
        if let Err(errno) = self.forward(request, payload) {
            // DONE may hold this thread; what was taken before must not wait.
            self.send();
            self.gate.done(request, Outcome::Error(errno));
        }
    }

    fn idle(&self) {
        self.send();
    }
}

impl Client {
    /// Puts a request into the table and the queue, or says with which error it
    /// is to be completed here.
    fn forward(&self, request: &Request, payload: Payload<'_>) -> Result<(), Errno> {
        match request.command {
            Command::Read | Command::Write | Command::Flush => {}
            Command::Delete | Command::Speedup | Command::Other(_) => {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        let header = on_wire(request).ok_or(Errno::EINVAL)?;
        let payload = (request.command == Command::Write).then(|| payload.detach());
        let mut out = self.out.state.lock();
        self.enter(request)?;
        out.push(Frame::request(header, payload));
        if out.queue.len() >= MAX_FRAMES || out.bytes >= MAX_BATCH_BYTES {
            self.send_locked(out);
        }
        Ok(())
    }

    /// Puts a request into the table. Whether a FLUSH may be sent is decided
    /// under the same lock: what is found out about the server later finds the
    /// FLUSH in the table.
    fn enter(&self, request: &Request) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let mut covers = Covers::default();
        if request.command == Command::Flush {
            if self.flush_unsupported() {
                return Err(Errno::EOPNOTSUPP);
            }
            if state.durability.report_loss() {
                return Err(Errno::EIO);
            }
            covers = state.durability.flush_sent();
        }
        state.unanswered.insert(*request, covers);
        Ok(())
    }
}

/// The request as it is sent; `None` when the protocol cannot say it.
pub(crate) fn on_wire(request: &Request) -> Option<wire::Request> {
    let command = match request.command {
        Command::Read => wire::Command::Read,
        Command::Write => wire::Command::Write,
        Command::Flush => wire::Command::Flush,
        Command::Delete | Command::Speedup | Command::Other(_) => return None,
    };
    wire::Request::new(command, request.range, request.seq)
}

impl State {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.size();
        self.queue.push_back(frame);
    }
}

impl Outgoing {
    pub(crate) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                session: None,
                queue: VecDeque::new(),
                bytes: 0,
                sender: Sender::Idle,
            }),
            batch: Mutex::new(Frames::new()),
            stalled: Condvar::new(),
            idle: Condvar::new(),
        }
    }
}

impl Client {
    /// A new session: everything that is unanswered is sent again, in the old
    /// order, before anything else.
    pub(crate) fn begin(&self, number: u64, stream: TcpStream) {
        let mut out = self.out.state.lock();
        out.session = None;
        // Whoever sends finds the old connection shut down.
        while out.sender != Sender::Idle {
            self.out.idle.wait(&mut out);
        }
        // What was queued meanwhile is in the table, to be sent in its turn.
        self.give_back(out.queue.drain(..));
        out.bytes = 0;
        let mut table = self.state.lock();
        for seq in table.unanswered.in_order() {
            if let Some((request, payload)) = table.unanswered.lend(seq) {
                let header = on_wire(&request).expect("it was sent before");
                out.push(Frame::request(header, payload));
            }
        }
        drop(table);
        out.session = Some(Arc::new(Session { number, stream }));
        self.send_locked(out);
    }

    /// Sends what is queued, unless another thread is doing that.
    pub(crate) fn send(&self) {
        self.send_locked(self.out.state.lock());
    }

    fn send_locked(&self, mut out: MutexGuard<'_, State>) {
        if out.sender == Sender::Idle && !out.queue.is_empty() {
            out.sender = Sender::Busy;
            self.pump(out, false);
        }
    }

    /// Sends batch after batch until the queue is empty. If the connection is
    /// full, waits for it or leaves the rest to the thread that may.
    fn pump(&self, mut out: MutexGuard<'_, State>, may_wait: bool) {
        let mut batch = self.out.batch.lock();
        loop {
            if batch.is_empty() {
                if out.queue.is_empty() {
                    out.sender = Sender::Idle;
                    self.out.idle.notify_all();
                    return;
                }
                batch.refill(&mut out.queue);
                out.bytes = 0;
            }
            let session = out.session.clone();
            let progress = MutexGuard::unlocked(&mut out, || {
                self.send_batch(&mut batch, session.as_deref(), may_wait)
            });
            if let Progress::Full(_) = progress
                && !may_wait
            {
                out.sender = Sender::Stalled;
                self.out.stalled.notify_one();
                return;
            }
        }
    }

    /// One attempt. What is out, or cannot be sent, goes back to the table.
    fn send_batch(
        &self,
        batch: &mut Frames,
        session: Option<&Session>,
        may_wait: bool,
    ) -> Progress {
        let Some(session) = session else {
            self.give_back(batch.drain());
            return Progress::Done;
        };
        let progress = batch.send(&session.stream);
        self.give_back(batch.drain_sent());
        match progress {
            Progress::Full(why) if may_wait => wait_writable(&session.stream, why),
            Progress::Done | Progress::Full(_) => {}
            Progress::Broken(error) => {
                let why = format!("sending failed: {}", error.desc());
                self.link.fail(session.number, &why);
                self.give_back(batch.drain());
            }
        }
        progress
    }

    /// Gives payloads back to the table.
    fn give_back(&self, frames: impl Iterator<Item = Frame>) {
        let mut state = self.state.lock();
        for frame in frames {
            if let (request, Some(payload)) = frame.into_request() {
                state.unanswered.give_back(request.seq, payload);
            }
        }
    }

    /// The thread that waits for the server, as long as the process lives.
    pub(crate) fn send_stalled(&self) {
        let mut out = self.out.state.lock();
        loop {
            if out.sender == Sender::Stalled {
                self.pump(out, true);
                out = self.out.state.lock();
            } else {
                self.out.stalled.wait(&mut out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::gate::handle::Handle;
    use ggate::gate::{Cancel, Create, GateId, Ggctl, Modify, Seq, Started, Unit};
    use ggate::range::ByteRange;
    use std::io::Read as _;
    use std::net::TcpListener;

    /// A gate of which nothing is asked.
    struct NoGate;

    impl Ggctl for NoGate {
        fn create(&self, _: &Create) -> nix::Result<Unit> {
            unreachable!()
        }
        fn modify(&self, _: Unit, _: &Modify) -> nix::Result<()> {
            unreachable!()
        }
        fn destroy(&self, _: &GateId, _: bool) -> nix::Result<()> {
            unreachable!()
        }
        fn cancel(&self, _: &GateId, _: Cancel) -> nix::Result<Unit> {
            unreachable!()
        }
        fn start(&self, _: Unit, _: &mut [u8]) -> nix::Result<Started> {
            unreachable!()
        }
        fn done(&self, _: Unit, _: &Request, _: Outcome<'_>) -> nix::Result<()> {
            unreachable!()
        }
    }

    fn client() -> Client {
        Client::new(Handle {
            ctl: Box::new(NoGate),
            unit: Unit(0),
        })
    }

    fn write(seq: u64) -> Request {
        Request {
            seq: Seq(seq),
            command: Command::Write,
            range: ByteRange::new(0, 512),
        }
    }

    /// Requests go on being taken while there is no session.
    #[test]
    fn a_batch_begun_between_two_sessions_is_sent_once_in_its_turn() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let client = client();
        for seq in [1, 2] {
            let mut payload = client.pool.get(512);
            payload.fill(u8::try_from(seq).unwrap());
            let header = on_wire(&write(seq)).unwrap();
            let mut out = client.out.state.lock();
            client.enter(&write(seq)).unwrap();
            out.push(Frame::request(header, Some(payload)));
        }
        client.begin(2, stream);
        client.send();
        drop(client);
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).unwrap();
        let frame = wire::Request::SIZE + 512;
        assert_eq!(sent.len(), 2 * frame);
        for (seq, frame) in (1..).zip(sent.chunks(frame)) {
            let header = wire::Request::decode(frame.first_chunk().unwrap());
            assert_eq!(header.seq, Seq(seq));
            assert_eq!(u64::from(frame[frame.len() - 1]), seq);
        }
    }
}

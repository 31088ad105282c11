//! The sending side of a session.
//!
//! Replies are queued by whoever completes a request. The thread that finds
//! nobody sending sends, without blocking, everything that is queued until
//! nothing is left, several replies per call. When the connection takes no
//! more, the thread named `sendtd` goes on, which alone ever waits for the
//! client.

use super::SessionError;
use ggate::wire::{Frame, Frames, Progress, Reply, wait_writable};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a client that knows heartbeats hears of us at least. It gives a
/// silent server up after four of them.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The queue of replies and the connection they go out on.
pub(super) struct Outgoing {
    socket: TcpStream,
    state: Mutex<State>,
    /// What the sending thread has taken off the queue. Only that thread locks
    /// it, so it never waits.
    batch: Mutex<Frames>,
    /// Replies sent so far; written under the lock of `state`.
    sent: AtomicU64,
    /// How many of them answer no request.
    heartbeats: AtomicU64,
    /// Whether the client knows heartbeats.
    wants_heartbeats: bool,
    /// Wakes sendtd.
    stalled: Condvar,
    /// Signalled when replies have been sent and the receiver waits for that.
    room: Condvar,
}

struct State {
    queue: VecDeque<Frame>,
    sender: Sender,
    receiver_waits: bool,
    /// Something was sent since sendtd last looked.
    alive: bool,
    failure: Option<SessionError>,
    closed: bool,
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

impl Outgoing {
    pub(super) fn new(socket: TcpStream, wants_heartbeats: bool) -> Self {
        Self {
            socket,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                sender: Sender::Idle,
                receiver_waits: false,
                alive: false,
                failure: None,
                closed: false,
            }),
            batch: Mutex::new(Frames::new()),
            sent: AtomicU64::new(0),
            heartbeats: AtomicU64::new(0),
            wants_heartbeats,
            stalled: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Queues a reply; [`send`](Self::send) must follow, at the latest when the
    /// caller would wait for something.
    pub(super) fn queue(&self, frame: Frame) {
        let mut state = self.state.lock();
        if !state.closed {
            state.queue.push_back(frame);
        }
    }

    /// Queues a reply and sends what is queued.
    pub(super) fn queue_and_send(&self, frame: Frame) {
        let mut state = self.state.lock();
        if !state.closed {
            state.queue.push_back(frame);
            self.send_locked(state);
        }
    }

    /// Sends what is queued, unless another thread is doing that.
    pub(super) fn send(&self) {
        self.send_locked(self.state.lock());
    }

    fn send_locked(&self, mut state: MutexGuard<'_, State>) {
        if state.sender != Sender::Idle || state.queue.is_empty() {
            return;
        }
        state.sender = Sender::Busy;
        self.pump(state, false);
    }

    /// Sends batch after batch until the queue is empty. If the connection is
    /// full, waits for it or leaves the rest to sendtd.
    fn pump(&self, mut state: MutexGuard<'_, State>, may_wait: bool) {
        let mut batch = self.batch.lock();
        loop {
            if state.closed {
                drop(batch.drain());
                state.sender = Sender::Idle;
                return;
            }
            if batch.is_empty() {
                if state.queue.is_empty() {
                    state.sender = Sender::Idle;
                    return;
                }
                batch.refill(&mut state.queue);
            }
            let (sent, progress) = MutexGuard::unlocked(&mut state, || {
                let progress = batch.send(&self.socket);
                let sent = batch.drain_sent().len() as u64;
                if let Progress::Full(why) = progress
                    && may_wait
                {
                    wait_writable(&self.socket, why);
                }
                (sent, progress)
            });
            self.sent.fetch_add(sent, Ordering::Relaxed);
            state.alive |= sent != 0;
            if state.receiver_waits {
                self.room.notify_one();
            }
            match progress {
                Progress::Full(_) if !may_wait => {
                    state.sender = Sender::Stalled;
                    self.stalled.notify_one();
                    return;
                }
                Progress::Done | Progress::Full(_) => {}
                Progress::Broken(error) => {
                    self.fail(&mut state, SessionError::Send(error));
                }
            }
        }
    }

    /// The thread `sendtd`, until the session is closed.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                drop(state);
                drop(self.batch.lock().drain());
                return;
            }
            if state.sender == Sender::Stalled {
                self.pump(state, true);
                state = self.state.lock();
            } else if !self.wants_heartbeats {
                self.stalled.wait(&mut state);
            } else if self.stalled.wait_for(&mut state, HEARTBEAT).timed_out() {
                state = self.beat(state);
            }
        }
    }

    /// Gives a sign of life, unless replies have done that lately.
    fn beat<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let silent = !std::mem::take(&mut state.alive);
        if silent && state.sender == Sender::Idle && !state.closed {
            self.heartbeats.fetch_add(1, Ordering::Relaxed);
            state.queue.push_back(Frame::reply(Reply::HEARTBEAT, None));
            self.send_locked(state);
            return self.state.lock();
        }
        state
    }

    /// Waits until no more than `limit` of `accepted` requests are unanswered.
    pub(super) fn wait_for_room(&self, accepted: u64, limit: u64) {
        let mut state = self.state.lock();
        while !state.closed && self.unanswered(accepted) > limit {
            state.receiver_waits = true;
            self.room.wait(&mut state);
        }
        state.receiver_waits = false;
    }

    /// How many of `accepted` requests have not been answered. A heartbeat
    /// that is queued counts, too.
    pub(super) fn unanswered(&self, accepted: u64) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        (accepted + self.heartbeats.load(Ordering::Relaxed)).saturating_sub(sent)
    }

    /// Ends sending: drops what is queued, wakes everybody. Returns why sending
    /// failed, if it did.
    pub(super) fn close(&self) -> Option<SessionError> {
        let mut state = self.state.lock();
        self.shut(&mut state);
        state.failure.take()
    }

    fn fail(&self, state: &mut State, error: SessionError) {
        if !state.closed {
            state.failure = Some(error);
        }
        self.shut(state);
    }

    fn shut(&self, state: &mut State) {
        state.closed = true;
        state.queue.clear();
        // Wakes whoever waits for the connection; it may be broken already.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.stalled.notify_all();
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::buffer::Pool;
    use ggate::gate::Seq;
    use ggate::wire::{Command, Request};
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::sync::Arc;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn reply(seq: u64, length: usize) -> Reply {
        let request = Request {
            command: Command::Read,
            offset: 0,
            length: u32::try_from(length).unwrap(),
            seq: Seq(seq),
        };
        request.reply(None)
    }

    /// Replies of all sizes reach a client that reads slowly, whole and in
    /// order, whichever thread sends them.
    #[test]
    fn every_byte_arrives_however_the_connection_cuts_them() {
        let (mut client, server) = pair();
        let out = Arc::new(Outgoing::new(server, false));
        let pool = Pool::new(64 << 20);
        let lengths: Vec<usize> = (0..400_usize).map(|n| n * n * 7 % 90_000).collect();
        let expected: Vec<usize> = lengths.clone();
        let sendtd = {
            let out = Arc::clone(&out);
            std::thread::spawn(move || out.run())
        };
        let reader = std::thread::spawn(move || {
            for (seq, length) in expected.into_iter().enumerate() {
                let mut header = [0; Reply::SIZE];
                client.read_exact(&mut header).unwrap();
                assert_eq!(Reply::decode(&header), reply(seq as u64, length));
                let mut payload = vec![0; length];
                client.read_exact(&mut payload).unwrap();
                let byte = u8::try_from(seq % 251).unwrap();
                assert!(payload.iter().all(|b| *b == byte), "reply {seq}");
            }
        });
        for (seq, length) in lengths.iter().enumerate() {
            let mut payload = pool.get(*length);
            payload.fill(u8::try_from(seq % 251).unwrap());
            let frame = Frame::reply(reply(seq as u64, *length), Some(payload));
            if seq % 3 == 0 {
                out.queue(frame);
            } else {
                out.queue_and_send(frame);
            }
        }
        out.send();
        reader.join().unwrap();
        out.wait_for_room(lengths.len() as u64, 0);
        assert_eq!(out.unanswered(400), 0);
        assert!(out.close().is_none());
        sendtd.join().unwrap();
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn a_client_that_reads_nothing_holds_up_only_its_sendtd() {
        let (client, server) = pair();
        let out = Arc::new(Outgoing::new(server, false));
        let pool = Pool::new(64 << 20);
        let sendtd = {
            let out = Arc::clone(&out);
            std::thread::spawn(move || out.run())
        };
        for seq in 0..400 {
            let frame = Frame::reply(reply(seq, 65_536), Some(pool.get(65_536)));
            out.queue_and_send(frame);
        }
        assert!(out.unanswered(400) > 0);
        assert!(out.close().is_none());
        sendtd.join().unwrap();
        assert_eq!(pool.used(), 0);
        drop(client);
    }

    #[test]
    fn a_broken_connection_is_remembered() {
        let (client, server) = pair();
        drop(client);
        let out = Outgoing::new(server, false);
        for seq in 0..1000 {
            out.queue_and_send(Frame::reply(reply(seq, 0), None));
        }
        assert!(matches!(out.close(), Some(SessionError::Send(_))));
    }

    /// Only clients that know heartbeats get them, and they count as no reply.
    #[test]
    fn a_silent_second_ends_with_a_heartbeat() {
        let (mut client, server) = pair();
        let out = Arc::new(Outgoing::new(server, true));
        let sendtd = std::thread::spawn({
            let out = Arc::clone(&out);
            move || out.run()
        });
        let mut header = [0; Reply::SIZE];
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.read_exact(&mut header).unwrap();
        assert_eq!(Reply::decode(&header), Reply::HEARTBEAT);
        out.queue_and_send(Frame::reply(reply(7, 0), None));
        client.read_exact(&mut header).unwrap();
        assert_eq!(Reply::decode(&header), reply(7, 0));
        out.wait_for_room(1, 0);
        assert_eq!(out.unanswered(1), 0);
        out.close();
        sendtd.join().unwrap();
    }
}

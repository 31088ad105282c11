//! A faulty TCP proxy: cuts, stalls, resets in mid-frame, half-opens.
//!
//! It listens on a port of 127.0.0.1 and forwards each connection to its
//! target. Each direction of a connection is two threads, a reader and a
//! writer with a bounded queue between them, so that a delay costs latency and
//! no bandwidth. All faults can be switched while connections are open.
//!
//! What it cannot do: the proxy's own TCP goes on acknowledging, so a peer
//! behind a [`Proxy::black_hole`] looks alive to keep-alive probes.

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one read, at most.
const CHUNK: usize = 128 << 10;

/// Bytes that one direction holds back before it stops reading; enough to keep
/// 10 Gbit/s going over 25 ms.
const QUEUE_LIMIT: usize = 32 << 20;

/// How often a thread that makes no progress looks whether its connection has
/// been ended.
const POLL: Duration = Duration::from_millis(10);

/// A direction through the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From who connected to the proxy, to the target.
    ToTarget,
    /// Back.
    ToClient,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both sides see the end of the stream.
    Cut,
    /// Both sides see ECONNRESET; bytes under way may be lost.
    Reset,
}

/// What is wrong with a direction.
#[derive(Clone, Copy, Default, Debug)]
struct Fault {
    stalled: bool,
    black_hole: bool,
    byte_by_byte: bool,
    delay: Duration,
    /// Bytes a second, of each connection.
    rate: Option<u32>,
    /// After so many more bytes, end the connection that carries the last.
    fuse: Option<(usize, End)>,
    forwarded: u64,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    faults: [Fault; 2],
    accepted: usize,
    connections: Vec<Weak<Connection>>,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A proxy; dropping it resets its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for connections to `target`.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut proxy = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    target,
                    faults: [Fault::default(); 2],
                    accepted: 0,
                    connections: Vec::new(),
                    stopping: false,
                }),
                changed: Condvar::new(),
            }),
            acceptor: None,
        };
        proxy.listen(listener);
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.state.lock().target = target;
    }

    /// Ends all connections.
    pub fn end_all(&self, end: End) {
        let connections = self.shared.state.lock().connections.clone();
        for connection in connections.iter().filter_map(Weak::upgrade) {
            connection.end(end);
        }
        self.shared.changed.notify_all();
    }

    /// Ends a connection as soon as `bytes` more have been forwarded in a
    /// direction, in all connections together: the one that carries the last
    /// of them. Nothing that comes after them is forwarded there.
    pub fn end_after(&self, direction: Direction, bytes: usize, end: End) {
        assert!(bytes > 0, "use end_all");
        self.change(direction, |fault| fault.fuse = Some((bytes, end)));
    }

    /// Stops forwarding, or goes on, without losing anything.
    pub fn stall(&self, direction: Direction, stalled: bool) {
        self.change(direction, |fault| fault.stalled = stalled);
    }

    /// Swallows everything silently, ends of streams included, or forwards
    /// again what comes from then on.
    pub fn black_hole(&self, direction: Direction, on: bool) {
        self.change(direction, |fault| fault.black_hole = on);
    }

    /// Adds latency.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(direction, |fault| fault.delay = delay);
    }

    /// Carries at most so many bytes a second over each connection, like a link
    /// of that bandwidth.
    pub fn limit(&self, direction: Direction, bytes_a_second: u32) {
        self.change(direction, |fault| fault.rate = Some(bytes_a_second));
    }

    /// Forwards every byte by a write of its own.
    pub fn byte_by_byte(&self, direction: Direction, on: bool) {
        self.change(direction, |fault| fault.byte_by_byte = on);
    }

    /// Refuses new connections (nobody listens), or accepts them again on the
    /// same port.
    pub fn refuse(&mut self, on: bool) {
        if on {
            self.stop_listening();
        } else if self.acceptor.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port that was ours");
            self.listen(listener);
        }
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.state.lock().accepted
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        let state = self.shared.state.lock();
        state
            .connections
            .iter()
            .filter(|c| c.strong_count() > 0)
            .count()
    }

    /// How many bytes were forwarded so far.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.shared.state.lock().faults[direction as usize].forwarded
    }

    fn change(&self, direction: Direction, change: impl FnOnce(&mut Fault)) {
        change(&mut self.shared.state.lock().faults[direction as usize]);
        self.shared.changed.notify_all();
    }

    fn listen(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.state.lock().stopping {
                    return;
                }
                // A target that cannot be reached is a connection that ends at once.
                let _ = connect(&shared, client);
            }
        }));
    }

    fn stop_listening(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.state.lock().stopping = true;
        // Wakes the acceptor, which then closes its listener.
        let _ = TcpStream::connect(self.address);
        acceptor.join().expect("the acceptor does not panic");
        self.shared.state.lock().stopping = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_listening();
        self.end_all(End::Reset);
    }
}

/// The two sockets of a connection. They are closed, and so reset if that is
/// how it ends, when the last of its threads lets go.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    target: TcpStream,
    /// How it was ended, and where the writers look for it.
    ended: Mutex<Option<End>>,
}

impl Connection {
    fn end(&self, end: End) {
        self.ended.lock().get_or_insert(end);
        for socket in [&self.client, &self.target] {
            // All fail when the peer was faster.
            let _ = match end {
                End::Cut => socket.shutdown(Shutdown::Both),
                // Wakes our readers and tells the peer nothing.
                End::Reset => SockRef::from(socket)
                    .set_linger(Some(Duration::ZERO))
                    .and_then(|()| socket.shutdown(Shutdown::Read)),
            };
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    fn sockets(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::ToTarget => (&self.client, &self.target),
            Direction::ToClient => (&self.target, &self.client),
        }
    }
}

/// Connects to the target and starts the threads. All under the lock, so that
/// whoever saw the target accept can end the connection.
fn connect(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let mut state = shared.state.lock();
    let target = TcpStream::connect(state.target)?;
    for socket in [&client, &target] {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(POLL))?;
    }
    let connection = Arc::new(Connection {
        client,
        target,
        ended: Mutex::new(None),
    });
    state.accepted += 1;
    state.connections.retain(|c| c.strong_count() > 0);
    state.connections.push(Arc::downgrade(&connection));
    for direction in [Direction::ToTarget, Direction::ToClient] {
        let pump = Pump {
            shared: Arc::clone(shared),
            connection: Arc::clone(&connection),
            queue: Arc::default(),
            direction,
        };
        let reader = pump.clone();
        thread::spawn(move || reader.read());
        thread::spawn(move || pump.write());
    }
    Ok(())
}

/// What a reader has read and the writer not yet taken.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// When each chunk may go out; an empty one is the end of the stream.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Buffers for large chunks that were written.
    spare: Vec<Vec<u8>>,
}

/// One direction of a connection.
#[derive(Clone)]
struct Pump {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    queue: Arc<Queue>,
    direction: Direction,
}

impl Pump {
    fn read(&self) {
        let (mut from, _) = self.connection.sockets(self.direction);
        let mut buffer = vec![0; CHUNK];
        // When the link has carried everything so far.
        let mut carried = Instant::now();
        loop {
            let n = from.read(&mut buffer).unwrap_or_else(|_| {
                if !self.swallows() {
                    self.connection.end(End::Reset);
                }
                0
            });
            let Fault { delay, rate, .. } =
                self.shared.state.lock().faults[self.direction as usize];
            let mut waiting = self.queue.waiting.lock();
            while waiting.bytes > QUEUE_LIMIT && !self.connection.has_ended() {
                self.queue.changed.wait_for(&mut waiting, POLL);
            }
            carried = carried.max(Instant::now());
            if let (Some(rate), Ok(n)) = (rate, u32::try_from(n)) {
                carried += Duration::from_secs(1) * n / rate;
            }
            let chunk = if n > CHUNK / 2 {
                // Copying is what a proxy does most.
                let next = waiting.spare.pop().unwrap_or_else(|| vec![0; CHUNK]);
                let mut full = std::mem::replace(&mut buffer, next);
                full.truncate(n);
                full
            } else {
                buffer[..n].to_vec()
            };
            waiting.chunks.push_back((carried + delay, chunk));
            waiting.bytes += n;
            self.queue.changed.notify_all();
            if n == 0 {
                return;
            }
        }
    }

    /// Writes until the stream or the connection ends. An end that the proxy
    /// made is already visible to the peers, or will be when the sockets close.
    fn write(&self) {
        while let Some(chunk) = self.next() {
            if chunk.is_empty() {
                if !self.swallows() && !self.connection.has_ended() {
                    let (_, to) = self.connection.sockets(self.direction);
                    let _ = to.shutdown(Shutdown::Write);
                }
                return;
            }
            if self.forward(&chunk).is_err() {
                self.connection.end(End::Reset);
                return;
            }
            self.reuse(chunk);
        }
    }

    /// The next chunk once its time has come; `None` when the connection ended.
    fn next(&self) -> Option<Vec<u8>> {
        let mut waiting = self.queue.waiting.lock();
        loop {
            if self.connection.has_ended() {
                return None;
            }
            match waiting.chunks.front().map(|(due, _)| *due) {
                Some(due) if due <= Instant::now() => break,
                Some(due) => {
                    self.queue.changed.wait_until(&mut waiting, due);
                }
                None => self.queue.changed.wait(&mut waiting),
            }
        }
        let (_, chunk) = waiting.chunks.pop_front()?;
        waiting.bytes -= chunk.len();
        self.queue.changed.notify_all();
        Some(chunk)
    }

    fn reuse(&self, mut chunk: Vec<u8>) {
        if chunk.capacity() >= CHUNK {
            chunk.resize(CHUNK, 0);
            self.queue.waiting.lock().spare.push(chunk);
        }
    }

    fn swallows(&self) -> bool {
        self.shared.state.lock().faults[self.direction as usize].black_hole
    }

    /// Writes one chunk, or discards it when it is to be swallowed or the
    /// connection has ended.
    fn forward(&self, mut chunk: &[u8]) -> io::Result<()> {
        let (_, to) = self.connection.sockets(self.direction);
        while !chunk.is_empty() {
            let mut state = self.shared.state.lock();
            while state.faults[self.direction as usize].stalled && !self.connection.has_ended() {
                self.shared.changed.wait_for(&mut state, POLL);
            }
            let fault = &mut state.faults[self.direction as usize];
            if fault.black_hole || self.connection.has_ended() {
                return Ok(());
            }
            let most = if fault.byte_by_byte { 1 } else { chunk.len() };
            let written = if let Some((left, end)) = &mut fault.fuse {
                // Under the lock: the bytes of all connections are counted in
                // the order in which they go out.
                let written = write_some(to, &chunk[..most.min(*left)])?;
                *left -= written;
                if *left == 0 {
                    self.connection.end(*end);
                    fault.fuse = None;
                }
                fault.forwarded += written as u64;
                written
            } else {
                drop(state);
                let written = write_some(to, &chunk[..most])?;
                let mut state = self.shared.state.lock();
                state.faults[self.direction as usize].forwarded += written as u64;
                written
            };
            chunk = &chunk[written..];
        }
        Ok(())
    }
}

/// Writes what there is room for within [`POLL`], perhaps nothing.
fn write_some(mut to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match to.write(bytes) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests;

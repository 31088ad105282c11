//! Taking requests from the clients' streams, on the thread that called START.
//!
//! Whoever holds the reader polls all connections, so that one wake-up of the
//! kernel is all that lies between a client's request and the handler. Nobody
//! is waited for here but for a payload that a client has begun to send, and
//! for that [`PAYLOAD_PATIENCE`] long. A client that takes longer is not waited
//! for again before [`PROBATION`] payloads of it have come quickly.

use super::gate::Gate;
use super::queue::{Client, Origin, Parts, Payload, Then};
use super::spill::SpillBuf;
use crate::gate::{Command, Started};
use crate::nbd::conn::Conn;
use crate::nbd::lane::{Lane, Peek, Received};
use crate::nbd::proto::{CMD_DISC, CMD_READ, CMD_WRITE, NbdError, REQUEST_LEN, RequestHeader};
use crate::nbd::transmit::{Verdict, judge};
use crate::range::ByteRange;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::array;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// NBD connections per gate: the Linux client opens one per processor, nbdcopy
/// and fio fewer. Each may cost its input buffer and its READ window.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// How long START waits for the rest of a payload on behalf of the others: as
/// long as a stand-by waits before it takes over a thread's work.
const PAYLOAD_PATIENCE: Duration = Duration::from_millis(50);

/// How many that is: the others lose little by one wait in so many requests,
/// and whoever was only kept from running for a while is soon served as before.
const PROBATION: u32 = 100;

/// A payload that has not come in this time never will; its memory counts.
const PAYLOAD_DEADLINE: Duration = Duration::from_secs(60);

/// Requests that are taken out of input buffers before the sockets of all
/// clients are looked at again: a buffer may hold thousands, and another client's
/// single one must not wait for all of them.
const BATCH: u32 = 32;

/// Parts into which a `WRITE_ZEROES` is split: what fits a START buffer.
const ZEROES_PART: u64 = 128 << 10;

/// Who is in START.
pub(super) struct Caller<'a> {
    /// Where the payload of a WRITE goes.
    pub(super) payload: &'a mut [u8],
    /// Called before there may be a wait, and once in [`BATCH`] requests
    /// although there is none.
    pub(super) before_waiting: &'a mut dyn FnMut(),
}

/// One client's requests.
#[derive(Debug)]
pub(super) struct Stream {
    lane: Lane,
    /// How many payloads are collected aside before one is waited for.
    probation: u32,
    /// It waits for memory to collect a payload in.
    starved: bool,
    closed: bool,
    collecting: Option<Collecting>,
    zeroes: Option<Zeroes>,
}

/// A WRITE whose payload is on its way.
#[derive(Debug)]
struct Collecting {
    header: RequestHeader,
    fua: bool,
    payload: SpillBuf,
    since: Instant,
}

/// A `WRITE_ZEROES` that is being split.
struct Zeroes {
    cookie: u64,
    rest: ByteRange,
    parts: Arc<Parts>,
}

impl std::fmt::Debug for Zeroes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rest.fmt(f)
    }
}

/// All streams of a gate.
#[derive(Debug, Default)]
pub(super) struct Reader {
    streams: Vec<Stream>,
    /// Whose turn it is.
    next: usize,
    /// Requests taken since the last poll(2).
    taken: u32,
}

impl Reader {
    /// Takes over new connections.
    pub(super) fn adopt(&mut self, arrivals: &mut Vec<Stream>) {
        self.streams.append(arrivals);
    }

    pub(super) fn clear(&mut self) {
        self.streams.clear();
    }

    /// The next request of the next client, without waiting for it to begin.
    /// With nobody in START, everything that there is goes to the waiting queue
    /// instead.
    pub(super) fn take(
        &mut self,
        gate: &Gate,
        mut caller: Option<&mut Caller<'_>>,
    ) -> Option<Started> {
        let count = self.streams.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            let Some(started) = self.streams[index].take(gate, caller.as_deref_mut()) else {
                continue;
            };
            self.next = match started {
                // It stays first, for whoever comes with a larger buffer.
                Started::NeedBuffer(_) => index,
                _ => (index + 1) % count,
            };
            self.taken += 1;
            return Some(started);
        }
        self.streams.retain(|stream| {
            if stream.closed {
                gate.depart(&stream.lane.conn);
            }
            !stream.closed
        });
        None
    }

    /// Looks at all clients once in a while although there is work at hand. What
    /// the caller has put together must not wait for a moment without any,
    /// either.
    pub(super) fn look_around(&mut self, gate: &Gate, caller: &mut Caller<'_>) {
        if self.taken >= BATCH && self.streams.len() > 1 {
            (caller.before_waiting)();
            self.fill(gate);
        }
    }

    /// Waits until a client sends something or the gate's waker rings.
    pub(super) fn sleep(&mut self, gate: &Gate) -> nix::Result<()> {
        let collecting = self.streams.iter().any(|s| s.collecting.is_some());
        let timeout = if collecting {
            PollTimeout::from(1000u16)
        } else {
            PollTimeout::NONE
        };
        let result = self.poll(gate, timeout);
        gate.waker().slept(matches!(result, Ok(true)));
        if collecting {
            self.drop_stuck(Instant::now());
        }
        result.map(drop)
    }

    /// Reads what is there.
    pub(super) fn fill(&mut self, gate: &Gate) {
        // Interrupted or not: the next round comes.
        let _ = self.poll(gate, PollTimeout::ZERO);
    }

    /// Polls and reads. Whether the waker rang.
    fn poll(&mut self, gate: &Gate, timeout: PollTimeout) -> nix::Result<bool> {
        self.taken = 0;
        let room = gate.has_room();
        let mut fds: [PollFd<'_>; MAX_CONNECTIONS + 1] =
            array::from_fn(|_| PollFd::new(gate.waker().as_fd(), PollFlags::POLLIN));
        for (fd, stream) in fds[1..].iter_mut().zip(&self.streams) {
            let events = if room && stream.wants_input() {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            };
            *fd = PollFd::new(stream.lane.conn.as_fd(), events);
        }
        let used = (self.streams.len() + 1).min(fds.len());
        poll(&mut fds[..used], timeout)?;
        let events = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        for (events, stream) in events[1..used].iter().zip(&mut self.streams) {
            if events.contains(PollFlags::POLLIN) {
                stream.lane.fill();
            } else if !events.is_empty() {
                stream.lane.conn.kill();
            }
        }
        Ok(!events[0].is_empty())
    }

    /// Disconnects clients that began a payload and do not go on.
    pub(super) fn drop_stuck(&mut self, now: Instant) {
        for stream in &mut self.streams {
            let Some(collecting) = &stream.collecting else {
                continue;
            };
            if now.saturating_duration_since(collecting.since) > PAYLOAD_DEADLINE {
                stream.lane.conn.kill();
                stream.close();
            }
        }
    }
}

/// What [`Stream::consider`] made of a header.
enum Considered {
    /// It is dealt with; look at the next.
    Next,
    /// Nothing can be taken from this stream now.
    Wait,
    Take(Started),
}

impl Stream {
    pub(super) fn new(conn: Arc<Conn>, leftover: &[u8]) -> Self {
        Self {
            lane: Lane::new(conn, leftover),
            probation: 0,
            starved: false,
            closed: false,
            collecting: None,
            zeroes: None,
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.collecting = None;
        self.zeroes = None;
    }

    fn wants_input(&self) -> bool {
        !(self.closed || self.starved || self.lane.is_eof() || self.lane.conn.is_parked())
    }

    fn take(&mut self, gate: &Gate, mut caller: Option<&mut Caller<'_>>) -> Option<Started> {
        while !self.closed && gate.has_room() {
            if self.lane.conn.is_dead() {
                self.close();
                break;
            }
            if self.collecting.is_some() {
                if !self.collect(gate) {
                    break;
                }
                continue;
            }
            let considered = if self.zeroes.is_some() {
                self.take_zeroes(gate, caller.as_deref_mut())
            } else {
                match self.lane.peek() {
                    Peek::Nothing => break,
                    Peek::Request(header) => self.consider(&header, gate, caller.as_deref_mut()),
                    Peek::End => {
                        // Nonsense, or the end: what is outstanding will still
                        // be answered if the client listens.
                        if !self.lane.is_eof() {
                            self.lane.conn.kill();
                        }
                        self.close();
                        break;
                    }
                }
            };
            match considered {
                Considered::Next => {}
                Considered::Wait => break,
                Considered::Take(started) => return Some(started),
            }
        }
        None
    }

    fn consider(
        &mut self,
        header: &RequestHeader,
        gate: &Gate,
        caller: Option<&mut Caller<'_>>,
    ) -> Considered {
        let verdict = judge(header, &gate.export());
        let read = match verdict {
            Verdict::Read(range) => usize::try_from(range.length).unwrap_or(usize::MAX),
            _ => 0,
        };
        if verdict != Verdict::Disconnect && self.lane.conn.must_wait(read) {
            return Considered::Wait;
        }
        let to_caller = caller.is_some();
        match verdict {
            Verdict::Read(range) => {
                self.take_plain(gate, header, Command::Read, range, false, to_caller)
            }
            Verdict::Flush => {
                let range = gate.flush_range();
                self.take_plain(gate, header, Command::Flush, range, false, to_caller)
            }
            Verdict::Trim { range, fua } => {
                self.take_plain(gate, header, Command::Delete, range, fua, to_caller)
            }
            Verdict::Write { range, fua } => self.take_write(gate, header, range, fua, caller),
            Verdict::Zeroes { range, fua } => {
                self.lane.consume_header();
                self.zeroes = Some(Zeroes {
                    cookie: header.cookie,
                    rest: range,
                    parts: Arc::new(Parts::new(fua)),
                });
                Considered::Next
            }
            Verdict::Nothing => self.refuse(gate, header, None),
            Verdict::Refuse(error) => self.refuse(gate, header, Some(error)),
            Verdict::Disconnect => {
                if header.command != CMD_DISC {
                    self.lane.conn.kill();
                }
                self.close();
                Considered::Wait
            }
        }
    }

    /// Answers without asking the gate.
    fn refuse(
        &mut self,
        gate: &Gate,
        header: &RequestHeader,
        error: Option<NbdError>,
    ) -> Considered {
        self.lane.consume_header();
        if header.command == CMD_WRITE {
            self.lane
                .skip(usize::try_from(header.length).unwrap_or(usize::MAX));
        }
        let command = match header.command {
            CMD_READ => Command::Read,
            _ => Command::Write,
        };
        gate.reply(&self.lane.conn, header.cookie, command, error);
        Considered::Next
    }

    fn client(&self, cookie: u64, fua: bool) -> Client {
        Client {
            conn: self.lane.conn.clone(),
            cookie,
            then: if fua { Then::Flush } else { Then::Reply },
        }
    }

    /// Takes a request without payload.
    fn take_plain(
        &mut self,
        gate: &Gate,
        header: &RequestHeader,
        command: Command,
        range: ByteRange,
        fua: bool,
        to_caller: bool,
    ) -> Considered {
        self.lane.consume_header();
        let client = self.client(header.cookie, fua);
        pass_on(gate, command, range, Payload::None, client, to_caller)
    }

    fn take_write(
        &mut self,
        gate: &Gate,
        header: &RequestHeader,
        range: ByteRange,
        fua: bool,
        caller: Option<&mut Caller<'_>>,
    ) -> Considered {
        let length = usize::try_from(range.length).unwrap_or(usize::MAX);
        let at_hand = self.lane.buffered() >= REQUEST_LEN.saturating_add(length);
        let Some(caller) = caller.filter(|_| at_hand || self.probation == 0) else {
            return self.begin_collecting(gate, header, fua, length);
        };
        let Some(buffer) = caller.payload.get_mut(..length) else {
            return Considered::Take(Started::NeedBuffer(length));
        };
        self.lane.consume_header();
        match self
            .lane
            .receive(buffer, PAYLOAD_PATIENCE, caller.before_waiting)
        {
            Received::All => {
                let client = self.client(header.cookie, fua);
                pass_on(gate, Command::Write, range, Payload::Gone, client, true)
            }
            Received::Part(got) => {
                self.probation = PROBATION;
                let Some(mut payload) = gate.spill.reserve(length) else {
                    // Too slow, and so are others: it may come again.
                    self.lane.conn.kill();
                    self.close();
                    return Considered::Wait;
                };
                payload.data().extend_from_slice(&buffer[..got]);
                self.collecting = Some(Collecting {
                    header: *header,
                    fua,
                    payload,
                    since: Instant::now(),
                });
                Considered::Next
            }
            Received::Closed => {
                self.lane.conn.kill();
                self.close();
                Considered::Wait
            }
        }
    }

    fn begin_collecting(
        &mut self,
        gate: &Gate,
        header: &RequestHeader,
        fua: bool,
        length: usize,
    ) -> Considered {
        let payload = gate.spill.reserve(length);
        self.starved = payload.is_none();
        let Some(payload) = payload else {
            return Considered::Wait;
        };
        self.lane.consume_header();
        self.collecting = Some(Collecting {
            header: *header,
            fua,
            payload,
            since: Instant::now(),
        });
        Considered::Next
    }

    /// Goes on with a payload. Whether it is complete and the request waits.
    fn collect(&mut self, gate: &Gate) -> bool {
        let Some(mut collecting) = self.collecting.take() else {
            return true;
        };
        loop {
            let missing = collecting.payload.missing();
            if missing == 0 {
                break;
            }
            if self.lane.receive_behind(collecting.payload.data(), missing) == 0 {
                if self.lane.is_eof() {
                    self.lane.conn.kill();
                    self.close();
                } else {
                    self.collecting = Some(collecting);
                }
                return false;
            }
        }
        if collecting.since.elapsed() < PAYLOAD_PATIENCE {
            self.probation = self.probation.saturating_sub(1);
        }
        let header = collecting.header;
        let range = ByteRange::new(header.offset, u64::from(header.length));
        let client = self.client(header.cookie, collecting.fua);
        let payload = Payload::Spilled(collecting.payload);
        pass_on(gate, Command::Write, range, payload, client, false);
        true
    }

    /// The next part of a `WRITE_ZEROES`.
    fn take_zeroes(&mut self, gate: &Gate, caller: Option<&mut Caller<'_>>) -> Considered {
        let Some(zeroes) = &mut self.zeroes else {
            return Considered::Next;
        };
        if zeroes.rest.length == 0 {
            if let Some(result) = zeroes.parts.end(None) {
                let (cookie, fua) = (zeroes.cookie, zeroes.parts.fua);
                gate.conclude(&self.lane.conn, cookie, fua, result.err());
            }
            self.zeroes = None;
            return Considered::Next;
        }
        if self.lane.conn.must_wait(0) {
            return Considered::Wait;
        }
        let part = ZEROES_PART.max(gate.geometry().sector_size.into());
        let length = part.min(zeroes.rest.length);
        let given = caller.is_some();
        if let Some(caller) = caller {
            let needed = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(buffer) = caller.payload.get_mut(..needed) else {
                return Considered::Take(Started::NeedBuffer(needed));
            };
            buffer.fill(0);
        }
        let range = ByteRange::new(zeroes.rest.offset, length);
        zeroes.rest.offset += length;
        zeroes.rest.length -= length;
        zeroes.parts.begin();
        let client = Client {
            conn: self.lane.conn.clone(),
            cookie: zeroes.cookie,
            then: Then::Part(zeroes.parts.clone()),
        };
        pass_on(gate, Command::Write, range, Payload::Zeros, client, given)
    }
}

/// Hands a request to the caller of START, or to the waiting queue.
fn pass_on(
    gate: &Gate,
    command: Command,
    range: ByteRange,
    payload: Payload,
    client: Client,
    to_caller: bool,
) -> Considered {
    if to_caller {
        return Considered::Take(gate.hand_out(command, range, payload, client));
    }
    let read = match command {
        Command::Read => usize::try_from(range.length).unwrap_or(usize::MAX),
        _ => 0,
    };
    client.conn.took(read);
    // Fails when the gate ended meanwhile; the client is being disconnected.
    let _ = gate.enqueue(command, range, payload, Origin::Client(client));
    Considered::Next
}

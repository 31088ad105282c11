//! One gate: its properties, its queues, and who waits for what.

use super::answers::Answers;
use super::queue::{Client, Origin, Payload, Queued, Queues, Then};
use super::reader::{Caller, Reader, Stream};
use super::spill::Spill;
use super::waker::Waker;
use crate::gate::list::Mode;
use crate::gate::{Access, Cancel, Command, Outcome, Request, Started, Unit};
use crate::nbd::Export;
use crate::nbd::conn::{Conn, Sent};
use crate::nbd::proto::NbdError;
use crate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::io::IoSlice;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Release, SeqCst},
};
use std::time::{Duration, Instant};

/// What is fixed for a gate's life.
#[derive(Clone, Debug)]
pub(super) struct Properties {
    pub(super) unit: Unit,
    pub(super) name: String,
    pub(super) sector_size: u32,
    pub(super) access: Access,
    pub(super) queue_limit: u32,
    pub(super) timeout: u32,
}

/// The sockets of a gate in the run directory.
#[derive(Debug)]
pub(super) struct Doors {
    /// NBD.
    pub(super) clients: UnixListener,
    /// Commands of other processes.
    pub(super) control: UnixListener,
}

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) properties: Properties,
    pub(super) doors: Doors,
    pub(super) info: Mutex<String>,
    pub(super) spill: Arc<Spill>,
    media_size: AtomicU64,
    queues: Mutex<Queues>,
    /// Copies of what is in the queues, to be looked at without the lock.
    waiting: AtomicUsize,
    count: AtomicUsize,
    orphans: AtomicUsize,
    ended: AtomicBool,
    reader: Mutex<Reader>,
    waker: Waker,
    /// Connections that finished the handshake but are not in the reader yet.
    arrivals: Mutex<Vec<Stream>>,
    conns: Mutex<Vec<Arc<Conn>>>,
    /// Connections with replies that wait for room in the socket, for the
    /// housekeeper.
    stalled: Mutex<Vec<Arc<Conn>>>,
    house: Arc<Waker>,
    consumers: Mutex<Mode>,
    inside: AtomicU32,
    leaving: Mutex<()>,
    left: Condvar,
    watch: Mutex<Watch>,
}

/// What the housekeeper remembers between its rounds.
#[derive(Debug)]
struct Watch {
    next_check: Instant,
    last_seq: u64,
}

/// How a gate ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Its requests fail.
    Destroyed,
    /// Another process takes over; clients reconnect and ask again.
    SteppedDown,
}

impl Gate {
    pub(super) fn new(
        properties: Properties,
        media_size: u64,
        info: String,
        doors: Doors,
        house: Arc<Waker>,
    ) -> nix::Result<Self> {
        let interval = Duration::from_secs(properties.timeout.into());
        Ok(Self {
            properties,
            doors,
            info: Mutex::new(info),
            spill: Arc::default(),
            media_size: AtomicU64::new(media_size),
            queues: Mutex::default(),
            waiting: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            orphans: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            reader: Mutex::default(),
            waker: Waker::new()?,
            arrivals: Mutex::default(),
            conns: Mutex::default(),
            stalled: Mutex::default(),
            house,
            consumers: Mutex::default(),
            inside: AtomicU32::new(0),
            leaving: Mutex::new(()),
            left: Condvar::new(),
            watch: Mutex::new(Watch {
                next_check: Instant::now() + interval,
                last_seq: 0,
            }),
        })
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            media_size: self.media_size.load(Acquire),
            sector_size: self.properties.sector_size,
        }
    }

    pub(super) fn set_media_size(&self, media_size: u64) {
        self.media_size.store(media_size, Release);
    }

    pub(super) fn export(&self) -> Export<'_> {
        Export {
            name: &self.properties.name,
            geometry: self.geometry(),
            access: self.properties.access,
        }
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Works on the queues and publishes what others look at without the lock.
    fn queues<R>(&self, work: impl FnOnce(&mut Queues) -> R) -> R {
        let mut queues = self.queues.lock();
        let result = work(&mut queues);
        self.waiting.store(queues.waiting(), Release);
        self.count.store(queues.len(), Release);
        self.orphans.store(queues.orphans(), Release);
        self.ended.store(queues.ended(), Release);
        result
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Whether the waiting queue has an answer for START.
    fn urgent(&self) -> bool {
        self.waiting.load(Acquire) > 0 || self.has_ended()
    }

    /// Whether one more request fits: `limit + 1` do, as in the kernel.
    pub(super) fn has_room(&self) -> bool {
        let limit = usize::try_from(self.properties.queue_limit).unwrap_or(usize::MAX);
        limit == 0 || self.count.load(Acquire) <= limit
    }

    /// START.
    pub(super) fn start(&self, mut caller: Caller<'_>) -> nix::Result<Started> {
        if let Some(started) = self.take_waiting(caller.payload) {
            return Ok(started);
        }
        let mut reader = self.reader.try_lock().unwrap_or_else(|| {
            (caller.before_waiting)();
            self.reader.lock()
        });
        loop {
            self.waker.begin();
            if let Some(started) = self.take_waiting(caller.payload) {
                return Ok(started);
            }
            self.admit(&mut reader);
            reader.look_around(self, &mut caller);
            if let Some(started) = reader.take(self, Some(&mut caller)) {
                return Ok(started);
            }
            if self.urgent() {
                continue;
            }
            (caller.before_waiting)();
            if self.waker.may_sleep() {
                reader.sleep(self)?;
            }
        }
    }

    /// Lets new clients in. Not while requests of clients that have gone are
    /// outstanding: whoever comes again and repeats a write, and then writes
    /// something newer, must not be overtaken by the first one. In the kernel,
    /// the last close waits in the same way.
    fn admit(&self, reader: &mut Reader) {
        let mut arrivals = self.arrivals.lock();
        if arrivals.is_empty() {
            return;
        }
        // Who came may be one of those who went, before anybody noticed.
        for conn in self.conns.lock().iter().filter(|conn| conn.is_closed()) {
            self.drop_client(conn);
        }
        if self.orphans.load(Acquire) == 0 {
            reader.adopt(&mut arrivals);
        }
    }

    fn take_waiting(&self, payload: &mut [u8]) -> Option<Started> {
        if self.urgent() {
            self.queues(|queues| queues.take(payload))
        } else {
            None
        }
    }

    /// A request that START just read from a client.
    pub(super) fn hand_out(
        &self,
        command: Command,
        range: ByteRange,
        payload: Payload,
        client: Client,
    ) -> Started {
        client.conn.took(read_length(command, range));
        let origin = Origin::Client(client);
        let pushed = self.queues(|queues| queues.push_outstanding(command, range, payload, origin));
        // The gate ended meanwhile; the client is about to be disconnected.
        pushed.map_or(Started::Canceled, Started::Request)
    }

    /// A request that waits for a START.
    pub(super) fn enqueue(
        &self,
        command: Command,
        range: ByteRange,
        payload: Payload,
        origin: Origin,
    ) -> Result<(), Origin> {
        self.queues(|queues| queues.push(command, range, payload, origin))?;
        self.waker.wake();
        Ok(())
    }

    /// DONE, for any number of requests.
    pub(super) fn done(&self, done: &mut dyn Iterator<Item = (Request, Outcome<'_>)>) {
        let mut blocked = false;
        self.complete(done.filter_map(|(request, outcome)| {
            let queued = self.queues(|queues| {
                // Under the lock: START may get there at any time.
                blocked |= self.is_blocked();
                queues.finish(request.seq)
            })?;
            if let Outcome::Error(Errno::EAGAIN) = outcome {
                if let Some(conn) = self.queues(|queues| queues.give_back(queued)) {
                    self.drop_client(&conn);
                }
                self.waker.wake();
                return None;
            }
            Some((queued, outcome))
        }));
        if blocked {
            self.waker.wake();
        }
    }

    /// Whether START may be waiting for a request to be done.
    fn is_blocked(&self) -> bool {
        self.orphans.load(Acquire) > 0 || !self.has_room()
    }

    /// Answers requests that are in no queue any more, a client's together.
    fn complete<'a>(&self, done: impl Iterator<Item = (Queued, Outcome<'a>)>) {
        let mut answers = Answers::new();
        for (queued, outcome) in done {
            let request = queued.request;
            let result: nix::Result<&[u8]> = match (request.command, outcome) {
                (_, Outcome::Error(errno)) => Err(errno),
                (Command::Read, Outcome::Data(data))
                    if u64::try_from(data.len()) == Ok(request.range.length) =>
                {
                    Ok(data)
                }
                (Command::Read, _) => Err(Errno::EIO),
                _ => Ok(&[]),
            };
            match queued.origin {
                Origin::Consumer(completion) => completion(result),
                Origin::Client(client) => self.answer(client, &request, result, &mut answers),
            }
        }
        self.deliver(&mut answers);
    }

    fn answer<'a>(
        &self,
        client: Client,
        request: &Request,
        result: nix::Result<&'a [u8]>,
        answers: &mut Answers<'a>,
    ) {
        let Client { conn, cookie, then } = client;
        let error = result.err().map(NbdError::from);
        let read = read_length(request.command, request.range);
        match (&then, result) {
            (Then::Reply, _) => {
                let (head, data) = match result {
                    Ok(data) if read > 0 => {
                        (conn.data_head(cookie, request.range.offset, data), data)
                    }
                    _ => {
                        let reads = request.command == Command::Read;
                        (conn.head(cookie, reads, error), &[][..])
                    }
                };
                if !answers.takes(&conn) {
                    self.deliver(answers);
                }
                return answers.push(conn, head, data, read);
            }
            (Then::Flush, _) => self.conclude(&conn, cookie, true, error),
            (Then::Part(parts), _) => {
                if let Some(result) = parts.end(error) {
                    self.conclude(&conn, cookie, parts.fua, result.err());
                }
            }
        }
        if conn.finished(1, read) {
            self.waker.wake();
        }
    }

    fn deliver(&self, answers: &mut Answers<'_>) {
        let Some(delivered) = answers.deliver() else {
            return;
        };
        self.sent(&delivered.conn, delivered.sent);
        if delivered.unparked {
            self.waker.wake();
        }
    }

    /// Ends a request of a client that may demand a FLUSH first.
    pub(super) fn conclude(
        &self,
        conn: &Arc<Conn>,
        cookie: u64,
        fua: bool,
        error: Option<NbdError>,
    ) {
        if error.is_some() || !fua || conn.is_dead() {
            return self.reply(conn, cookie, Command::Flush, error);
        }
        let flush = Origin::Client(Client {
            conn: conn.clone(),
            cookie,
            then: Then::Reply,
        });
        conn.took(0);
        let range = self.flush_range();
        if self
            .enqueue(Command::Flush, range, Payload::None, flush)
            .is_err()
        {
            self.reply(conn, cookie, Command::Flush, Some(NbdError::Shutdown));
        }
    }

    /// What the kernel gives as the range of a FLUSH.
    pub(super) fn flush_range(&self) -> ByteRange {
        ByteRange::new(self.geometry().media_size, 0)
    }

    pub(super) fn reply(
        &self,
        conn: &Arc<Conn>,
        cookie: u64,
        command: Command,
        error: Option<NbdError>,
    ) {
        let head = conn.head(cookie, command == Command::Read, error);
        self.sent(conn, conn.send(&mut [IoSlice::new(head.bytes())]));
    }

    fn sent(&self, conn: &Arc<Conn>, sent: Sent) {
        if sent == Sent::Stalled {
            self.stall(conn.clone());
        }
    }

    fn stall(&self, conn: Arc<Conn>) {
        self.stalled.lock().push(conn);
        self.house.wake();
    }

    /// Connections whose sockets the housekeeper must watch for room.
    pub(super) fn stalled(&self) -> Vec<Arc<Conn>> {
        self.stalled.lock().clone()
    }

    /// A stalled connection has room.
    pub(super) fn resume(&self, conn: &Arc<Conn>) {
        // Off the list first: whoever stalls it again puts it back.
        self.stalled
            .lock()
            .retain(|other| !Arc::ptr_eq(other, conn));
        let (waits, unparked) = conn.flush();
        if waits {
            let mut stalled = self.stalled.lock();
            if !stalled.iter().any(|other| Arc::ptr_eq(other, conn)) {
                stalled.push(conn.clone());
            }
        }
        if unparked {
            self.waker.wake();
        }
    }

    /// CANCEL.
    pub(super) fn cancel(&self, which: Cancel) {
        let blocked = self.is_blocked();
        for conn in self.queues(|queues| queues.cancel(which)) {
            self.drop_client(&conn);
        }
        // The requests wake nobody, but clients that had to wait may come in.
        if blocked {
            self.waker.wake();
        }
    }

    fn drop_client(&self, conn: &Arc<Conn>) {
        conn.kill();
        self.queues(|queues| queues.depart(conn));
    }

    /// A client has finished the handshake.
    pub(super) fn arrive(&self, conn: Conn, leftover: &[u8]) {
        let conn = Arc::new(conn);
        self.conns.lock().push(conn.clone());
        let (waits, _) = conn.flush();
        if waits {
            self.stall(conn.clone());
        }
        self.arrivals.lock().push(Stream::new(conn, leftover));
        self.waker.wake();
    }

    /// The reader is done with a connection. After a mere end of its input,
    /// outstanding requests are still answered.
    pub(super) fn depart(&self, conn: &Arc<Conn>) {
        self.conns.lock().retain(|other| !Arc::ptr_eq(other, conn));
        if conn.is_dead() || conn.is_closed() {
            self.queues(|queues| queues.depart(conn));
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.conns.lock().len()
    }

    /// How often the gate is open, by clients and consumers.
    pub(super) fn mode(&self) -> Mode {
        let conns = self.conns.lock();
        let open = conns.iter().filter(|conn| !conn.is_closed()).count();
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        let mut mode = *self.consumers.lock();
        if self.properties.access != Access::WriteOnly {
            mode.read += open;
        }
        if self.properties.access != Access::ReadOnly {
            mode.write += open;
        }
        mode
    }

    pub(super) fn is_open(&self) -> bool {
        self.mode() != Mode::default()
    }

    pub(super) fn consumers(&self) -> &Mutex<Mode> {
        &self.consumers
    }

    pub(super) fn queue_count(&self) -> u32 {
        u32::try_from(self.count.load(Acquire)).unwrap_or(u32::MAX)
    }

    /// Calls in progress + 1.
    pub(super) fn references(&self) -> u32 {
        self.inside.load(SeqCst) + 1
    }

    /// Ends the gate. Returns when no other thread is inside a call; nobody can
    /// enter any more because the gate is off the map already.
    pub(super) fn end(&self, how: End) {
        let rest = self.queues(Queues::end);
        self.waker.wake();
        let answered =
            |queued: &Queued| how == End::Destroyed || matches!(queued.origin, Origin::Consumer(_));
        let failed = |queued| (queued, Outcome::Error(Errno::ENXIO));
        self.complete(rest.into_iter().filter(answered).map(failed));
        let mut leaving = self.leaving.lock();
        while self.inside.load(SeqCst) > 0 {
            self.left.wait(&mut leaving);
        }
        for conn in self.conns.lock().drain(..) {
            conn.kill();
        }
        self.stalled.lock().clear();
        self.arrivals.lock().clear();
        self.reader.lock().clear();
    }

    /// Once a second or more often: the timeout rule and slow clients. When the
    /// next look is due.
    pub(super) fn housekeeping(&self, now: Instant) {
        let timeout = self.properties.timeout;
        let mut watch = self.watch.lock();
        if timeout > 0 {
            let last = self.queues.lock().last();
            if watch.last_seq == last {
                self.ingest();
            }
            watch.last_seq = self.queues.lock().last();
        }
        if let Some(mut reader) = self.reader.try_lock() {
            reader.drop_stuck(now);
        }
        if timeout > 0 && now >= watch.next_check {
            watch.next_check = now + Duration::from_secs(timeout.into());
            drop(watch);
            self.expire(now);
        }
    }

    /// Whether [`Self::housekeeping`] has anything to do.
    pub(super) fn needs_housekeeping(&self) -> bool {
        self.properties.timeout > 0 || self.spill.is_used()
    }

    /// Takes requests from the clients while nobody serves, so that they age.
    fn ingest(&self) {
        let Some(mut reader) = self.reader.try_lock() else {
            return;
        };
        self.admit(&mut reader);
        reader.fill(self);
        // Everything that can be taken goes to the waiting queue.
        reader.take(self, None);
    }

    /// The timeout rule: EIO for whatever is 5 seconds old.
    pub(super) fn expire(&self, now: Instant) {
        let mut blocked = false;
        let expired = self.queues(|queues| {
            blocked = self.is_blocked();
            queues.expire(now)
        });
        let failed = |queued| (queued, Outcome::Error(Errno::EIO));
        self.complete(expired.into_iter().map(failed));
        if blocked {
            self.waker.wake();
        }
    }
}

/// A thread inside one of the calls.
#[derive(Debug)]
pub(super) struct Inside(Arc<Gate>);

impl Inside {
    /// To be called while the gate cannot leave the map.
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        gate.inside.fetch_add(1, SeqCst);
        Self(gate)
    }
}

impl std::ops::Deref for Inside {
    type Target = Gate;
    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, SeqCst) == 1 && self.0.has_ended() {
            let _leaving = self.0.leaving.lock();
            self.0.left.notify_all();
        }
    }
}

/// What a request counts towards the limit of outstanding READ bytes.
fn read_length(command: Command, range: ByteRange) -> usize {
    match command {
        Command::Read => usize::try_from(range.length).unwrap_or(usize::MAX),
        _ => 0,
    }
}

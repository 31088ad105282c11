//! A session: one client, one medium, two connections.
//!
//! Per session there are the threads `recvtd` ([`recv`]), `sendtd` ([`send`])
//! and, as far as the medium needs them, `disktd` ([`ggate::disk`]). A request
//! that the medium answers from memory is executed by `recvtd`, which also
//! sends the replies: receive, read, send, and no other thread woken up.
//!
//! What a client can make us hold is bounded by [`MEMORY`] and
//! [`MAX_UNANSWERED`]; when either is reached `recvtd` reads no further and TCP
//! makes the client wait.

mod recv;
mod send;

use ggate::buffer::{Buf, Pool};
use ggate::daemon;
use ggate::disk::{Disk, Job, Op};
use ggate::errno::WireErrno;
use ggate::gate::Access;
use ggate::log;
use ggate::media::Media;
use ggate::range::Geometry;
use ggate::wire::{Command, ExportPath, Frame, InstanceId, Request};
use nix::errno::Errno;
use parking_lot::Mutex;
use recv::Receiver;
use send::Outgoing;
use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Longest READ or WRITE in bytes; longer ones fail with EINVAL. FreeBSD's
/// kernels send up to `kern.maxphys`, which is 1 MiB; other clients are given
/// some room.
pub(crate) const MAX_REQUEST: u32 = 32 << 20;

/// Bytes of payload a session holds at most: sixteen of the largest requests of
/// FreeBSD's kernels, which is what a client that never reads can make us keep.
/// A longer request than this is alone while it is served.
const MEMORY: usize = 16 << 20;

/// Requests a session holds at most: ggatec's default queue. A client that has
/// more of them under way waits in TCP's buffers, where they are cheap.
const MAX_UNANSWERED: u64 = 1024;

/// Failed requests that are logged per session: a disk that fails, fails often.
const LOGGED_ERRORS: u64 = 20;

/// How often a session that has ended says that it waits for its medium.
const COMPLAIN_INTERVAL: Duration = Duration::from_secs(60);

/// Whose session it is, for whoever comes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Client {
    /// Where it connects from.
    pub(crate) address: IpAddr,
    /// Which run of our ggatec; `None` for base's.
    pub(crate) instance: Option<InstanceId>,
    /// What it uses.
    pub(crate) path: ExportPath,
    /// How.
    pub(crate) access: Access,
}

impl Client {
    /// Whether this is the same client come back: same instance, or, when one
    /// side has none, same address and both may write. What two readers leave
    /// queued hurts nobody.
    pub(crate) fn succeeds(&self, old: &Self) -> bool {
        let may_write = |client: &Self| client.access != Access::ReadOnly;
        self.path == old.path
            && match (self.instance, old.instance) {
                (Some(new), Some(old)) => new == old,
                _ => self.address == old.address && may_write(self) && may_write(old),
            }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.path)
    }
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("cannot receive: {}", .0.desc())]
    Receive(Errno),
    #[error("cannot send: {}", .0.desc())]
    Send(Errno),
    #[error("the connection ended in the middle of a request")]
    CutShort,
    #[error("closed")]
    Closed,
    #[error("the client came back with a new session")]
    Replaced,
    #[error("ggated is stopping")]
    Stopping,
}

/// A request while the disk has it.
struct Tag(Request);

/// A running session.
pub(crate) struct Session {
    /// Whose it is.
    pub(crate) client: Client,
    geometry: Geometry,
    /// The connection requests arrive on.
    requests: TcpStream,
    /// The thread that reads them, once it runs.
    receiver: Arc<OnceLock<ThreadId>>,
    out: Arc<Outgoing>,
    disk: Disk<Tag>,
    pool: Pool,
    stats: Arc<Stats>,
    began: Instant,
    /// When the last report was, and the bytes read and written by then.
    reported: Mutex<(Instant, u64, u64)>,
    /// Set by whoever ends the session from outside.
    ended_by: Mutex<Option<SessionError>>,
}

/// What a session has done so far.
#[derive(Default)]
struct Stats {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    flushes: AtomicU64,
    errors: AtomicU64,
}

/// What a session is made of.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) media: Arc<dyn Media>,
    /// The connection the server receives on.
    pub(crate) requests: TcpStream,
    /// The connection the server sends on.
    pub(crate) replies: TcpStream,
}

impl Session {
    /// A session that does not run yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let heartbeats = parts.client.instance.is_some();
        let out = Arc::new(Outgoing::new(parts.replies, heartbeats));
        let stats = Arc::<Stats>::default();
        let receiver = Arc::<OnceLock<ThreadId>>::default();
        let completion = Completion {
            out: Arc::clone(&out),
            stats: Arc::clone(&stats),
            path: parts.client.path.clone(),
            receiver: Arc::clone(&receiver),
        };
        Self {
            geometry: parts.media.geometry(),
            disk: Disk::new(parts.media, move |job, result| {
                completion.complete(job, result);
            }),
            client: parts.client,
            requests: parts.requests,
            receiver,
            out,
            pool: Pool::new(MEMORY),
            stats,
            began: Instant::now(),
            reported: Mutex::new((Instant::now(), 0, 0)),
            ended_by: Mutex::new(None),
        }
    }

    /// Runs the session on threads of its own. `ended` is called when nothing
    /// of it can touch the medium any more.
    pub(crate) fn start(
        self: &Arc<Self>,
        ended: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let out = Arc::clone(&self.out);
        let sendtd = daemon::spawn("sendtd", move || out.run())?;
        let session = Arc::clone(self);
        let recvtd = daemon::spawn("recvtd", move || {
            // Before the first job: completions compare with it.
            let _ = session.receiver.set(thread::current().id());
            let result = Receiver::new(&session).run();
            session.wind_up(result);
            if sendtd.join().is_err() {
                log::error!("{}: sendtd panicked.", session.client);
            }
            ended(&session);
        });
        recvtd.map(drop).inspect_err(|_| {
            self.hang_up();
        })
    }

    /// Ends a session from outside: discards what has not begun, closes the
    /// connections, waits for what runs. `false` when that takes longer than
    /// `patience`.
    pub(crate) fn stop(&self, why: SessionError, patience: Duration) -> bool {
        self.ended_by.lock().get_or_insert(why);
        self.hang_up();
        self.disk.close(patience)
    }

    fn hang_up(&self) -> Option<SessionError> {
        // It may be closed already.
        let _ = self.requests.shutdown(Shutdown::Both);
        self.out.close()
    }

    /// The end of `recvtd`: nothing is answered any more, and when it returns
    /// nothing runs.
    fn wind_up(&self, result: Result<(), SessionError>) {
        let send_failure = self.hang_up();
        let why = self.ended_by.lock().or(send_failure).or(result.err());
        while !self.disk.close(COMPLAIN_INTERVAL) {
            log::warning!(
                "{}: session over, but the medium does not answer.",
                self.client
            );
        }
        let took = self.began.elapsed().as_secs();
        let (client, stats) = (&self.client, &self.stats);
        match why {
            None => log::info!("{client}: session closed by the client after {took} s; {stats}."),
            Some(why) => log::notice!("{client}: session ended after {took} s: {why}; {stats}."),
        }
    }

    /// One line about what it does, with rates since the last one.
    pub(crate) fn report(&self) -> String {
        let load = self.disk.load();
        let (reading, writing) = self.rates();
        format!(
            "{}: up {} s; {}; now {reading} KiB/s read, {writing} KiB/s written; \
             disk: {} running, {} ready, {} threads; {} bytes held",
            self.client,
            self.began.elapsed().as_secs(),
            self.stats,
            load.running,
            load.ready,
            load.threads,
            self.pool.used(),
        )
    }

    /// KiB per second read and written since this was last asked.
    fn rates(&self) -> (u64, u64) {
        let now = (
            Instant::now(),
            self.stats.read_bytes.load(Ordering::Relaxed),
            self.stats.written_bytes.load(Ordering::Relaxed),
        );
        let then = std::mem::replace(&mut *self.reported.lock(), now);
        let millis = now.0.saturating_duration_since(then.0).as_millis().max(1);
        let rate = |bytes: u64| {
            let rate = u128::from(bytes) * 1000 / 1024 / millis;
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        (
            rate(now.1.saturating_sub(then.1)),
            rate(now.2.saturating_sub(then.2)),
        )
    }
}

/// Turns finished jobs into replies.
struct Completion {
    out: Arc<Outgoing>,
    stats: Arc<Stats>,
    path: ExportPath,
    /// The thread that collects replies to send them together.
    receiver: Arc<OnceLock<ThreadId>>,
}

impl Completion {
    fn complete(&self, job: Job<Tag>, result: nix::Result<()>) {
        let Tag(request) = job.tag;
        let error = result.err().map(|error| {
            self.note(request, error);
            WireErrno::from_host(error).final_error()
        });
        let payload: Option<Buf> =
            (request.command == Command::Read && error.is_none()).then_some(job.data);
        let frame = Frame::reply(request.reply(error), payload);
        if self.receiver.get() == Some(&thread::current().id()) {
            self.out.queue(frame);
        } else {
            self.out.queue_and_send(frame);
        }
    }

    fn note(&self, request: Request, error: Errno) {
        let count = self.stats.errors.fetch_add(1, Ordering::Relaxed);
        if count < LOGGED_ERRORS {
            log::error!(
                "Disk error: {}: {:?}, {}: {}.",
                self.path,
                request.command,
                request.range(),
                error.desc()
            );
        }
        if count + 1 == LOGGED_ERRORS {
            log::error!(
                "{}: further errors of this session are not logged.",
                self.path
            );
        }
    }
}

impl Stats {
    fn begin(&self, op: Op, length: usize) {
        let (count, bytes) = match op {
            Op::Read => (&self.reads, &self.read_bytes),
            Op::Write => (&self.writes, &self.written_bytes),
            Op::Flush | Op::Delete => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} reads ({} MiB), {} writes ({} MiB), {} flushes, {} errors",
            get(&self.reads),
            get(&self.read_bytes) >> 20,
            get(&self.writes),
            get(&self.written_bytes) >> 20,
            get(&self.flushes),
            get(&self.errors),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, instance: Option<u8>, path: &str, access: Access) -> Client {
        Client {
            address: address.parse().unwrap(),
            instance: instance.map(|byte| InstanceId([byte; 16])),
            path: ExportPath::new(path).unwrap(),
            access,
        }
    }

    #[test]
    fn who_is_a_successor() {
        use Access::{ReadOnly, ReadWrite, WriteOnly};
        let old = client("10.0.0.1", None, "/a", ReadWrite);
        let ours = client("10.0.0.1", Some(1), "/a", ReadWrite);
        assert!(old.succeeds(&old));
        assert!(ours.succeeds(&old) && old.succeeds(&ours));
        assert!(client("10.0.0.1", None, "/a", WriteOnly).succeeds(&old));
        assert!(client("10.0.0.2", Some(1), "/a", ReadOnly).succeeds(&ours));
        for other in [
            client("10.0.0.2", None, "/a", ReadWrite),
            client("10.0.0.1", None, "/b", ReadWrite),
            client("10.0.0.1", None, "/a", ReadOnly),
        ] {
            assert!(!other.succeeds(&old), "{other:?}");
        }
        assert!(!client("10.0.0.1", Some(2), "/a", ReadWrite).succeeds(&ours));
    }
}

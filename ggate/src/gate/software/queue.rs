//! The two queues of a gate and the kernel's rules for them
//! (spec/geom-gate-kernel.md section 5): waiting -> START -> outstanding ->
//! DONE; EAGAIN and CANCEL lead back to the front.

use super::spill::SpillBuf;
use crate::gate::{Cancel, Command, Request, Seq, Started};
use crate::nbd::conn::Conn;
use crate::nbd::proto::NbdError;
use crate::range::ByteRange;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests of this age fail when the timeout check comes by.
pub(super) const EXPIRY_AGE: Duration = Duration::from_secs(5);

/// Called with the end of an in-memory request; READ data is valid during the
/// call.
pub type Completion = Box<dyn FnOnce(nix::Result<&[u8]>) + Send>;

/// Where a request came from and who gets its result.
pub(super) enum Origin {
    Consumer(Completion),
    Client(Client),
}

/// A request of an NBD client.
pub(super) struct Client {
    pub(super) conn: Arc<Conn>,
    pub(super) cookie: u64,
    pub(super) then: Then,
}

/// What follows when the request has been done.
pub(super) enum Then {
    Reply,
    /// A FLUSH, whose result is the answer.
    Flush,
    /// It was one of several parts.
    Part(Arc<Parts>),
}

/// A request that was split: how many parts are unfinished, and the first error.
pub(super) struct Parts {
    state: Mutex<(u32, Option<NbdError>)>,
    pub(super) fua: bool,
}

impl Parts {
    /// One part is the splitting itself.
    pub(super) fn new(fua: bool) -> Self {
        Self {
            state: Mutex::new((1, None)),
            fua,
        }
    }

    pub(super) fn begin(&self) {
        self.state.lock().0 += 1;
    }

    /// When it was the last: the result of the whole.
    pub(super) fn end(&self, error: Option<NbdError>) -> Option<Result<(), NbdError>> {
        let mut state = self.state.lock();
        state.0 -= 1;
        state.1 = state.1.or(error);
        (state.0 == 0).then_some(state.1.map_or(Ok(()), Err))
    }
}

/// The data of a WRITE.
pub(super) enum Payload {
    /// No WRITE.
    None,
    /// Kept until completion, so that CANCEL can hand it out again.
    Kept(Arc<[u8]>),
    /// Nothing but zeros.
    Zeros,
    /// Received from a client; handed out once.
    Spilled(SpillBuf),
    /// Only the serving process has it.
    Gone,
}

/// A request in one of the queues.
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) born: Instant,
    pub(super) payload: Payload,
    pub(super) origin: Origin,
}

impl Queued {
    fn conn(&self) -> Option<&Arc<Conn>> {
        match &self.origin {
            Origin::Client(client) => Some(&client.conn),
            Origin::Consumer(_) => None,
        }
    }

    fn belongs_to(&self, conn: &Arc<Conn>) -> bool {
        self.conn().is_some_and(|own| Arc::ptr_eq(own, conn))
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: VecDeque<Queued>,
    outstanding: HashMap<Seq, Queued>,
    last: u64,
    ended: bool,
    /// Outstanding requests whose clients have gone.
    orphans: usize,
}

impl Queues {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waiting and outstanding.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.outstanding.len()
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Outstanding requests whose clients have gone.
    pub(super) fn orphans(&self) -> usize {
        self.orphans
    }

    /// How many requests there have been.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    fn number(
        &mut self,
        command: Command,
        range: ByteRange,
        payload: Payload,
        origin: Origin,
    ) -> Result<Queued, Origin> {
        if self.ended {
            return Err(origin);
        }
        self.last += 1;
        Ok(Queued {
            request: Request {
                seq: Seq(self.last),
                command,
                range,
            },
            born: Instant::now(),
            payload,
            origin,
        })
    }

    /// Queues a new request; hands it back when the gate has ended.
    pub(super) fn push(
        &mut self,
        command: Command,
        range: ByteRange,
        payload: Payload,
        origin: Origin,
    ) -> Result<(), Origin> {
        let queued = self.number(command, range, payload, origin)?;
        self.waiting.push_back(queued);
        Ok(())
    }

    /// A new request that START returns at once.
    pub(super) fn push_outstanding(
        &mut self,
        command: Command,
        range: ByteRange,
        payload: Payload,
        origin: Origin,
    ) -> Option<Request> {
        let queued = self.number(command, range, payload, origin).ok()?;
        let request = queued.request;
        self.outstanding.insert(request.seq, queued);
        Some(request)
    }

    /// START, as far as the waiting queue goes.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Option<Started> {
        if self.ended {
            return Some(Started::Canceled);
        }
        let first = self.waiting.front()?;
        if first.request.command == Command::Write {
            let length = usize::try_from(first.request.range.length).unwrap_or(usize::MAX);
            let Some(to) = buffer.get_mut(..length) else {
                return Some(Started::NeedBuffer(length));
            };
            match &first.payload {
                Payload::Kept(data) => to.copy_from_slice(data),
                Payload::Spilled(data) => to.copy_from_slice(data.bytes()),
                Payload::Zeros => to.fill(0),
                Payload::None | Payload::Gone => unreachable!("a waiting WRITE has its data"),
            }
        }
        let mut first = self.waiting.pop_front()?;
        if let Payload::Spilled(_) = first.payload {
            first.payload = Payload::Gone;
        }
        let request = first.request;
        self.outstanding.insert(request.seq, first);
        Some(Started::Request(request))
    }

    /// DONE takes the request out; `None` when it is not outstanding.
    pub(super) fn finish(&mut self, seq: Seq) -> Option<Queued> {
        let queued = self.outstanding.remove(&seq)?;
        if queued.conn().is_some_and(|conn| conn.has_departed()) {
            self.orphans -= 1;
        }
        Some(queued)
    }

    /// Puts a request to the front of the waiting queue. When its data is gone
    /// it cannot be handed out again: its client is returned, to be
    /// disconnected. When its client has gone it is forgotten.
    pub(super) fn give_back(&mut self, queued: Queued) -> Option<Arc<Conn>> {
        if let Some(conn) = queued.conn() {
            if conn.has_departed() {
                return None;
            }
            if let Payload::Gone = queued.payload {
                return Some(conn.clone());
            }
        }
        self.waiting.push_front(queued);
        None
    }

    /// CANCEL. The clients that must be disconnected, see [`Self::give_back`].
    pub(super) fn cancel(&mut self, which: Cancel) -> Vec<Arc<Conn>> {
        let mut seqs: Vec<Seq> = match which {
            Cancel::All => self.outstanding.keys().copied().collect(),
            Cancel::One(seq) => vec![seq],
        };
        // The last becomes first in front of the others.
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        let back: Vec<Queued> = seqs.iter().filter_map(|seq| self.finish(*seq)).collect();
        back.into_iter()
            .filter_map(|queued| self.give_back(queued))
            .collect()
    }

    /// Takes out what is too old.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Queued> {
        let old = |queued: &Queued| now.saturating_duration_since(queued.born) >= EXPIRY_AGE;
        let outstanding = self.outstanding.values().filter(|queued| old(queued));
        let seqs: Vec<Seq> = outstanding.map(|queued| queued.request.seq).collect();
        let mut expired: Vec<Queued> = seqs.iter().filter_map(|seq| self.finish(*seq)).collect();
        for queued in std::mem::take(&mut self.waiting) {
            if old(&queued) {
                expired.push(queued);
            } else {
                self.waiting.push_back(queued);
            }
        }
        expired.sort_unstable_by_key(|queued| queued.request.seq);
        expired
    }

    /// The gate ends: nothing can be queued any more, and all that was is taken
    /// out.
    pub(super) fn end(&mut self) -> Vec<Queued> {
        self.ended = true;
        let mut all: Vec<Queued> = self.waiting.drain(..).collect();
        all.extend(self.outstanding.drain().map(|(_, queued)| queued));
        self.orphans = 0;
        all.sort_unstable_by_key(|queued| queued.request.seq);
        all
    }

    /// A client has gone. What waits is dropped; what is outstanding counts
    /// until it is done, but nobody is told.
    pub(super) fn depart(&mut self, conn: &Arc<Conn>) {
        if conn.has_departed() {
            return;
        }
        self.waiting.retain(|queued| !queued.belongs_to(conn));
        let outstanding = self.outstanding.values();
        self.orphans += outstanding.filter(|queued| queued.belongs_to(conn)).count();
        conn.depart();
    }
}

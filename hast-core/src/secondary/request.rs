//! A request of the primary to its reply.

use super::{Action, Outcome, Secondary, Session, Trouble};
use crate::errno::Errno;
use crate::message::{Refusal, Request};
use crate::metastore::Revision;
use crate::primary::Op;
use crate::rangelock::LockId;
use crate::slab::RequestId;
use crate::units::Seq;
use crate::watch::error;
use alloc::vec::Vec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its data is arriving.
    Receiving,
    /// For overlapping requests, or for all if it is a FLUSH.
    Waiting,
    Running,
    /// The data it read is being sent.
    Sending,
    /// Until the metadata is stored.
    Storing(Revision),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    seq: Seq,
    op: Op,
    memsync: bool,
    lock: Option<LockId>,
    pub(super) stage: Stage,
    session: Session,
    order: u64,
    /// Another flush failed while this one was running.
    doomed: bool,
}

/// More requests than a primary has under way: ours 322, each in 8 pieces at
/// most, base's 256.
const MOST_UNDER_WAY: u32 = 4096;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It was taken, or needs nothing.
    Taken,
    /// It was taken, and its data goes into the buffer of this request, which
    /// must be there before anything is carried out.
    Buffer(RequestId),
    /// Its payload follows, for the buffer of this request. Once it is there,
    /// verified and expanded: [`Secondary::received`]. If it was wrong:
    /// [`Secondary::peer_down`]. If the request is released before that, the
    /// link has ended, and the buffer must not be filled any more.
    Payload(RequestId),
    /// It was refused and answered; its payload is to be skipped.
    Refused(Refusal),
    /// It belongs to a link that has ended.
    Stale,
}

impl Secondary {
    /// Whether another request can be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.len() < crate::index(super::REQUESTS.into())
    }

    /// A request has come; of a WRITE the payload follows.
    ///
    /// # Panics
    /// Unless [`Secondary::has_room`].
    pub fn request(&mut self, session: Session, request: &Request, out: &mut Vec<Action>) -> Taken {
        if session != self.session || self.stage != super::Stage::Connected {
            return Taken::Stale;
        }
        self.heard = self.now;
        if let Err(refusal) = request.validate(&self.limits) {
            if let Some(seq) = refusal.seq {
                let outcome = Outcome::Failed(Errno::EINVAL);
                out.push(Action::Reply(session, seq, outcome));
            }
            return Taken::Refused(refusal);
        }
        let (seq, op, memsync) = match *request {
            Request::Keepalive { seq } => {
                let reply = seq.map(|seq| Action::Reply(session, seq, Outcome::Done));
                out.extend(reply);
                return Taken::Taken;
            }
            Request::State {
                seq,
                consistency,
                generation,
                raise,
            } => {
                self.metadata.change(|metadata| {
                    metadata.consistency = consistency;
                    metadata.generation = generation;
                    let local = &mut metadata.counters.local;
                    *local = raise.map_or(*local, |raise| raise.max(*local));
                });
                let stage = Stage::Storing(self.metadata.revision());
                self.take(seq, Op::Flush, false, stage);
                self.ask_for_stores(out);
                return Taken::Taken;
            }
            Request::Read { seq, range } => (seq, Op::Read(range), false),
            Request::Delete { seq, range } => (seq, Op::Delete(range), false),
            Request::Flush { seq } => (seq, Op::Flush, false),
            Request::Write {
                seq,
                range,
                memsync,
                ..
            } => (seq, Op::Write(range), memsync),
        };
        self.watch.count_request(op);
        // Answers come in order: whoever asked this often has got that one.
        self.untold = self.untold.map(|n| n + 1).filter(|n| *n <= MOST_UNDER_WAY);
        if !self.map.is_empty() && !core::mem::replace(&mut self.map_store, true) {
            self.map_is_stored = false;
            out.push(Action::ClearMap);
        }
        if matches!(op, Op::Write(_)) {
            return Taken::Payload(self.take(seq, op, memsync, Stage::Receiving));
        }
        let id = self.take(seq, op, memsync, Stage::Waiting);
        self.queue(id, out);
        match op {
            Op::Read(_) => Taken::Buffer(id),
            _ => Taken::Taken,
        }
    }

    fn take(&mut self, seq: Seq, op: Op, memsync: bool, stage: Stage) -> RequestId {
        self.order += 1;
        self.flushes_waiting += u32::from(op == Op::Flush && stage == Stage::Waiting);
        let job = Job {
            seq,
            op,
            memsync,
            lock: None,
            stage,
            session: self.session,
            order: self.order,
            doomed: false,
        };
        self.slots.insert(job).expect("there is room")
    }

    /// All data of a WRITE is in its buffer.
    pub fn received(&mut self, session: Session, id: RequestId, out: &mut Vec<Action>) {
        if session != self.session {
            return;
        }
        self.heard = self.now;
        let Some(job) = self.slots.get_mut(id) else {
            return;
        };
        job.stage = Stage::Waiting;
        if job.memsync {
            out.push(Action::Reply(session, job.seq, Outcome::Received));
        }
        self.queue(id, out);
    }

    fn queue(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let Some(job) = self.slots.get_mut(id) else {
            return;
        };
        match job.op.range() {
            None => self.run_flushes(out),
            Some(range) => {
                let (lock, held) = self.locks.acquire(range);
                job.lock = Some(lock);
                if held {
                    self.run(id, out);
                }
            }
        }
    }

    fn run(&mut self, id: RequestId, out: &mut Vec<Action>) {
        if let Some(job) = self.slots.get_mut(id) {
            job.stage = Stage::Running;
            self.flushes_waiting -= u32::from(job.op == Op::Flush);
            out.push(Action::Local { id, op: job.op });
        }
    }

    /// Runs every FLUSH before which nothing is left that modifies. Writes
    /// come with their payload, so all that came before are known.
    fn run_flushes(&mut self, out: &mut Vec<Action>) {
        if self.flushes_waiting == 0 {
            return;
        }
        let modifying = self.slots.iter().filter(|(_, job)| job.op.modifies());
        let first = modifying.map(|(_, job)| job.order).min();
        let mut ready = core::mem::take(&mut self.marked);
        let flushes = self.slots.iter().filter(|(_, job)| {
            let before = first.is_none_or(|first| job.order < first);
            job.op == Op::Flush && job.stage == Stage::Waiting && before
        });
        ready.extend(flushes.map(|(id, _)| id));
        for id in ready.drain(..) {
            self.run(id, out);
        }
        self.marked = ready;
    }

    /// The component has done what [`Action::Local`] asked for.
    pub fn local_done(&mut self, id: RequestId, result: Result<(), Errno>, out: &mut Vec<Action>) {
        let result = self.flush_result(id, result);
        let Some(job) = self.slots.get_mut(id) else {
            return;
        };
        let Job {
            seq,
            op,
            lock,
            session,
            ..
        } = *job;
        let connected = session == self.session && self.stage == super::Stage::Connected;
        job.lock = None;
        job.stage = Stage::Sending;
        if let Some(error) = error(op, result) {
            self.watch.count_error(op);
            self.note(Trouble::Local(op, error));
        }
        let outcome = match (result, op) {
            (Err(error), _) => Outcome::Failed(error),
            (Ok(()), Op::Read(range)) => Outcome::Data(id, range),
            (Ok(()), _) => Outcome::Done,
        };
        if connected {
            out.push(Action::Reply(session, seq, outcome));
        }
        self.unlock(lock, out);
        if !connected || !matches!(outcome, Outcome::Data(..)) {
            self.end(id, out);
        }
    }

    /// What the component said, unless it is a FLUSH that may not have been
    /// told of what another one, or a store, was told.
    fn flush_result(&mut self, id: RequestId, result: Result<(), Errno>) -> Result<(), Errno> {
        let Some(&mut job) = self.slots.get_mut(id) else {
            return result;
        };
        if job.op != Op::Flush {
            return result;
        }
        if error(Op::Flush, result).is_some() {
            self.cache_failed();
            self.flush_must_fail = false;
            self.untold = Some(0);
            return result;
        }
        let lost = job.doomed || core::mem::take(&mut self.flush_must_fail);
        if lost {
            self.untold = Some(0);
            return Err(Errno::EIO);
        }
        result
    }

    /// A flush failed: what was in the cache may be gone, and the system tells
    /// that once. Every flush that runs now has failed, too.
    pub(super) fn cache_failed(&mut self) {
        for job in self.slots.values_mut() {
            job.doomed |= job.op == Op::Flush && job.stage == Stage::Running;
        }
        self.metadata.doubt();
        self.map_doubted = self.map_store;
    }

    /// The data of [`Outcome::Data`] was sent, or is not going to be.
    pub fn sent(&mut self, id: RequestId, out: &mut Vec<Action>) {
        self.end(id, out);
    }

    fn end(&mut self, id: RequestId, out: &mut Vec<Action>) {
        if self.slots.remove(id).is_some() {
            out.push(Action::Release(id));
        }
        self.run_flushes(out);
        self.greet(out);
        self.pump_stop(out);
    }

    fn unlock(&mut self, lock: Option<LockId>, out: &mut Vec<Action>) {
        let Some(lock) = lock else { return };
        self.locks.release(lock, &mut self.granted);
        while let Some(lock) = self.granted.pop() {
            let next = self.slots.iter().find(|(_, job)| job.lock == Some(lock));
            if let Some((id, _)) = next {
                self.run(id, out);
            }
        }
    }

    pub(super) fn states_stored(&mut self, stored: bool, out: &mut Vec<Action>) {
        let mut ended = core::mem::take(&mut self.marked);
        for (id, job) in self.slots.iter() {
            if let Stage::Storing(revision) = job.stage {
                let has = self.metadata.has(revision);
                if has || !stored {
                    let outcome = if has {
                        Outcome::Done
                    } else {
                        Outcome::Failed(Errno::EIO)
                    };
                    out.push(Action::Reply(job.session, job.seq, outcome));
                    ended.push(id);
                }
            }
        }
        for id in ended.drain(..) {
            self.slots.remove(id);
            // It had no buffer, but somebody may wait for its place.
            out.push(Action::Release(id));
        }
        self.marked = ended;
    }

    /// The link ended. Writes that are wholly in memory are carried out all the
    /// same: the primary may have been told so and be gone. Nobody waits for
    /// the rest.
    pub(super) fn drop_what_waits(&mut self, out: &mut Vec<Action>) {
        let mut dropped = core::mem::take(&mut self.marked);
        let goes_on = |job: &Job| match job.stage {
            Stage::Running => true,
            Stage::Waiting => job.op.modifies(),
            Stage::Receiving => cfg!(hast_bug = "k8"),
            Stage::Sending | Stage::Storing(_) => false,
        };
        let jobs = self.slots.iter().filter(|(_, job)| !goes_on(job));
        dropped.extend(jobs.map(|(id, _)| id));
        for id in dropped.drain(..) {
            if let Some(job) = self.slots.remove(id) {
                let waited = job.op == Op::Flush && job.stage == Stage::Waiting;
                self.flushes_waiting -= u32::from(waited);
                out.push(Action::Release(id));
                self.unlock(job.lock, out);
            }
        }
        if cfg!(hast_bug = "k8") {
            let torn = self.slots.iter();
            let torn = torn.filter(|(_, job)| job.stage == Stage::Receiving);
            dropped.extend(torn.map(|(id, _)| id));
            for id in dropped.drain(..) {
                self.queue(id, out);
            }
        }
        self.marked = dropped;
    }
}

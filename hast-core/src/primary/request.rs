//! A request from the provider to its answer.
//! Facts: spec/hast-behaviour.md sections 5.1 to 5.6.
//!
//! | stage of a write or delete | it waits for |
//! |---|---|
//! | locked | overlapping ones that came before |
//! | dirtying | its extents' bits on stable storage |
//! | running | the components |
//! | recording | stable storage to say which component missed it |

use super::sync::Copying;
use super::{Action, Behind, CLIENT_REQUESTS, LONGEST_REQUEST, Op, Primary, Replication};
use crate::activemap::Finished;
use crate::errno::Errno;
use crate::metastore::Revision;
use crate::rangelock::LockId;
use crate::slab::RequestId;
use crate::units::ByteRange;
use crate::watch::error;
use alloc::vec::Vec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Client {
        tag: u64,
    },
    Copy(Copying),
    /// A flush of our own; whether it is the one that ends synchronisation.
    Flush {
        ends_sync: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Locked,
    Dirtying,
    /// A FLUSH, for writes that were answered before the peer had them.
    Waiting,
    Running,
    Recording(Revision),
}

/// What one component still has to do, and the first error it met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Part {
    pub(super) left: u32,
    pub(super) error: Option<Errno>,
}

impl Part {
    pub(super) const ONE: Self = Self {
        left: 1,
        error: None,
    };

    pub(super) fn done(&mut self, result: Result<(), Errno>) {
        self.left = self.left.saturating_sub(1);
        self.error = self.error.or(result.err());
    }

    pub(super) fn result(self) -> Option<Result<(), Errno>> {
        (self.left == 0).then(|| self.error.map_or(Ok(()), Err))
    }
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) op: Op,
    /// The mode it began with, whatever is configured meanwhile.
    pub(super) replication: Replication,
    pub(super) range: Option<ByteRange>,
    pub(super) lock: Option<LockId>,
    pub(super) stage: Stage,
    pub(super) local: Part,
    pub(super) remote: Part,
    /// Pieces of which the peer has not said that they are in its memory.
    pub(super) unacknowledged: u32,
    answered: bool,
    /// The local component was asked.
    pub(super) ran: bool,
    /// The peer was asked.
    pub(super) sent: bool,
    /// A flush that decides which extents become clean.
    pub(super) covers_map: bool,
}

impl Slot {
    pub(super) const fn new(kind: Kind, op: Op, replication: Replication) -> Self {
        Self {
            kind,
            op,
            replication,
            range: op.range(),
            lock: None,
            stage: Stage::Locked,
            local: Part {
                left: 0,
                error: None,
            },
            remote: Part {
                left: 0,
                error: None,
            },
            unacknowledged: 0,
            answered: false,
            ran: false,
            sent: false,
            covers_map: false,
        }
    }
}

/// There are [`CLIENT_REQUESTS`] already; one of them must be answered first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Primary {
    /// A client's request. Its buffer is at the index of the name returned,
    /// until [`Action::Release`] gives it back.
    pub fn request(&mut self, tag: u64, op: Op, out: &mut Vec<Action>) -> Result<RequestId, Full> {
        if self.clients == CLIENT_REQUESTS {
            return Err(Full);
        }
        let slot = Slot::new(Kind::Client { tag }, op, self.replication);
        let id = self.slots.insert(slot).ok_or(Full)?;
        self.clients += 1;
        self.pace.request();
        self.watch.count_request(op);
        match (self.check(op), op) {
            (Err(error), _) => self.complete(id, Err(error), out),
            (Ok(()), Op::Read(range)) => self.read(id, range, out),
            (Ok(()), Op::Write(range) | Op::Delete(range)) => self.lock(id, range, out),
            (Ok(()), Op::Flush) => self.flush(id, out),
        }
        self.pump(out);
        Ok(id)
    }

    /// The local component has done what [`Action::Local`] asked for.
    pub fn local_done(&mut self, id: RequestId, result: Result<(), Errno>, out: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.local.done(result);
            let (kind, op) = (slot.kind, slot.op);
            if let Some(error) = error(op, result) {
                self.local_failed(kind, op, error);
                if op == Op::Flush {
                    self.local_cache_failed();
                }
            }
            self.go_on(id, out);
        }
        self.pump(out);
    }

    pub(super) fn remote_done(
        &mut self,
        id: RequestId,
        result: Result<(), Errno>,
        out: &mut Vec<Action>,
    ) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.remote.done(result);
            self.go_on(id, out);
        }
    }

    /// The peer has a piece of a write in its memory.
    pub(super) fn acknowledged(&mut self, id: RequestId, out: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.unacknowledged = slot.unacknowledged.saturating_sub(1);
            self.go_on(id, out);
        }
    }

    /// Something a running request waited for has happened.
    fn go_on(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let Some(&mut slot) = self.slots.get_mut(id) else {
            return;
        };
        match (slot.kind, slot.op) {
            (Kind::Copy(copying), _) => self.copy_goes_on(id, copying, out),
            (_, Op::Read(range)) => self.read_goes_on(id, range, &slot, out),
            (_, Op::Flush) => self.flush_goes_on(id, &slot, out),
            (_, Op::Write(range) | Op::Delete(range)) => self.write_goes_on(id, range, &slot, out),
        }
    }

    fn check(&self, op: Op) -> Result<(), Errno> {
        if let Some(range) = op.range() {
            let sector = u64::from(self.sectorsize);
            let aligned = range.offset() % sector == 0 && range.length() % sector == 0;
            let bounded =
                matches!(op, Op::Delete(_)) || range.length() <= u64::from(LONGEST_REQUEST);
            if !aligned || !bounded || range.end() > self.extents.datasize() {
                return Err(Errno::EINVAL);
            }
        }
        let alone_and_behind = self.standing.behind == Behind::Local && !self.link.is_up();
        if !self.standing.knows_what_differs || op.modifies() && alone_and_behind {
            return Err(Errno::EIO);
        }
        Ok(())
    }

    fn read(&mut self, id: RequestId, range: ByteRange, out: &mut Vec<Action>) {
        let stale = self.standing.behind == Behind::Local && self.map.may_differ(range);
        if stale && !cfg!(hast_bug = "k4") {
            self.read_from_peer(id, Errno::EIO, out);
        } else {
            self.run_locally(id, out);
        }
    }

    pub(super) fn run_locally(&mut self, id: RequestId, out: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.stage = Stage::Running;
            slot.local = Part::ONE;
            slot.ran = true;
            let op = slot.op;
            out.push(Action::Local { id, op });
        }
    }

    fn read_from_peer(&mut self, id: RequestId, otherwise: Errno, out: &mut Vec<Action>) {
        if self.link.is_up() {
            self.send_request(id, out);
        } else {
            self.complete(id, Err(otherwise), out);
        }
    }

    fn read_goes_on(
        &mut self,
        id: RequestId,
        range: ByteRange,
        slot: &Slot,
        out: &mut Vec<Action>,
    ) {
        if slot.remote.left > 0 || slot.local.left > 0 {
            return;
        }
        // What was answered early the peer may have failed to write without
        // this node knowing yet.
        let peer_lacks_it = self.answered_early > 0
            || self.standing.behind == Behind::Peer && self.map.may_differ(range);
        match (slot.local.error, slot.remote.error) {
            (Some(error), _) if !slot.sent && !peer_lacks_it => {
                self.read_from_peer(id, error, out);
            }
            (Some(error), _) if !slot.sent => self.complete(id, Err(error), out),
            (_, Some(_)) => self.complete(id, Err(Errno::EIO), out),
            (_, None) => self.complete(id, Ok(()), out),
        }
    }

    pub(super) fn lock(&mut self, id: RequestId, range: ByteRange, out: &mut Vec<Action>) {
        let (lock, held) = self.locks.acquire(range);
        if let Some(slot) = self.slots.get_mut(id) {
            slot.lock = Some(lock);
        }
        if held {
            self.locked(id, out);
        }
    }

    fn locked(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let Some(&mut slot) = self.slots.get_mut(id) else {
            return;
        };
        if let Kind::Copy(copying) = slot.kind {
            return self.copy_begins(id, copying, out);
        }
        let Some(range) = slot.range else { return };
        self.map.write_started(range);
        if self.map.is_durable(range) {
            self.issue(id, out);
        } else {
            self.set_stage(id, Stage::Dirtying);
            self.stores.want_map();
        }
    }

    pub(super) fn unlock(&mut self, lock: Option<LockId>, out: &mut Vec<Action>) {
        let Some(lock) = lock else { return };
        self.locks.release(lock, &mut self.granted);
        while let Some(lock) = self.granted.pop() {
            let next = self.slots.iter().find(|(_, slot)| slot.lock == Some(lock));
            let next = next.map(|(id, _)| id);
            if let Some(id) = next {
                self.locked(id, out);
            }
        }
    }

    /// To both components.
    pub(super) fn issue(&mut self, id: RequestId, out: &mut Vec<Action>) {
        self.run_locally(id, out);
        let modifies = self
            .slots
            .get_mut(id)
            .is_some_and(|slot| slot.op.modifies());
        if self.link.is_up() && !(modifies && self.peer_must_not_change()) {
            self.send_request(id, out);
        } else if let Some(slot) = self.slots.get_mut(id) {
            slot.remote.error = Some(Errno::ENOTCONN);
        }
    }

    /// The write's dirty bits cannot be stored, so no component gets it.
    pub(super) fn fail_unissued(&mut self, id: RequestId, error: Errno, out: &mut Vec<Action>) {
        let Some(&mut slot) = self.slots.get_mut(id) else {
            return;
        };
        if let Some(range) = slot.range {
            self.map.write_finished(range, Finished::OnBoth);
        }
        self.complete(id, Err(error), out);
        self.unlock(slot.lock, out);
    }

    fn write_goes_on(
        &mut self,
        id: RequestId,
        range: ByteRange,
        slot: &Slot,
        out: &mut Vec<Action>,
    ) {
        let (Some(local), Some(remote)) = (slot.local.result(), slot.remote.result()) else {
            if self.may_answer_early(slot)
                && let Some(slot) = self.slots.get_mut(id)
            {
                slot.answered = true;
                self.answered_early += 1;
                self.answer(id, Ok(()), out);
            }
            return;
        };
        let both = local.is_ok() && remote.is_ok();
        let untracked = cfg!(hast_bug = "k13") && matches!(slot.op, Op::Delete(_));
        let how = if both || untracked || cfg!(hast_bug = "k1") && local.is_ok() {
            Finished::OnBoth
        } else {
            Finished::MayDiffer
        };
        self.map.write_finished(range, how);
        let verdict = match (local, remote) {
            (Ok(()), Ok(())) => Ok(Revision::FIRST),
            (Ok(()), Err(_)) => self.peer_misses(),
            (Err(_), Ok(())) => self.local_misses(),
            (Err(error), Err(_)) => Err(error),
        };
        self.differs();
        if slot.answered {
            // Nobody has it, and the client was told that somebody has.
            self.standing.flush_must_fail |= verdict.is_err();
            self.release(id, out);
            self.answered_early -= 1;
            self.release_flushes(out);
        } else {
            self.answer_after(id, verdict, out);
        }
        self.unlock(slot.lock, out);
    }

    /// Whether a write that is still running may be answered. Not while the
    /// local component is behind: then the peer's is the one that counts.
    fn may_answer_early(&self, slot: &Slot) -> bool {
        let local = slot.local.result() == Some(Ok(()));
        let bug = cfg!(hast_bug = "k3") && slot.local.left == 0;
        let enough = match slot.replication {
            Replication::Fullsync => false,
            Replication::Memsync => (local || bug) && slot.unacknowledged == 0,
            Replication::Async => local,
        };
        enough && !slot.answered && self.standing.behind != Behind::Local
    }

    pub(super) fn answer_after(
        &mut self,
        id: RequestId,
        verdict: Result<Revision, Errno>,
        out: &mut Vec<Action>,
    ) {
        match verdict {
            Ok(revision) if !self.is_recorded(revision) => {
                self.set_stage(id, Stage::Recording(revision));
            }
            Ok(_) => self.complete(id, Ok(()), out),
            Err(error) => self.complete(id, Err(error), out),
        }
    }

    /// Whether everybody who must know which component misses something does.
    fn is_recorded(&self, revision: Revision) -> bool {
        let stored = self.stores.metadata.has(revision) || cfg!(hast_bug = "k10");
        (stored || self.standing.peer_knows) && self.may_be_stale()
    }

    pub(super) fn waits_for_a_record(&self) -> bool {
        let recording = |slot: &Slot| matches!(slot.stage, Stage::Recording(_));
        self.slots.iter().any(|(_, slot)| recording(slot))
    }

    /// Requests that waited until it is known which component misses
    /// something are answered: those that can be, or all.
    pub(super) fn answer_recorded(&mut self, give_up: bool, out: &mut Vec<Action>) {
        let mut waiting = core::mem::take(&mut self.marked);
        let recording = |slot: &Slot| matches!(slot.stage, Stage::Recording(_));
        let ids = self.slots.iter().filter(|(_, slot)| recording(slot));
        waiting.extend(ids.map(|(id, _)| id));
        for id in waiting.drain(..) {
            let Some(&mut slot) = self.slots.get_mut(id) else {
                continue;
            };
            match slot.stage {
                Stage::Recording(revision) if self.is_recorded(revision) => {
                    self.complete(id, Ok(()), out);
                }
                _ if give_up => self.complete(id, Err(Errno::EIO), out),
                _ => {}
            }
        }
        self.marked = waiting;
    }

    pub(super) fn complete(
        &mut self,
        id: RequestId,
        result: Result<(), Errno>,
        out: &mut Vec<Action>,
    ) {
        self.answer(id, result, out);
        self.release(id, out);
    }

    fn answer(&mut self, id: RequestId, result: Result<(), Errno>, out: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(id)
            && let Kind::Client { tag } = slot.kind
        {
            out.push(Action::Complete { id, tag, result });
        }
    }

    pub(super) fn release(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let Some(slot) = self.slots.remove(id) else {
            return;
        };
        let of_client = matches!(slot.kind, Kind::Client { .. });
        self.clients -= u32::from(of_client);
        if of_client || slot.range.is_some() {
            out.push(Action::Release(id));
        }
    }

    pub(super) fn requests_at(&self, stage: Stage) -> impl Iterator<Item = RequestId> {
        let at = self.slots.iter();
        at.filter_map(move |(id, slot)| (slot.stage == stage).then_some(id))
    }

    pub(super) fn set_stage(&mut self, id: RequestId, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.stage = stage;
        }
    }
}

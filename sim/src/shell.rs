//! What the shell of a node does: it takes the machine's actions and carries
//! them out, one by one and in any order that design 6.2 (a) to (d) allow.

use crate::buffers::Buffers;
use crate::disk::SECTOR;
use crate::node::{DATA, MAP, META, Machine, Node, to_usize};
use crate::rng::Rng;
use hast_core::decision::MapSent;
use hast_core::errno::Errno;
use hast_core::metadata::BLOCK_LENGTH;
use hast_core::primary::{self, Op, Primary};
use hast_core::secondary::{self, Secondary};
use hast_core::slab::RequestId;

/// What the shell has still to do.
#[derive(Clone, Debug)]
pub(crate) enum Todo {
    Local(RequestId, Op),
    LocalDone(RequestId, Op, Result<(), Errno>),
    StoreMap,
    MapWritten(Result<(), Errno>),
    StoreMetadata,
    MetadataWritten(Result<(), Errno>),
    ClearMap,
    FillMap,
    DirectReads(bool),
    /// The disk thread of a node of base takes its next request.
    Base,
    /// With the buffer, since the place it was in is free already.
    Complete(Vec<u8>, u64, Result<(), Errno>),
}

/// What it has to send, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    Primary(primary::Action),
    Secondary(secondary::Action),
}

impl Post {
    fn is_sent_on(&self, link: primary::Session) -> bool {
        match self {
            Self::Primary(primary::Action::Send { session, .. }) => *session == link,
            _ => false,
        }
    }
}

impl Node {
    /// An event for the primary, if there is one.
    pub(crate) fn primary<T>(
        &mut self,
        event: impl FnOnce(&mut Primary, &mut Vec<primary::Action>) -> T,
    ) -> Option<T> {
        self.primary_with_data(|primary, _, out| event(primary, out))
    }

    /// The same, with the buffers at hand.
    pub(crate) fn primary_with_data<T>(
        &mut self,
        event: impl FnOnce(&mut Primary, &mut Buffers, &mut Vec<primary::Action>) -> T,
    ) -> Option<T> {
        let Machine::Primary(primary) = &mut self.machine else {
            return None;
        };
        let mut out = Vec::new();
        let result = event(primary, &mut self.buffers, &mut out);
        self.queue_primary(out);
        Some(result)
    }

    /// An event for the secondary, if there is one.
    pub(crate) fn secondary<T>(
        &mut self,
        event: impl FnOnce(&mut Secondary, &mut Vec<secondary::Action>) -> T,
    ) -> Option<T> {
        self.secondary_with_data(|secondary, _, out| event(secondary, out))
    }

    /// The same, with the buffers at hand.
    pub(crate) fn secondary_with_data<T>(
        &mut self,
        event: impl FnOnce(&mut Secondary, &mut Buffers, &mut Vec<secondary::Action>) -> T,
    ) -> Option<T> {
        let Machine::Secondary(secondary) = &mut self.machine else {
            return None;
        };
        let mut out = Vec::new();
        let result = event(secondary, &mut self.buffers, &mut out);
        self.queue_secondary(out);
        Some(result)
    }

    /// Puts a primary's actions where they belong.
    fn queue_primary(&mut self, actions: Vec<primary::Action>) {
        use primary::Action as A;
        for action in actions {
            match action {
                A::Local { id, op } => self.queue_local(id, op),
                A::Complete { id, tag, result } => {
                    let data = self.buffers.whole(id).to_vec();
                    self.todo.push(Todo::Complete(data, tag, result));
                }
                A::StoreMap => self.todo.push(Todo::StoreMap),
                A::StoreMetadata => self.todo.push(Todo::StoreMetadata),
                A::DirectReads(on) => self.todo.push(Todo::DirectReads(on)),
                A::Stopped => self.has_stopped = true,
                A::Release(id) => self.buffers.release(id),
                A::Notify(_) => {}
                A::Disconnect(ended, _) => {
                    self.forget_sends(ended);
                    self.posts.push_back(Post::Primary(action));
                }
                A::Send { .. } | A::Connect(_) | A::Hello(..) => {
                    self.posts.push_back(Post::Primary(action));
                }
            }
        }
    }

    fn queue_secondary(&mut self, actions: Vec<secondary::Action>) {
        use secondary::Action as A;
        for action in actions {
            match action {
                A::Local { id, op } => self.queue_local(id, op),
                A::StoreMetadata => self.todo.push(Todo::StoreMetadata),
                A::ClearMap => self.todo.push(Todo::ClearMap),
                A::FillMap => self.todo.push(Todo::FillMap),
                A::Stopped => self.has_stopped = true,
                A::Discard(_) | A::Release(_) | A::Notify(_) => {}
                A::Answer(..) | A::Reply(..) | A::Close(_) => {
                    self.posts.push_back(Post::Secondary(action));
                }
            }
        }
    }

    /// The link has ended, and with it the requests that are still to be sent.
    pub(crate) fn forget_sends(&mut self, ended: primary::Session) {
        self.posts.retain(|post| !post.is_sent_on(ended));
    }

    /// (c): overlapping writes of the component are never outstanding
    /// together.
    fn queue_local(&mut self, id: RequestId, op: Op) {
        let overlaps = |todo: &&Todo| match (todo, op.range()) {
            (Todo::Local(_, other) | Todo::LocalDone(_, other, _), Some(range)) => {
                let both = op.modifies() && other.modifies();
                both && other.range().is_some_and(|other| other.overlaps(range))
            }
            _ => false,
        };
        if let Some(other) = self.todo.iter().find(overlaps) {
            self.broken_rule = Some(format!("{op:?} is handed out together with {other:?}"));
        }
        self.todo.push(Todo::Local(id, op));
    }

    /// Carries something out, or has it fail: then a write may have happened,
    /// or a part of it.
    pub(crate) fn perform(&mut self, todo: &Todo, fails: bool, rng: &mut Rng) {
        let failed = fails.then_some(Errno::EIO);
        let happens = !fails || rng.one_in(2);
        match *todo {
            Todo::Local(id, op) => {
                let result = if fails {
                    self.local_fails(id, op, happens, rng)
                } else {
                    self.local(id, op)
                };
                self.failed_write |= result.is_err() && op.modifies();
                if op == Op::Flush && result.is_err() {
                    // No other flush may end before this is known.
                    self.report(id, result);
                } else {
                    self.todo.push(Todo::LocalDone(id, op, result));
                }
            }
            Todo::LocalDone(id, _, result) => self.report(id, result),
            Todo::StoreMap => {
                let (Machine::Primary(primary), disk) = (&mut self.machine, &mut self.disk) else {
                    return;
                };
                let mut result = Ok(());
                primary.begin_map_store(|sectors| {
                    let written = disk.write(to_usize(sectors.offset), sectors.bytes);
                    result = result.and(written);
                });
                self.todo.push(Todo::MapWritten(result));
            }
            Todo::MapWritten(written) => {
                let stored = written.is_ok() && self.flushed(fails, rng);
                self.primary(|primary, out| primary.map_stored(stored, out));
            }
            Todo::StoreMetadata => self.store_metadata(),
            Todo::MetadataWritten(written) => {
                let stored = written.is_ok() && self.flushed(fails, rng);
                self.primary(|primary, out| primary.metadata_stored(stored, out));
                self.secondary(|secondary, out| secondary.metadata_stored(stored, out));
            }
            Todo::ClearMap => {
                let written = happens && self.disk.write(META, &[0; MAP]).is_ok();
                self.secondary(|secondary, out| secondary.map_cleared(written && !fails, out));
            }
            Todo::FillMap => {
                let mut map = Vec::new();
                self.secondary(|secondary, _| secondary.write_map(MapSent::Full, &mut map));
                let written = happens && self.disk.write(META, &map).is_ok();
                let filled = written && self.flushed(fails, rng);
                self.secondary(|secondary, out| secondary.map_filled(filled, out));
            }
            Todo::DirectReads(on) => {
                let ok = failed.is_none() && !(on && self.make.is_file);
                self.direct_reads = if ok { on } else { self.direct_reads };
                self.primary(|primary, out| primary.direct_reads_set(on, ok, out));
            }
            Todo::Base => match &mut self.machine {
                Machine::BasePrimary(primary) => primary.work(fails, &mut self.disk),
                Machine::BaseSecondary(secondary) => secondary.work(fails, &mut self.disk),
                _ => {}
            },
            Todo::Complete(..) => unreachable!("the client is told by the world"),
        }
    }

    fn report(&mut self, id: RequestId, result: Result<(), Errno>) {
        self.primary(|primary, out| primary.local_done(id, result, out));
        self.secondary(|secondary, out| secondary.local_done(id, result, out));
    }

    fn flushed(&mut self, fails: bool, rng: &mut Rng) -> bool {
        if fails {
            self.disk.fail_to_flush(rng);
        }
        !fails && self.disk.sync().is_ok()
    }

    fn store_metadata(&mut self) {
        let mut block = [0; BLOCK_LENGTH];
        let begun = match &mut self.machine {
            Machine::Primary(primary) => primary.begin_metadata_store(&mut block),
            Machine::Secondary(secondary) => secondary.begin_metadata_store(&mut block),
            _ => return,
        };
        begun.expect("the name is short");
        assert!(block[SECTOR..].iter().all(|byte| *byte == 0), "it may tear");
        let written = self.disk.write(0, &block[..SECTOR]);
        self.todo.push(Todo::MetadataWritten(written));
    }

    pub(crate) fn local(&mut self, id: RequestId, op: Op) -> Result<(), Errno> {
        match op {
            Op::Read(range) => {
                let data = self.buffers.piece(id, range);
                self.disk.read(at(range.offset()), data);
                Ok(())
            }
            Op::Write(range) => {
                let data = self.buffers.piece(id, range);
                self.disk.write(at(range.offset()), data)
            }
            Op::Delete(range) => {
                let zeros = vec![0; to_usize(range.length())];
                self.disk.write(at(range.offset()), &zeros)
            }
            Op::Flush => self.disk.flush(),
        }
    }

    fn local_fails(
        &mut self,
        id: RequestId,
        op: Op,
        happens: bool,
        rng: &mut Rng,
    ) -> Result<(), Errno> {
        match op {
            Op::Write(range) => {
                let data = self.buffers.piece(id, range);
                self.disk.tear(at(range.offset()), data, rng);
            }
            Op::Flush => self.disk.fail_to_flush(rng),
            _ if happens => self.local(id, op)?,
            _ => {}
        }
        Err(Errno::EIO)
    }

    /// Puts what a node of base came up with where it belongs.
    pub(crate) fn queue_base(&mut self) {
        let has_work = match &mut self.machine {
            Machine::BasePrimary(primary) => {
                self.direct_reads |= primary.direct_reads && !self.make.is_file;
                let answers = primary.answers.drain(..);
                let complete = |(data, key, result)| Todo::Complete(data, key, result);
                self.todo.extend(answers.map(complete));
                primary.has_work()
            }
            Machine::BaseSecondary(secondary) => secondary.has_work(),
            _ => return,
        };
        let asked = self.todo.iter().any(|todo| matches!(todo, Todo::Base));
        if has_work && !asked {
            self.todo.push(Todo::Base);
        }
    }
}

fn at(offset: u64) -> usize {
    DATA + to_usize(offset)
}

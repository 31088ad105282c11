//! A node: a disk, the kernel's gate, and a machine of hast-core with what its
//! shell has still to do. The shell does it in any order that design 6.2 (a)
//! to (d) allow.

use crate::base;
use crate::disk::{Disk, SECTOR};
use crate::net::Way;
use crate::rng::Rng;
use hast_core::decision::{MapSent, OnImpossible};
use hast_core::errno::Errno;
use hast_core::extent::Extents;
use hast_core::message::Extensions;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, Consistency, CreateOptions, Metadata, Provider};
use hast_core::primary::{self, Behind, Millis, Op, Primary, Replication};
use hast_core::secondary::{self, Discard, Secondary};
use hast_core::slab::RequestId;
use std::collections::VecDeque;

pub(crate) const DATA_SECTORS: usize = 64;
pub(crate) const EXTENT: u32 = 2048;
/// Bytes of the map, in one sector.
pub(crate) const MAP: usize = SECTOR;
pub(crate) const META: usize = BLOCK_LENGTH;
pub(crate) const DATA: usize = META + MAP;
const MEDIA: usize = DATA + DATA_SECTORS * SECTOR;
/// Milliseconds of silence after which a peer is given up.
pub(crate) const TIMEOUT: u64 = 20_000;

pub(crate) fn provider() -> Provider {
    Provider {
        mediasize: u64::try_from(MEDIA).expect("small"),
        sectorsize: 512,
    }
}

#[derive(Debug)]
pub(crate) enum Machine {
    Off,
    Primary(Box<Primary>),
    Secondary(Box<Secondary>),
    BasePrimary(Box<base::Primary>),
    BaseSecondary(Box<base::Secondary>),
}

/// What a primary says of the pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) connected: bool,
    pub(crate) behind: Behind,
    pub(crate) peer_is_current: bool,
}

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

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    pub(crate) todo: Vec<Todo>,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) powered: bool,
    /// The kernel serves reads from the disk.
    pub(crate) direct_reads: bool,
    /// It runs FreeBSD's hastd.
    pub(crate) is_base: bool,
    /// The component is a file, from which the kernel serves no reads.
    pub(crate) is_file: bool,
    /// The machine has said that it has stopped.
    pub(crate) has_stopped: bool,
    /// What it last said to an operator who gave its data up.
    pub(crate) discard: Option<Discard>,
    /// A write failed here since it became secondary.
    pub(crate) failed_write: bool,
    /// A rule of design 6.2 was broken.
    pub(crate) broken_rule: Option<String>,
}

impl Node {
    pub(crate) fn new(is_file: bool, is_base: bool) -> Self {
        let options = CreateOptions {
            extentsize: Some(EXTENT.into()),
            keepdirty: Some(2),
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("shared", provider(), options).expect("it fits");
        let mut block = [0; BLOCK_LENGTH];
        metadata.encode(&mut block).expect("it fits");
        let mut disk = Disk::new(MEDIA);
        let written = disk.write(0, &block).and(disk.write(META, &[0; MAP]));
        written.and(disk.flush()).expect("the disk is fine");
        Self {
            disk,
            machine: Machine::Off,
            todo: Vec::new(),
            posts: VecDeque::new(),
            buffers: vec![Vec::new(); 1024],
            powered: true,
            direct_reads: false,
            is_base,
            is_file,
            has_stopped: false,
            discard: None,
            failed_write: false,
            broken_rule: None,
        }
    }

    /// The process is gone; the disk keeps what it was given.
    pub(crate) fn end(&mut self) {
        self.machine = Machine::Off;
        self.todo.clear();
        self.posts.clear();
        self.has_stopped = false;
    }

    /// The process is killed: what the kernel had been asked for may still
    /// happen.
    pub(crate) fn kill(&mut self, rng: &mut Rng) {
        for todo in std::mem::take(&mut self.todo) {
            if let Todo::Local(id, op) = todo
                && rng.one_in(2)
            {
                let _ = self.local(id, op);
            }
        }
        self.end();
    }

    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        self.end();
        self.powered = false;
        self.direct_reads = false;
        self.disk.power_cut(rng);
    }

    /// Reads what a worker starts with. A disk that cannot be flushed is not
    /// opened.
    fn open(&mut self) -> Result<(Metadata, Extents, Vec<u8>), String> {
        self.disk.flush().map_err(|e| e.to_string())?;
        let mut block = [0; BLOCK_LENGTH];
        self.disk.read(0, &mut block);
        let metadata = Metadata::decode(&block).map_err(|e| e.to_string())?;
        let extents = metadata.validate(provider()).map_err(|e| e.to_string())?;
        let mut map = vec![0; MAP];
        self.disk.read(META, &mut map);
        Ok((metadata, extents, map))
    }

    /// What the disk says of itself.
    pub(crate) fn metadata(&self) -> Result<Metadata, String> {
        let mut block = [0; BLOCK_LENGTH];
        self.disk.read(0, &mut block);
        Metadata::decode(&block).map_err(|e| e.to_string())
    }

    /// It calls its own copy one that may be used.
    pub(crate) fn says_consistent(&self) -> bool {
        let says = self.metadata().map(|metadata| metadata.consistency);
        says == Ok(Consistency::Consistent)
    }

    pub(crate) fn become_primary(
        &mut self,
        replication: Replication,
        entropy: u64,
        now: Millis,
    ) -> Result<(), String> {
        self.end();
        let (metadata, extents, map) = self.open()?;
        if self.is_base {
            let primary = base::Primary::new(metadata, extents, &map, replication, entropy, now);
            self.machine = Machine::BasePrimary(Box::new(primary));
            return Ok(());
        }
        self.machine = Machine::Primary(Box::new(Primary::new(primary::Start {
            metadata,
            extents,
            sectorsize: 512,
            map: &map,
            replication,
            timeout: TIMEOUT,
            entropy,
            now,
        })));
        Ok(())
    }

    pub(crate) fn become_secondary(&mut self, now: Millis) -> Result<(), String> {
        self.end();
        // A gate that a killed primary left behind goes with the role.
        self.direct_reads = false;
        self.failed_write = false;
        let (metadata, extents, map) = self.open()?;
        if self.is_base {
            let secondary = base::Secondary::new(metadata, map, now);
            self.machine = Machine::BaseSecondary(Box::new(secondary));
            return Ok(());
        }
        self.machine = Machine::Secondary(Box::new(Secondary::new(secondary::Start {
            metadata,
            extents,
            sectorsize: 512,
            map: &map,
            on_impossible: OnImpossible::Stop,
            now,
        })));
        Ok(())
    }

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
        event: impl FnOnce(&mut Primary, &mut [Vec<u8>], &mut Vec<primary::Action>) -> T,
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
        event: impl FnOnce(&mut Secondary, &mut [Vec<u8>], &mut Vec<secondary::Action>) -> T,
    ) -> Option<T> {
        let Machine::Secondary(secondary) = &mut self.machine else {
            return None;
        };
        let mut out = Vec::new();
        let result = event(secondary, &mut self.buffers, &mut out);
        self.queue_secondary(out);
        Some(result)
    }

    /// What it says of the pair, if it is primary.
    pub(crate) fn standing(&self) -> Option<Standing> {
        match &self.machine {
            Machine::Primary(primary) => Some(Standing {
                connected: primary.is_connected(),
                behind: primary.behind(),
                peer_is_current: primary.peer_is_current(),
            }),
            Machine::BasePrimary(primary) => Some(Standing {
                connected: primary.is_connected(),
                behind: primary.behind(),
                peer_is_current: false,
            }),
            _ => None,
        }
    }

    /// As a secondary, it is connected.
    pub(crate) fn follows(&self) -> bool {
        match &self.machine {
            Machine::Secondary(secondary) => secondary.is_connected(),
            Machine::BaseSecondary(secondary) => secondary.is_connected(),
            _ => false,
        }
    }

    /// The extensions it knows, if a primary that connects finds it.
    pub(crate) fn listens(&self) -> Option<Extensions> {
        match &self.machine {
            Machine::Secondary(_) if !self.has_stopped => Some(secondary::EXTENSIONS),
            Machine::BaseSecondary(_) => Some(Extensions::NONE),
            _ => None,
        }
    }

    /// The first of what a node of base has to send, and where to.
    pub(crate) fn base_post(&mut self) -> Option<(base::Post, Way)> {
        match &mut self.machine {
            Machine::BasePrimary(primary) => Some((primary.posts.pop_front()?, Way::ToSecondary)),
            Machine::BaseSecondary(secondary) => {
                Some((secondary.posts.pop_front()?, Way::ToPrimary))
            }
            _ => None,
        }
    }

    /// Puts what a node of base came up with where it belongs.
    pub(crate) fn queue_base(&mut self) {
        let has_work = match &mut self.machine {
            Machine::BasePrimary(primary) => {
                self.direct_reads |= primary.direct_reads && !self.is_file;
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

    pub(crate) fn tick(&mut self, now: Millis) {
        match &mut self.machine {
            Machine::BasePrimary(primary) => primary.tick(now, &mut self.disk),
            Machine::BaseSecondary(secondary) => secondary.tick(now),
            _ => {}
        }
        self.primary(|primary, out| primary.tick(now, out));
        self.secondary(|secondary, out| secondary.tick(now, out));
    }

    /// Puts a primary's actions where they belong.
    fn queue_primary(&mut self, actions: Vec<primary::Action>) {
        use primary::Action as A;
        for action in actions {
            match action {
                A::Local { id, op } => self.queue_local(id, op),
                A::Complete { id, tag, result } => {
                    let data = self.buffers[id.index()].clone();
                    self.todo.push(Todo::Complete(data, tag, result));
                }
                A::StoreMap => self.todo.push(Todo::StoreMap),
                A::StoreMetadata => self.todo.push(Todo::StoreMetadata),
                A::DirectReads(on) => self.todo.push(Todo::DirectReads(on)),
                A::Stopped => self.has_stopped = true,
                A::Release(_) | A::Notify(_) => {}
                A::Disconnect(ended, _) => {
                    // What is still to be sent is of requests that have ended.
                    self.posts.retain(|post| !post.is_sent_on(ended));
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
                A::Discard(discard) => self.discard = Some(discard),
                A::Release(_) | A::Notify(_) => {}
                A::Answer(..) | A::Reply(..) | A::Close(_) => {
                    self.posts.push_back(Post::Secondary(action));
                }
            }
        }
    }

    /// (c): overlapping writes of the component are never outstanding
    /// together.
    fn queue_local(&mut self, id: RequestId, op: Op) {
        let length = op.range().map_or(0, |range| to_usize(range.length()));
        self.buffers[id.index()].resize(length, 0);
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
                self.todo.push(Todo::LocalDone(id, op, result));
            }
            Todo::LocalDone(id, _, result) => {
                self.primary(|primary, out| primary.local_done(id, result, out));
                self.secondary(|secondary, out| secondary.local_done(id, result, out));
            }
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
                let stored = written.is_ok() && self.flushed(happens) && !fails;
                self.primary(|primary, out| primary.map_stored(stored, out));
            }
            Todo::StoreMetadata => self.store_metadata(),
            Todo::MetadataWritten(written) => {
                let stored = written.is_ok() && self.flushed(happens) && !fails;
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
                let filled = written && self.flushed(true) && !fails;
                self.secondary(|secondary, out| secondary.map_filled(filled, out));
            }
            Todo::DirectReads(on) => {
                let ok = failed.is_none() && !(on && self.is_file);
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

    fn flushed(&mut self, happens: bool) -> bool {
        happens && self.disk.flush().is_ok()
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

    fn local(&mut self, id: RequestId, op: Op) -> Result<(), Errno> {
        let buffer = &mut self.buffers[id.index()];
        match op {
            Op::Read(range) => {
                self.disk.read(at(range.offset()), buffer);
                Ok(())
            }
            Op::Write(range) => self.disk.write(at(range.offset()), buffer),
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
                let buffer = &self.buffers[id.index()];
                self.disk.tear(at(range.offset()), buffer, rng);
            }
            _ if happens => self.local(id, op)?,
            _ => {}
        }
        Err(Errno::EIO)
    }

    /// All data as a read of it would find it.
    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = vec![0; DATA_SECTORS * SECTOR];
        self.disk.read(DATA, &mut data);
        data
    }

    /// The value of each sector.
    pub(crate) fn values(&self) -> Vec<u64> {
        self.data().chunks(SECTOR).map(value).collect()
    }

    /// Every value each sector may have after a power cut.
    pub(crate) fn possible_values(&self) -> Vec<Vec<u64>> {
        let versions = |sector| self.disk.versions(DATA / SECTOR + sector).iter();
        let values = |sector| versions(sector).map(|version| value(version)).collect();
        (0..DATA_SECTORS).map(values).collect()
    }

    /// Nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        let idle = match &self.machine {
            Machine::Primary(primary) => primary.in_flight() == 0,
            Machine::Secondary(secondary) => secondary.in_flight() == 0,
            Machine::BasePrimary(primary) => primary.is_idle(),
            Machine::BaseSecondary(secondary) => secondary.is_idle(),
            Machine::Off => true,
        };
        idle && self.todo.is_empty() && self.posts.is_empty()
    }
}

fn at(offset: u64) -> usize {
    DATA + to_usize(offset)
}

/// What a sector holds: the key of a write, or 0.
pub(crate) fn value(sector: &[u8]) -> u64 {
    u64::from_le_bytes(sector[..8].try_into().expect("8 bytes"))
}

pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("64-bit machines only")
}

const _: () = assert!(BLOCK == BLOCK_LENGTH as u64, "both are the block");

//! A node: a disk, and a machine of hast-core with what its shell has still
//! to do. The shell does it in any order that design 6.2 (a) to (d) allow.

use crate::disk::{Disk, SECTOR};
use crate::rng::Rng;
use hast_core::decision::OnImpossible;
use hast_core::errno::Errno;
use hast_core::extent::Extents;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, CreateOptions, Metadata, Provider};
use hast_core::primary::{self, Millis, Op, Primary, Replication};
use hast_core::secondary::{self, Secondary};
use hast_core::slab::RequestId;
use std::collections::VecDeque;

pub(crate) const DATA_SECTORS: usize = 64;
const EXTENT: u32 = 2048;
const MAP: usize = SECTOR;
const META: usize = BLOCK_LENGTH;
pub(crate) const DATA: usize = META + MAP;
const MEDIA: usize = DATA + DATA_SECTORS * SECTOR;
/// Milliseconds of silence after which a peer is given up.
const TIMEOUT: u64 = 20_000;

fn provider() -> Provider {
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
}

/// What the shell has still to do.
#[derive(Clone, Debug)]
pub(crate) enum Todo {
    Local(RequestId, Op),
    LocalDone(RequestId, Result<(), Errno>),
    StoreMap,
    MapWritten,
    StoreMetadata,
    MetadataWritten,
    ClearMap,
    FillMap,
    DirectReads(bool),
    /// With the buffer, since the place it was in is free already.
    Complete(Vec<u8>, u64, Result<(), Errno>),
}

/// What it has to send, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    Primary(primary::Action),
    Secondary(secondary::Action),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    pub(crate) todo: Vec<Todo>,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) powered: bool,
}

impl Node {
    pub(crate) fn new() -> Self {
        let options = CreateOptions {
            extentsize: Some(EXTENT.into()),
            keepdirty: Some(2),
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("shared", provider(), options).expect("it fits");
        let mut block = [0; BLOCK_LENGTH];
        metadata.encode(&mut block).expect("it fits");
        let mut disk = Disk::new(MEDIA);
        disk.write(0, &block);
        disk.flush();
        Self {
            disk,
            machine: Machine::Off,
            todo: Vec::new(),
            posts: VecDeque::new(),
            buffers: vec![Vec::new(); 1024],
            powered: true,
        }
    }

    /// The process ends; the disk keeps what it was given.
    pub(crate) fn stop(&mut self) {
        self.machine = Machine::Off;
        self.todo.clear();
        self.posts.clear();
    }

    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        self.stop();
        self.powered = false;
        self.disk.power_cut(rng);
    }

    fn open(&mut self) -> Result<(Metadata, Extents, Vec<u8>), String> {
        self.disk.flush();
        let mut block = [0; BLOCK_LENGTH];
        self.disk.read(0, &mut block);
        let metadata = Metadata::decode(&block).map_err(|e| e.to_string())?;
        let extents = metadata.validate(provider()).map_err(|e| e.to_string())?;
        let mut map = vec![0; MAP];
        self.disk.read(META, &mut map);
        Ok((metadata, extents, map))
    }

    pub(crate) fn become_primary(
        &mut self,
        replication: Replication,
        entropy: u64,
        now: Millis,
    ) -> Result<(), String> {
        self.stop();
        let (metadata, extents, map) = self.open()?;
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
        self.stop();
        let (metadata, extents, map) = self.open()?;
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

    /// Puts a primary's actions where they belong.
    pub(crate) fn queue_primary(&mut self, actions: Vec<primary::Action>) {
        use primary::Action as A;
        for action in actions {
            match action {
                A::Local { id, op } => {
                    let length = op.range().map_or(0, |range| to_usize(range.length()));
                    self.buffers[id.index()].resize(length, 0);
                    self.todo.push(Todo::Local(id, op));
                }
                A::Complete { id, tag, result } => {
                    let data = self.buffers[id.index()].clone();
                    self.todo.push(Todo::Complete(data, tag, result));
                }
                A::StoreMap => self.todo.push(Todo::StoreMap),
                A::StoreMetadata => self.todo.push(Todo::StoreMetadata),
                A::DirectReads(on) => self.todo.push(Todo::DirectReads(on)),
                A::Release(_) | A::Notify(_) | A::Stopped => {}
                A::Send { .. } | A::Connect(_) | A::Hello(..) | A::Disconnect(..) => {
                    self.posts.push_back(Post::Primary(action));
                }
            }
        }
    }

    pub(crate) fn queue_secondary(&mut self, actions: Vec<secondary::Action>) {
        use secondary::Action as A;
        for action in actions {
            match action {
                A::Local { id, op } => {
                    let length = op.range().map_or(0, |range| to_usize(range.length()));
                    self.buffers[id.index()].resize(length, 0);
                    self.todo.push(Todo::Local(id, op));
                }
                A::StoreMetadata => self.todo.push(Todo::StoreMetadata),
                A::ClearMap => self.todo.push(Todo::ClearMap),
                A::FillMap => self.todo.push(Todo::FillMap),
                A::Release(_) | A::Discard(_) | A::Notify(_) | A::Stopped => {}
                A::Answer(..) | A::Reply(..) | A::Close(_) => {
                    self.posts.push_back(Post::Secondary(action));
                }
            }
        }
    }

    /// Carries out what touches the disk. With `fail` it ends in an error,
    /// and a write may or may not have happened.
    pub(crate) fn perform(&mut self, todo: &Todo, fail: bool, rng: &mut Rng) {
        let result = if fail { Err(Errno::EIO) } else { Ok(()) };
        let happens = !fail || rng.one_in(2);
        match *todo {
            Todo::Local(id, op) => {
                self.local(id, op, happens);
                self.todo.push(Todo::LocalDone(id, result));
            }
            Todo::LocalDone(id, result) => match &mut self.machine {
                Machine::Primary(primary) => {
                    let mut out = Vec::new();
                    primary.local_done(id, result, &mut out);
                    self.queue_primary(out);
                }
                Machine::Secondary(secondary) => {
                    let mut out = Vec::new();
                    secondary.local_done(id, result, &mut out);
                    self.queue_secondary(out);
                }
                Machine::Off => {}
            },
            Todo::StoreMap => {
                if let Machine::Primary(primary) = &mut self.machine {
                    let disk = &mut self.disk;
                    primary.begin_map_store(|sectors| {
                        disk.write(to_usize(sectors.offset), sectors.bytes);
                    });
                    self.todo.push(Todo::MapWritten);
                }
            }
            Todo::MapWritten => {
                if happens {
                    self.disk.flush();
                }
                if let Machine::Primary(primary) = &mut self.machine {
                    let mut out = Vec::new();
                    primary.map_stored(!fail, &mut out);
                    self.queue_primary(out);
                }
            }
            Todo::StoreMetadata => {
                let mut block = [0; BLOCK_LENGTH];
                let begun = match &mut self.machine {
                    Machine::Primary(primary) => primary.begin_metadata_store(&mut block),
                    Machine::Secondary(secondary) => secondary.begin_metadata_store(&mut block),
                    Machine::Off => return,
                };
                begun.expect("the name is short");
                // Only the first sector ever changes.
                self.disk.write(0, &block[..SECTOR]);
                self.todo.push(Todo::MetadataWritten);
            }
            Todo::MetadataWritten => {
                if happens {
                    self.disk.flush();
                }
                self.metadata_written(!fail);
            }
            Todo::ClearMap => {
                if happens {
                    self.disk.write(to_usize(BLOCK), &[0; MAP]);
                }
                if let Machine::Secondary(secondary) = &mut self.machine {
                    let mut out = Vec::new();
                    secondary.map_cleared(!fail, &mut out);
                    self.queue_secondary(out);
                }
            }
            Todo::FillMap => {
                if happens {
                    self.disk.write(to_usize(BLOCK), &[0xff; MAP]);
                    self.disk.flush();
                }
                if let Machine::Secondary(secondary) = &mut self.machine {
                    let mut out = Vec::new();
                    secondary.map_filled(!fail, &mut out);
                    self.queue_secondary(out);
                }
            }
            Todo::DirectReads(on) => {
                if let Machine::Primary(primary) = &mut self.machine {
                    let mut out = Vec::new();
                    primary.direct_reads_set(on, !fail, &mut out);
                    self.queue_primary(out);
                }
            }
            Todo::Complete(..) => unreachable!("the client is told by the world"),
        }
    }

    fn metadata_written(&mut self, stored: bool) {
        match &mut self.machine {
            Machine::Primary(primary) => {
                let mut out = Vec::new();
                primary.metadata_stored(stored, &mut out);
                self.queue_primary(out);
            }
            Machine::Secondary(secondary) => {
                let mut out = Vec::new();
                secondary.metadata_stored(stored, &mut out);
                self.queue_secondary(out);
            }
            Machine::Off => {}
        }
    }

    fn local(&mut self, id: RequestId, op: Op, happens: bool) {
        let buffer = &mut self.buffers[id.index()];
        let at = |offset: u64| DATA + to_usize(offset);
        match op {
            _ if !happens => {}
            Op::Read(range) => self.disk.read(at(range.offset()), buffer),
            Op::Write(range) => self.disk.write(at(range.offset()), buffer),
            Op::Delete(range) => {
                let zeros = vec![0; to_usize(range.length())];
                self.disk.write(at(range.offset()), &zeros);
            }
            Op::Flush => self.disk.flush(),
        }
    }

    /// All data as a read of it would find it.
    pub(crate) fn data(&self) -> Vec<u8> {
        let mut data = vec![0; DATA_SECTORS * SECTOR];
        self.disk.read(DATA, &mut data);
        data
    }
}

pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("64-bit machines only")
}

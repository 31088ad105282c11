//! A node: a disk, the kernel's gate, and a machine of hast-core or of base with
//! what its shell has still to do.

use crate::base;
use crate::buffers::Buffers;
use crate::disk::{Disk, SECTOR};
use crate::net::{Listener, Way};
use crate::rng::Rng;
use crate::shell::{Post, Todo};
use hast_core::decision::OnImpossible;
use hast_core::extent::Extents;
use hast_core::message::Extensions;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, Consistency, CreateOptions, Metadata, Provider};
use hast_core::primary::{self, Behind, Millis, Primary, Replication};
use hast_core::secondary::{self, Secondary};
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

/// What a node is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    /// It runs FreeBSD's hastd.
    pub(crate) is_base: bool,
    /// The component is a file, from which the kernel serves no reads.
    pub(crate) is_file: bool,
    /// It has no volatile cache, and says so when it is to flush it.
    pub(crate) writes_through: bool,
    /// Longest request it takes, if that is shorter than any.
    pub(crate) longest: Option<u32>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    pub(crate) todo: Vec<Todo>,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) buffers: Buffers,
    pub(crate) powered: bool,
    /// The kernel serves reads from the disk.
    pub(crate) direct_reads: bool,
    pub(crate) make: Make,
    /// The machine has said that it has stopped.
    pub(crate) has_stopped: bool,
    /// A write failed here since it became secondary.
    pub(crate) failed_write: bool,
    /// A rule of design 6.2 was broken.
    pub(crate) broken_rule: Option<String>,
}

impl Node {
    pub(crate) fn new(make: Make) -> Self {
        let options = CreateOptions {
            extentsize: Some(EXTENT.into()),
            keepdirty: Some(2),
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("shared", provider(), options).expect("it fits");
        let mut block = [0; BLOCK_LENGTH];
        metadata.encode(&mut block).expect("it fits");
        let mut disk = Disk::new(MEDIA, make.writes_through);
        let written = disk.write(0, &block).and(disk.write(META, &[0; MAP]));
        written.and(disk.sync()).expect("the disk is fine");
        Self {
            disk,
            machine: Machine::Off,
            todo: Vec::new(),
            posts: VecDeque::new(),
            buffers: Buffers::new(),
            powered: true,
            direct_reads: false,
            make,
            has_stopped: false,
            failed_write: false,
            broken_rule: None,
        }
    }

    /// The process is gone; the disk keeps what it was given.
    pub(crate) fn end(&mut self) {
        self.machine = Machine::Off;
        self.todo.clear();
        self.posts.clear();
        self.buffers.release_all();
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
        self.disk.reopen();
        self.disk.sync().map_err(|e| e.to_string())?;
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
        takes_over: bool,
        replication: Replication,
        entropy: u64,
        now: Millis,
    ) -> Result<(), String> {
        self.end();
        let (metadata, extents, map) = self.open()?;
        if self.make.is_base {
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
            // From one request at a time to as many as there may be.
            copying: 512 << (entropy % 8),
            takes_over,
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
        if self.make.is_base {
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

    /// What a primary that connects finds.
    pub(crate) fn listens(&self) -> Option<Listener> {
        let extensions = match &self.machine {
            Machine::Secondary(_) if !self.has_stopped => secondary::EXTENSIONS,
            Machine::BaseSecondary(_) => Extensions::NONE,
            _ => return None,
        };
        Some(Listener {
            extensions,
            longest: self.make.longest,
        })
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

    pub(crate) fn tick(&mut self, now: Millis) {
        match &mut self.machine {
            Machine::BasePrimary(primary) => primary.tick(now, &mut self.disk),
            Machine::BaseSecondary(secondary) => secondary.tick(now),
            _ => {}
        }
        self.primary(|primary, out| primary.tick(now, out));
        self.secondary(|secondary, out| secondary.tick(now, out));
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

/// What a sector holds: the key of a write, or 0.
pub(crate) fn value(sector: &[u8]) -> u64 {
    u64::from_le_bytes(sector[..8].try_into().expect("8 bytes"))
}

pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("64-bit machines only")
}

const _: () = assert!(BLOCK == BLOCK_LENGTH as u64, "both are the block");

//! The clients of the provider: overlapping reads, writes, deletes and
//! flushes, and what they may be answered.

use crate::disk::SECTOR;
use crate::node::{DATA, DATA_SECTORS, Machine, to_usize, value};
use crate::shell::Todo;
use crate::world::World;
use hast_core::errno::Errno;
use hast_core::primary::Op;
use hast_core::units::ByteRange;

/// Requests under way at a time.
const MOST_REQUESTS: usize = 8;
/// Sectors of the longest request: more than an extent.
const LONGEST: usize = 6;
/// Sectors that half of the requests begin in.
const HOT: usize = 12;
/// Steps, about, that clients are busy for, and that they rest for.
const PHASE: usize = 200;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientOp {
    pub(crate) op: Op,
    /// Its number, and the value it writes.
    pub(crate) key: u64,
    pub(crate) began: u64,
}

impl ClientOp {
    /// What its sectors hold once it is carried out.
    pub(crate) const fn value(self) -> u64 {
        match self.op {
            Op::Write(_) => self.key,
            _ => 0,
        }
    }

    /// What is in the request's buffer.
    fn data(self) -> Vec<u8> {
        let mut data = vec![0; sectors(self.op).len() * SECTOR];
        if matches!(self.op, Op::Write(_)) {
            for sector in data.chunks_mut(SECTOR) {
                sector[..8].copy_from_slice(&self.key.to_le_bytes());
            }
        }
        data
    }
}

impl World {
    pub(crate) fn client(&mut self) -> Result<(), String> {
        let full = self.ops.len() >= MOST_REQUESTS;
        if self.serving.is_none() || self.draining || self.resting || full {
            return Ok(());
        }
        let hot = self.rng.one_in(2);
        let first = self.rng.below(if hot { HOT } else { DATA_SECTORS });
        let count = 1 + self.rng.below(LONGEST.min(DATA_SECTORS - first));
        let bytes = |n: usize| u64::try_from(n * SECTOR).expect("small");
        let range = ByteRange::new(bytes(first), bytes(count)).ok_or("no range")?;
        let op = match self.rng.below(10) {
            0..=4 => Op::Write(range),
            5 => Op::Delete(range),
            6 | 7 => Op::Flush,
            _ => Op::Read(range),
        };
        let key = self.next_key;
        self.next_key += 1;
        let began = self.history.now();
        let op = ClientOp { op, key, began };
        if op.op.modifies() {
            for sector in sectors(op.op) {
                self.history.write_began(sector, key, op.value());
            }
        }
        self.say(|| format!("client: {key} {}", describe(op.op)));
        self.ops.insert(key, op);
        self.submit(op)
    }

    /// Clients that read all the time, as long as the kernel serves them
    /// without asking anybody. And whether clients are busy.
    pub(crate) fn kernel(&mut self) -> Result<(), String> {
        if self.rng.one_in(PHASE) {
            self.resting = !self.resting && self.rng.one_in(2);
        }
        let Some(node) = self.serving.map(|n| &self.nodes[n]) else {
            return Ok(());
        };
        if !node.direct_reads {
            return Ok(());
        }
        let sector = self.rng.below(DATA_SECTORS);
        let mut data = [0; SECTOR];
        node.disk.read(DATA + sector * SECTOR, &mut data);
        let began = self.history.now();
        self.check_value(sector, value(&data), began)
            .map_err(|error| format!("read by the kernel: {error}"))
    }

    /// Hands a request to the primary, for the first time or to a successor.
    pub(crate) fn submit(&mut self, op: ClientOp) -> Result<(), String> {
        let node = self.serving.map(|n| &mut self.nodes[n]);
        let node = node.ok_or("nobody serves")?;
        let data = op.data();
        if let Machine::BasePrimary(primary) = &mut node.machine {
            primary.request(op.key, op.op, data, &mut node.disk);
            return Ok(());
        }
        let taken = node.primary_with_data(|primary, buffers, out| {
            let id = primary.request(op.key, op.op, out).map_err(|_| "full")?;
            buffers.hold(id, op.op.range().map(ByteRange::offset), data);
            Ok(())
        });
        taken.ok_or("who serves is no primary")?
    }

    pub(crate) fn completed(
        &mut self,
        data: &[u8],
        key: u64,
        result: Result<(), Errno>,
    ) -> Result<(), String> {
        let Some(op) = self.ops.remove(&key) else {
            return self.answered_before(key);
        };
        self.say(|| match result {
            Ok(()) => format!("client: {key} done"),
            Err(error) => format!("client: {key} failed: {error}"),
        });
        match op.op {
            Op::Read(_) if result.is_ok() => {
                for (sector, data) in sectors(op.op).zip(data.chunks(SECTOR)) {
                    self.check_value(sector, value(data), op.began)?;
                }
            }
            Op::Write(_) | Op::Delete(_) => {
                if let (Some(rival), Some(serving)) = (&mut self.rival, self.serving) {
                    rival.wrote[serving] |= result.is_ok();
                }
                for sector in sectors(op.op) {
                    self.history.write_ended(sector, key, result.is_ok());
                }
            }
            Op::Flush => return self.flush_ended(op, result),
            Op::Read(_) => {}
        }
        Ok(())
    }

    fn flush_ended(&mut self, op: ClientOp, result: Result<(), Errno>) -> Result<(), String> {
        match (result, self.flush_must_fail) {
            (Ok(()), Some(since)) if op.began > since => {
                Err("a flush does not tell that what was answered is gone".into())
            }
            (Ok(()), _) => {
                self.history.flushed(op.began);
                Ok(())
            }
            (Err(_), _) => {
                self.flush_must_fail = None;
                self.history.flush_failed();
                Ok(())
            }
        }
    }

    /// Requests of a history that was given up are nobody's any more.
    fn answered_before(&self, key: u64) -> Result<(), String> {
        if key < self.forgotten {
            return Ok(());
        }
        Err(format!("request {key} is answered twice"))
    }

    /// Whether a read that began at `began` may find this.
    pub(crate) fn check_value(&self, sector: usize, value: u64, began: u64) -> Result<(), String> {
        if self.history.may_read(sector, value, began) {
            return Ok(());
        }
        let history = self.history.describe(sector);
        Err(format!(
            "sector {sector} reads as {value}; writes: {history}"
        ))
    }

    /// The answers that a shell has are given, whatever becomes of it.
    pub(crate) fn deliver_answers(&mut self, node: usize) -> Result<(), String> {
        self.deliver(node, |_| true)
    }

    /// A FLUSH that failed is answered before one that succeeds: no client
    /// could tell what the latter covers.
    pub(crate) fn deliver_failures(&mut self, node: usize) -> Result<(), String> {
        self.deliver(node, |result| result.is_err())
    }

    fn deliver(
        &mut self,
        node: usize,
        which: impl Fn(Result<(), Errno>) -> bool,
    ) -> Result<(), String> {
        let complete = |todo: &Todo| matches!(todo, Todo::Complete(.., end) if which(*end));
        while let Some(at) = self.nodes[node].todo.iter().position(&complete) {
            if let Todo::Complete(data, key, result) = self.nodes[node].todo.swap_remove(at) {
                self.completed(&data, key, result)?;
            }
        }
        Ok(())
    }
}

/// The sectors an operation is about.
pub(crate) fn sectors(op: Op) -> std::ops::Range<usize> {
    op.range().map_or(0..0, |range| {
        to_usize(range.offset()) / SECTOR..to_usize(range.end()) / SECTOR
    })
}

/// An operation in the words of the trace.
pub(crate) fn describe(op: Op) -> String {
    let what = match op {
        Op::Read(_) => "read",
        Op::Write(_) => "write",
        Op::Delete(_) => "delete",
        Op::Flush => return "flush".into(),
    };
    let sectors = sectors(op);
    format!("{what} {}..{}", sectors.start, sectors.end)
}

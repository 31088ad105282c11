//! Base's synchronisation: one chunk at a time, and an extent is done whether
//! it was copied or not.

use super::carry_out;
use super::primary::{Primary, SYNC, at};
use super::write_metadata;
use crate::disk::Disk;
use hast_core::errno::Errno;
use hast_core::primary::Op;
use hast_core::role::SyncSource;
use hast_core::units::{ByteRange, ExtentIndex};

/// A chunk on its way from one component to the other.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) extent: ExtentIndex,
    pub(super) range: ByteRange,
    pub(super) reading: bool,
    pub(super) data: Vec<u8>,
}

impl Primary {
    /// The synchronisation thread: the next chunk, if the last one is done.
    pub(super) fn copy(&mut self, disk: &mut Disk) {
        if !self.connected || self.chunk.is_some() || self.source.is_none() {
            return;
        }
        let Some(extent) = self.sync.next(ExtentIndex(0)) else {
            return self.in_sync(disk);
        };
        let range = self.extents.range(extent);
        let busy = self.slots.iter().any(|(key, slot)| {
            let write = matches!(slot.op, Op::Write(_)) && !self.waiting.contains(key);
            write && slot.op.range().is_some_and(|r| r.overlaps(range))
        });
        if busy {
            return;
        }
        self.copied = true;
        self.chunk = Some(Chunk {
            extent,
            range,
            reading: true,
            data: Vec::new(),
        });
        match self.source {
            Some(SyncSource::Secondary) => self.ask(SYNC, Op::Read(range), false, &[]),
            _ => self.local.push_back(SYNC),
        }
    }

    pub(super) fn chunk_locally(&mut self, fails: bool, disk: &mut Disk) {
        let Some(chunk) = &mut self.chunk else { return };
        let op = if chunk.reading {
            Op::Read(chunk.range)
        } else {
            Op::Write(chunk.range)
        };
        let mut data = std::mem::take(&mut chunk.data);
        let failed = fails || carry_out(op, &mut data, disk).is_err();
        if failed || !chunk.reading {
            return self.chunk_ends(disk);
        }
        chunk.reading = false;
        let range = chunk.range;
        self.ask(SYNC, Op::Write(range), false, &data);
    }

    pub(super) fn chunk_remotely(
        &mut self,
        result: Result<(), Errno>,
        data: Vec<u8>,
        disk: &mut Disk,
    ) {
        let Some(chunk) = &mut self.chunk else { return };
        if result.is_err() || !chunk.reading {
            return self.chunk_ends(disk);
        }
        chunk.reading = false;
        chunk.data = data;
        self.local.push_back(SYNC);
    }

    /// Done, whether it was copied or failed (K5).
    fn chunk_ends(&mut self, disk: &mut Disk) {
        let Some(chunk) = self.chunk.take() else {
            return;
        };
        self.sync.remove(chunk.extent);
        let pending = &mut self.pending[at(chunk.extent)];
        *pending = pending.saturating_sub(1);
        self.flush_map(disk);
        self.release_writes(disk);
        self.copy(disk);
    }

    fn in_sync(&mut self, disk: &mut Disk) {
        let was = self.source.take();
        let Some(peer) = self.peer.filter(|_| self.copied || was.is_some()) else {
            return;
        };
        self.metadata.counters.local = peer.counters.remote;
        self.metadata.counters.remote = peer.counters.local;
        write_metadata(&self.metadata, disk);
        self.direct_reads |= was == Some(SyncSource::Secondary);
    }
}

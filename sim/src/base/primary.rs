//! Base's primary: one thread per component, one chunk of synchronisation at a
//! time.

use super::sync::Chunk;
use super::{Post, carry_out, write_map, write_metadata};
use crate::disk::Disk;
use crate::node::{MAP, TIMEOUT};
use crate::send::{encode_request, step2, wire};
use hast_core::bitmap::Bitmap;
use hast_core::errno::Errno;
use hast_core::extent::Extents;
use hast_core::keepdirty::KeepDirty;
use hast_core::message::{Node, Reply, Request};
use hast_core::metadata::Metadata;
use hast_core::primary::{Behind, Hello, Millis, Op, Replication};
use hast_core::role::SyncSource;
use hast_core::units::{ByteRange, ExtentIndex, ResUid, Seq};
use std::collections::{BTreeMap, VecDeque};

/// Milliseconds between attempts to connect, and between KEEPALIVEs.
const INTERVAL: u64 = 10_000;

/// The number of every request that synchronises. No client's request has it
/// here, or replies would be taken for each other's (K18).
pub(super) const SYNC: u64 = 1;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) op: Op,
    data: Vec<u8>,
    local: Option<Result<(), Errno>>,
    remote: Option<Result<(), Errno>>,
    acknowledged: bool,
    /// The client has its answer.
    reported: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(crate) struct Primary {
    pub(super) metadata: Metadata,
    pub(super) extents: Extents,
    mode: Replication,
    /// Reasons of an extent to be dirty.
    pub(super) pending: Vec<u16>,
    pub(super) sync: Bitmap,
    keepdirty: KeepDirty,
    pub(super) slots: BTreeMap<u64, Slot>,
    /// Writes that overlap the chunk being copied.
    pub(super) waiting: VecDeque<u64>,
    pub(super) local: VecDeque<u64>,
    /// Requests without a reply.
    asked: Vec<u64>,
    pub(super) chunk: Option<Chunk>,
    pub(super) connected: bool,
    connecting: bool,
    pub(super) source: Option<SyncSource>,
    pub(super) copied: bool,
    /// The peer's remote counter, as of the last handshake of this worker.
    peer_remote: u64,
    pub(super) peer: Option<Node>,
    next_attempt: Millis,
    sent: Millis,
    heard: Millis,
    now: Millis,
    entropy: u64,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) answers: Vec<(Vec<u8>, u64, Result<(), Errno>)>,
    pub(crate) direct_reads: bool,
}

impl Primary {
    pub(crate) fn new(
        metadata: Metadata,
        extents: Extents,
        map: &[u8],
        mode: Replication,
        entropy: u64,
        now: Millis,
    ) -> Self {
        let sync = Bitmap::from_map(extents.count(), map);
        let all = (0..extents.count()).map(ExtentIndex);
        Self {
            pending: all.map(|e| u16::from(sync.contains(e))).collect(),
            keepdirty: KeepDirty::new(extents.count(), metadata.keepdirty),
            metadata,
            extents,
            mode,
            sync,
            slots: BTreeMap::new(),
            waiting: VecDeque::new(),
            local: VecDeque::new(),
            asked: Vec::new(),
            chunk: None,
            connected: false,
            connecting: false,
            source: None,
            copied: false,
            peer_remote: 0,
            peer: None,
            next_attempt: now,
            sent: now,
            heard: now,
            now,
            entropy,
            posts: VecDeque::new(),
            answers: Vec::new(),
            direct_reads: false,
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// What status and dirty together claim.
    pub(crate) fn behind(&self) -> Behind {
        let busy = !self.sync.is_empty() || self.chunk.is_some() || self.source.is_some();
        match self.source {
            _ if !busy => Behind::Neither,
            Some(SyncSource::Secondary) => Behind::Local,
            _ => Behind::Peer,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.posts.is_empty() && self.chunk.is_none()
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.local.is_empty()
    }

    pub(crate) fn tick(&mut self, now: Millis, disk: &mut Disk) {
        self.now = now;
        let since = |then: Millis| now.0.saturating_sub(then.0);
        if self.connected {
            if !self.asked.is_empty() && since(self.heard) >= TIMEOUT {
                self.posts.push_back(Post::HangUp);
                self.peer_down(disk);
            } else if since(self.sent) >= INTERVAL {
                self.say(&Request::Keepalive { seq: None }, None);
            }
        } else if now >= self.next_attempt {
            self.next_attempt = Millis(now.0 + INTERVAL);
            self.connect(disk);
        }
    }

    fn connect(&mut self, disk: &mut Disk) {
        let virgin = self.metadata.resuid.is_none();
        if virgin {
            self.metadata.resuid = ResUid::new(self.entropy | 1);
            write_metadata(&self.metadata, disk);
        }
        let Some(resuid) = self.metadata.resuid else {
            return;
        };
        let hello = Hello {
            virgin,
            resuid,
            counters: self.metadata.counters,
            generation: None,
            consistency: hast_core::metadata::Consistency::Consistent,
            dirty: 0,
        };
        self.connecting = true;
        self.posts.push_back(Post::Connect(step2(&hello)));
    }

    /// The answer to step 2.
    pub(crate) fn peer_up(
        &mut self,
        node: Node,
        source: SyncSource,
        map: Option<&Bitmap>,
        disk: &mut Disk,
    ) {
        if !std::mem::take(&mut self.connecting) {
            return;
        }
        self.peer_remote = node.counters.remote;
        self.peer = Some(node);
        self.source = Some(source);
        if node.virgin && self.metadata.counters.local == 0 {
            self.metadata.counters.local = 1;
            write_metadata(&self.metadata, disk);
        }
        for extent in map.into_iter().flat_map(Bitmap::iter) {
            if self.sync.insert(extent) {
                // Assigned, not added: a write under way is forgotten.
                self.pending[at(extent)] = 1;
            }
        }
        self.flush_map(disk);
        self.connected = true;
        self.copied = false;
        self.sent = self.now;
        self.heard = self.now;
        self.direct_reads |= source == SyncSource::Primary;
        self.copy(disk);
    }

    /// What waited for a reply is finished, and not marked (K1).
    pub(crate) fn peer_down(&mut self, disk: &mut Disk) {
        self.connecting = false;
        if !std::mem::take(&mut self.connected) {
            return;
        }
        self.posts.retain(|post| matches!(post, Post::HangUp));
        for key in std::mem::take(&mut self.asked) {
            self.remote_done(key, Err(Errno::ENOTCONN), disk);
        }
        self.chunk = None;
        self.release_writes(disk);
    }

    pub(crate) fn request(&mut self, key: u64, op: Op, data: Vec<u8>, disk: &mut Disk) {
        self.slots.insert(
            key,
            Slot {
                op,
                data,
                local: None,
                remote: None,
                acknowledged: false,
                reported: false,
            },
        );
        match op {
            Op::Write(_) => {
                self.waiting.push_back(key);
                self.release_writes(disk);
            }
            Op::Read(_) if self.source == Some(SyncSource::Secondary) => {
                self.finish_local(key, Err(Errno::EINVAL), disk);
                self.ask_peer(key, disk);
            }
            Op::Read(_) => self.local.push_back(key),
            Op::Delete(_) | Op::Flush => {
                self.local.push_back(key);
                self.ask_peer(key, disk);
            }
        }
    }

    pub(super) fn release_writes(&mut self, disk: &mut Disk) {
        let chunk = self.chunk.as_ref().map(|chunk| chunk.range);
        let waiting = std::mem::take(&mut self.waiting);
        for key in waiting {
            let range = self.slots.get(&key).and_then(|slot| slot.op.range());
            let overlaps = chunk.zip(range).is_some_and(|(a, b)| a.overlaps(b));
            if overlaps {
                self.waiting.push_back(key);
            } else if let Some(range) = range {
                self.write_begins(range, disk);
                self.local.push_back(key);
                self.ask_peer(key, disk);
            }
        }
    }

    fn write_begins(&mut self, range: ByteRange, disk: &mut Disk) {
        if self.metadata.resuid.is_none() && self.metadata.counters.local == 0 {
            self.metadata.counters.local = 1;
        }
        let mut flush = false;
        for extent in self.extents.touched(range) {
            self.pending[at(extent)] += 1;
            flush |= !self.keepdirty.contains(extent);
            self.keepdirty.touch(extent);
        }
        if flush {
            self.flush_map(disk);
        }
    }

    pub(super) fn flush_map(&self, disk: &mut Disk) {
        let mut image = Bitmap::new(self.extents.count());
        for extent in (0..self.extents.count()).map(ExtentIndex) {
            if self.pending[at(extent)] > 0 || self.keepdirty.contains(extent) {
                image.insert(extent);
            }
        }
        let mut map = vec![0; MAP];
        image.write_map(0, &mut map);
        write_map(&map, disk);
        let _ = disk.sync();
    }

    fn ask_peer(&mut self, key: u64, disk: &mut Disk) {
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        let (op, data) = (slot.op, slot.data.clone());
        if !self.connected {
            if let Op::Write(range) = op {
                self.must_sync(range, disk);
            }
            return self.remote_done(key, Err(Errno::ENOTCONN), disk);
        }
        self.ask(key, op, self.mode == Replication::Memsync, &data);
    }

    fn must_sync(&mut self, range: ByteRange, disk: &mut Disk) {
        let mut flush = false;
        for extent in self.extents.touched(range) {
            if self.sync.insert(extent) {
                self.pending[at(extent)] += 1;
                flush = true;
            }
        }
        if flush {
            self.flush_map(disk);
        }
    }

    pub(super) fn ask(&mut self, key: u64, op: Op, memsync: bool, data: &[u8]) {
        let Some(seq) = Seq::new(key) else { return };
        if self.asked.is_empty() {
            self.heard = self.now;
        }
        self.asked.push(key);
        match op {
            Op::Read(range) => self.say(&Request::Read { seq, range }, None),
            Op::Delete(range) => self.say(&Request::Delete { seq, range }, None),
            Op::Flush => self.say(&Request::Flush { seq }, None),
            Op::Write(range) => {
                let (payload, bytes) = wire(data);
                let request = Request::Write {
                    seq,
                    range,
                    memsync,
                    payload,
                };
                self.say(&request, Some(bytes));
            }
        }
    }

    fn say(&mut self, request: &Request, data: Option<Vec<u8>>) {
        let mut bytes = encode_request(request);
        bytes.extend(data.unwrap_or_default());
        self.sent = self.now;
        self.posts.push_back(Post::Bytes(bytes));
    }

    /// The local thread takes the next request.
    pub(crate) fn work(&mut self, fails: bool, disk: &mut Disk) {
        let Some(key) = self.local.pop_front() else {
            return;
        };
        if key == SYNC {
            return self.chunk_locally(fails, disk);
        }
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        let (op, mut data) = (slot.op, std::mem::take(&mut slot.data));
        let result = if fails {
            Err(Errno::EIO)
        } else {
            carry_out(op, &mut data, disk)
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.data = data;
        }
        self.finish_local(key, result, disk);
        if result.is_err() && matches!(op, Op::Read(_)) {
            self.ask_peer(key, disk);
        }
    }

    fn finish_local(&mut self, key: u64, result: Result<(), Errno>, disk: &mut Disk) {
        let mode = self.mode;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.local = Some(result);
            // A read that worked needs nobody else.
            if matches!(slot.op, Op::Read(_)) && result.is_ok() {
                slot.remote = Some(Err(Errno::ENOTCONN));
            }
            // The remote part was accounted first, and the local error is not
            // looked at (K3).
            let write = matches!(slot.op, Op::Write(_));
            let remote = slot.acknowledged || slot.remote.is_some();
            let enough = match mode {
                Replication::Fullsync => false,
                Replication::Memsync => remote,
                Replication::Async => result.is_ok(),
            };
            if write && enough {
                self.report(key, Ok(()), disk);
            }
        }
        self.finish(key, disk);
    }

    fn remote_done(&mut self, key: u64, result: Result<(), Errno>, disk: &mut Disk) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.remote = Some(result);
            let memsync = self.mode == Replication::Memsync && matches!(slot.op, Op::Write(_));
            if memsync && slot.local.is_some_and(|local| local.is_ok()) {
                self.report(key, Ok(()), disk);
            }
        }
        self.finish(key, disk);
    }

    /// Both have finished: success if one of them had it.
    fn finish(&mut self, key: u64, disk: &mut Disk) {
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        let (Some(local), Some(remote)) = (slot.local, slot.remote) else {
            return;
        };
        let result = local
            .or(remote)
            .map_err(|_| local.err().unwrap_or(Errno::EIO));
        if let (Op::Write(range), Ok(())) = (slot.op, result) {
            let mut flush = false;
            for extent in self.extents.touched(range) {
                let pending = &mut self.pending[at(extent)];
                *pending = pending.saturating_sub(1);
                flush |= *pending == 0 && !self.keepdirty.contains(extent);
            }
            if flush {
                self.flush_map(disk);
            }
        }
        self.report(key, result, disk);
        self.slots.remove(&key);
        self.copy(disk);
    }

    fn report(&mut self, key: u64, result: Result<(), Errno>, disk: &mut Disk) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut slot.reported, true) {
            return;
        }
        let data = slot.data.clone();
        let write = matches!(slot.op, Op::Write(_));
        // Only if it equals what is known of the peer, which is 0 in a worker
        // that never connected (K7), and not flushed (K10).
        if write && !self.connected && self.metadata.counters.local == self.peer_remote {
            self.metadata.counters.local += 1;
            write_metadata(&self.metadata, disk);
        }
        self.answers.push((data, key, result));
    }

    /// Bytes of data that a reply answers with.
    pub(crate) fn length(&self, reply: &Reply) -> Option<usize> {
        let key = reply.seq?.get();
        let range = match &self.chunk {
            Some(chunk) if key == SYNC => Some(chunk.range),
            _ => self.slots.get(&key)?.op.range(),
        };
        range.map(|range| crate::node::to_usize(range.length()))
    }

    /// A reply, with its data.
    pub(crate) fn reply(&mut self, reply: &Reply, data: Vec<u8>, disk: &mut Disk) {
        self.heard = self.now;
        let Some(key) = reply.seq.map(Seq::get) else {
            return;
        };
        if reply.received && reply.error.is_none() {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.acknowledged = true;
                if slot.local.is_some_and(|local| local.is_ok()) {
                    self.report(key, Ok(()), disk);
                }
            }
            return;
        }
        let Some(at) = self.asked.iter().position(|asked| *asked == key) else {
            return;
        };
        self.asked.remove(at);
        let result = reply.error.map_or(Ok(()), Err);
        if key == SYNC {
            return self.chunk_remotely(result, data, disk);
        }
        if let (Some(slot), true) = (self.slots.get_mut(&key), reply.payload.is_some()) {
            slot.data = data;
        }
        self.remote_done(key, result, disk);
    }
}

pub(super) fn at(extent: ExtentIndex) -> usize {
    crate::node::to_usize(extent.0)
}

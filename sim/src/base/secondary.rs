//! Base's secondary: one disk thread, in the order of arrival.

use super::{Post, carry_out, write_map, write_metadata};
use crate::disk::Disk;
use crate::node::MAP;
use crate::rng::Rng;
use crate::send::{accepted, encode_reply, refusal, wire};
use hast_core::decision::{self, Action, Decision, MapSent, OnImpossible, decide};
use hast_core::errno::Errno;
use hast_core::message::{BASE_LONGEST, Node, Reply, Request, Step2Request};
use hast_core::metadata::{Consistency, Metadata};
use hast_core::primary::{Millis, Op};
use hast_core::units::Seq;
use std::collections::VecDeque;

/// Milliseconds of silence after which the worker exits.
const SILENCE: u64 = 20_000;

#[derive(Debug)]
pub(crate) struct Secondary {
    metadata: Metadata,
    map: Vec<u8>,
    cleared: bool,
    connected: bool,
    queue: VecDeque<(Seq, Op, Vec<u8>)>,
    pub(crate) posts: VecDeque<Post>,
    heard: Millis,
    now: Millis,
}

impl Secondary {
    pub(crate) fn new(metadata: Metadata, map: Vec<u8>, now: Millis) -> Self {
        Self {
            metadata,
            map,
            cleared: false,
            connected: false,
            queue: VecDeque::new(),
            posts: VecDeque::new(),
            heard: now,
            now,
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.connected
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.posts.is_empty()
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn tick(&mut self, now: Millis) {
        self.now = now;
        if self.connected && now.0 - self.heard.0 >= SILENCE {
            self.exit();
            self.posts.push_back(Post::HangUp);
        }
    }

    /// The worker exits, and what waits in its queues is lost.
    pub(crate) fn exit(&mut self) {
        self.connected = false;
        self.queue.clear();
        self.posts.clear();
    }

    /// Step 2: a new worker, whatever the last one was doing.
    pub(crate) fn hello(&mut self, step2: &Step2Request<'_>, disk: &mut Disk) {
        self.exit();
        self.heard = self.now;
        self.cleared = false;
        let mut map = vec![0; MAP];
        disk.read(crate::node::META, &mut map);
        self.map = map;
        let Decision { rule, action } = self.decide(step2);
        let virgin = self.metadata.resuid.is_none();
        if virgin {
            self.metadata.resuid = Some(step2.resuid);
            write_metadata(&self.metadata, disk);
        }
        let node = Node {
            virgin,
            ..self.node()
        };
        let answer = match action {
            Action::Refuse => refusal(rule, node),
            Action::Sync { source, map, .. } => {
                let map = match map {
                    MapSent::None => Vec::new(),
                    MapSent::Own => self.map.clone(),
                    MapSent::Full => vec![0xff; MAP],
                };
                self.connected = true;
                accepted(node, source, &map)
            }
        };
        self.posts.push_back(Post::Bytes(answer));
    }

    fn decide(&self, step2: &Step2Request<'_>) -> Decision {
        let primary = decision::Primary {
            virgin: step2.virgin,
            resuid: step2.resuid,
            counters: step2.counters,
            generation: None,
            consistency: Consistency::Consistent,
        };
        let own = decision::Secondary {
            resuid: self.metadata.resuid,
            counters: self.metadata.counters,
            generation: None,
            consistency: Consistency::Consistent,
            discard: false,
        };
        decide(&primary, &own, OnImpossible::Base)
    }

    fn node(&self) -> Node {
        Node {
            datasize: self.metadata.datasize,
            extentsize: self.metadata.extentsize,
            counters: self.metadata.counters,
            virgin: false,
            generation: None,
            consistency: Consistency::Consistent,
            longest: BASE_LONGEST,
            dirty: None,
        }
    }

    /// A request with its data. What is ours in it is ignored.
    pub(crate) fn request(&mut self, request: &Request, data: Vec<u8>) {
        self.heard = self.now;
        let (seq, op) = match *request {
            Request::Keepalive { .. } | Request::State { .. } => return,
            Request::Read { seq, range } => (seq, Op::Read(range)),
            Request::Delete { seq, range } => (seq, Op::Delete(range)),
            Request::Flush { seq } => (seq, Op::Flush),
            Request::Write {
                seq,
                range,
                memsync,
                ..
            } => {
                if memsync {
                    self.reply(&Reply::received(seq), None);
                }
                (seq, Op::Write(range))
            }
        };
        self.queue.push_back((seq, op, data));
    }

    /// The disk thread takes the next request.
    pub(crate) fn work(&mut self, fails: bool, disk: &mut Disk) {
        let Some((seq, op, mut data)) = self.queue.pop_front() else {
            return;
        };
        if !self.cleared {
            write_map(&[0; MAP], disk);
            self.cleared = true;
        }
        let result = if fails {
            Err(Errno::EIO)
        } else {
            carry_out(op, &mut data, disk)
        };
        match (result, op) {
            (Err(error), _) => self.reply(&Reply::failed(seq, error), None),
            (Ok(()), Op::Read(_)) => {
                let (header, bytes) = wire(&data);
                self.reply(&Reply::data(seq, header), Some(bytes));
            }
            (Ok(()), _) => self.reply(&Reply::done(seq), None),
        }
    }

    fn reply(&mut self, reply: &Reply, data: Option<Vec<u8>>) {
        let mut bytes = encode_reply(reply);
        bytes.extend(data.unwrap_or_default());
        self.posts.push_back(Post::Bytes(bytes));
    }

    /// The link has ended, in the middle of this WRITE's data or not. Base
    /// takes what it has for all of it, and the disk thread may be faster than
    /// the exit (K8).
    pub(crate) fn link_ended(
        &mut self,
        torn: Option<(Op, Vec<u8>)>,
        disk: &mut Disk,
        rng: &mut Rng,
    ) {
        if let Some((op, mut data)) = torn
            && self.connected
            && rng.one_in(2)
        {
            let _ = carry_out(op, &mut data, disk);
        }
        self.exit();
    }
}

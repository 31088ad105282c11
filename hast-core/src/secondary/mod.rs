//! The secondary: carries out what a primary sends.
//! Facts: spec/hast-behaviour.md section 8; spec/hast-wire.md sections 4, 6
//! and 8; spec/hast-disk.md section 5.7.
//!
//! A pure machine like [`primary`](crate::primary).
//!
//! **Invariants:**
//!
//! Behind each the test that breaks without it.
//!
//! 1. Nothing of an earlier link is carried out after a later handshake was
//!    answered: writes that are wholly in memory are waited for, since the
//!    primary may have answered them (memsync), and the rest is dropped
//!    (`a_handshake_is_answered_when_nothing_of_the_last_link_runs`,
//!    `a_write_in_memory_outlives_the_link`).
//! 2. A write reaches the component only when all of its data is there
//!    (`a_write_without_all_its_data_is_forgotten`, K8).
//! 3. Overlapping requests are carried out in the order they came, and a
//!    FLUSH after everything that came before it
//!    (`a_flush_waits_for_what_came_before_and_for_nothing_else`; the order of
//!    [`rangelock`](crate::rangelock): `the_order_of_arrival_decides`).
//! 4. What the handshake and [`Request::State`](crate::message::Request::State) say was stored is on stable
//!    storage when it is said (`a_state_is_confirmed_when_it_is_stored`,
//!    `a_secondary_that_cannot_store_the_id_does_not_answer`).
//! 5. The map of an earlier life as primary is cleared only when a request
//!    has come: by then the primary has stored what it was sent. A map of ones
//!    that is promised is the own one first, so that a lost answer does not
//!    turn a full copy into a partial one
//!    (`the_map_is_cleared_with_the_first_request_and_again_if_that_fails`,
//!    `a_full_copy_is_promised_until_it_was_taken_up`).
//! 6. What was given up ([`Secondary::discard`]) is never served or copied from
//!    again, whatever interrupts the copying that makes up for it
//!    (`data_that_was_given_up_is_made_up_for_and_never_wins`).
//! 7. A flush that failed is told to the primary, whichever flush the system
//!    told of it (`a_flush_beside_or_after_one_that_failed_unheard_fails_too`,
//!    `a_store_during_which_a_flush_failed_has_failed`).

mod handshake;
mod report;
mod request;

pub use handshake::{Discard, Hello};
pub use report::{Failure, Report, State, Trouble};
pub use request::Taken;

use crate::bitmap::Bitmap;
use crate::decision::{MapSent, OnImpossible, Rule};
use crate::errno::Errno;
use crate::extent::Extents;
use crate::message::{Extensions, LONGEST_DATA, Limits, Node};
use crate::metadata::{BLOCK_LENGTH, Metadata, MetadataError};
use crate::metastore::{MetadataStore, Revision};
use crate::primary::{Millis, Notice, Op};
use crate::rangelock::{LockId, RangeLocks};
use crate::role::{Role, SyncSource};
use crate::slab::{RequestId, Slab};
use crate::units::{ByteRange, Seq};
use alloc::vec::Vec;
use report::Watch;
use request::Job;

/// Requests at a time, and one more than the greatest [`RequestId::index`].
/// When so many are there the shell stops reading, and TCP tells the primary.
pub const REQUESTS: u32 = 512;

/// Extensions a secondary of ours agrees to.
pub const EXTENSIONS: Extensions = Extensions::KEEPALIVE_REPLY
    .or(Extensions::STATE)
    .or(Extensions::RAISE);

/// Milliseconds after which a silent primary is given up: twice its
/// KEEPALIVE interval. spec/hast-wire.md section 9.
const SILENCE: u64 = 20_000;

/// One life of the link to a primary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Session(u64);

/// What the secondary starts with.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The metadata block, as read.
    pub metadata: Metadata,
    /// What [`Metadata::validate`] made of it.
    pub extents: Extents,
    /// Bytes of the component's sectors.
    pub sectorsize: u32,
    /// The map, as read after the component was flushed.
    pub map: &'a [u8],
    /// What to do where the counters are impossible.
    pub on_impossible: OnImpossible,
    /// The time.
    pub now: Millis,
}

/// The answer to step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Connected.
    Accepted {
        /// What to say of this node.
        node: Node,
        /// Whose data is copied.
        source: SyncSource,
        /// Which map to send: for [`MapSent::Own`] it is
        /// [`Secondary::map`].
        map: MapSent,
    },
    /// Refused; the text is made by [`errmsg`](crate::decision::errmsg).
    Refused(Node),
}

/// The result of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The data of a memsync WRITE is in memory.
    Received,
    /// Carried out.
    Done,
    /// Carried out; the request's buffer has the data of this range, which
    /// is to be sent before [`Secondary::sent`].
    Data(RequestId, ByteRange),
    /// Failed.
    Failed(Errno),
}

/// What the shell is to do. Any order, but for what goes to the primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Do this on the component, then report [`Secondary::local_done`]; a
    /// flush that fails before any other one ends, as
    /// [`primary`](crate::primary::Action::Local)'s.
    Local {
        /// The request, which names the buffer.
        id: RequestId,
        /// What.
        op: Op,
    },
    /// Answer step 2, because of this rule.
    Answer(Session, Rule, Answer),
    /// Send a reply.
    Reply(Session, Seq, Outcome),
    /// The request's buffer is no longer needed.
    Release(RequestId),
    /// Write zeros over the map, then report [`Secondary::map_cleared`].
    ClearMap,
    /// Write the map of ones, [`MapSent::Full`], over the map, flush, then
    /// report [`Secondary::map_filled`].
    FillMap,
    /// What became of [`Secondary::discard`].
    Discard(Discard),
    /// Tell the world.
    Notify(Notice),
    /// Write the block that [`Secondary::begin_metadata_store`] fills, flush,
    /// then report [`Secondary::metadata_stored`].
    StoreMetadata,
    /// Close both connections.
    Close(Session),
    /// What [`Secondary::stop`] began is done.
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Idle,
    /// A primary waits for the answer, until nothing of the last one runs.
    Greeting,
    /// The map of ones is being stored, before anything says that it was
    /// promised.
    Filling,
    /// What the answer says is being stored.
    Adopting(Rule, Answer),
    Connected,
    /// For what is in memory.
    Stopping,
    Stopped,
}

/// The machine.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub struct Secondary {
    metadata: MetadataStore,
    extents: Extents,
    limits: Limits,
    on_impossible: OnImpossible,
    map: Bitmap,
    /// The map is being overwritten.
    map_store: bool,
    /// What is on the disk is `map`.
    map_is_stored: bool,
    /// A flush failed while the map was being overwritten.
    map_doubted: bool,
    /// A store failed, and with it perhaps what the primary sent.
    flush_must_fail: bool,
    /// Requests taken since a FLUSH failed, while the primary may not have heard
    /// of that. If the link ends before it must have, the next is told again.
    untold: Option<u32>,
    session: Session,
    stage: Stage,
    /// What the last primary said.
    primary: Option<Hello>,
    /// The last handshake found a split-brain.
    split_brain: bool,
    /// What the operator waits for.
    discarding: Option<Revision>,
    slots: Slab<Job>,
    locks: RangeLocks,
    granted: Vec<LockId>,
    marked: Vec<RequestId>,
    /// Requests that have come.
    order: u64,
    /// FLUSHes that wait for what came before them.
    flushes_waiting: u32,
    watch: Watch,
    now: Millis,
    heard: Millis,
}

impl Secondary {
    /// A secondary without a primary.
    #[must_use]
    pub fn new(start: Start<'_>) -> Self {
        let count = start.extents.count();
        let metadata = Metadata {
            prevrole: Role::Secondary,
            ..start.metadata
        };
        Self {
            metadata: MetadataStore::new(metadata),
            limits: Limits {
                datasize: start.extents.datasize(),
                sectorsize: start.sectorsize,
                longest: LONGEST_DATA,
            },
            extents: start.extents,
            on_impossible: start.on_impossible,
            map: Bitmap::from_map(count, start.map),
            map_store: false,
            map_is_stored: true,
            map_doubted: false,
            flush_must_fail: false,
            untold: None,
            session: Session::default(),
            stage: Stage::Idle,
            primary: None,
            split_brain: false,
            discarding: None,
            slots: Slab::new(REQUESTS),
            locks: RangeLocks::new(crate::index(REQUESTS.into())),
            granted: Vec::new(),
            marked: Vec::new(),
            order: 0,
            flushes_waiting: 0,
            watch: Watch::new(State::Waiting, start.now),
            now: start.now,
            heard: start.now,
        }
    }

    /// The link is gone.
    pub fn peer_down(&mut self, session: Session, out: &mut Vec<Action>) {
        if session == self.session && !self.is_stopping() {
            self.end_link(Trouble::Lost, out);
        }
    }

    /// Ends this life as secondary: what is in memory is carried out, and when
    /// that is done [`Action::Stopped`] says so, once. Only then may the node
    /// become primary. The shell brings no primary any more.
    pub fn stop(&mut self, out: &mut Vec<Action>) {
        if self.is_stopping() {
            return;
        }
        if self.stage != Stage::Idle {
            out.push(Action::Close(self.session));
        }
        self.drop_what_waits(out);
        self.stage = Stage::Stopping;
        self.pump_stop(out);
    }

    fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Stopping | Stage::Stopped)
    }

    fn pump_stop(&mut self, out: &mut Vec<Action>) {
        let idle = self.slots.len() == 0 && !self.map_store && self.metadata.is_idle();
        if self.stage == Stage::Stopping && idle {
            self.stage = Stage::Stopped;
            out.push(Action::Stopped);
        }
    }

    fn end_link(&mut self, why: Trouble, out: &mut Vec<Action>) {
        if core::mem::replace(&mut self.stage, Stage::Idle) == Stage::Connected {
            self.watch.set(State::Waiting, self.now);
            self.note(why);
            out.push(Action::Notify(Notice::Disconnected));
        }
        self.drop_what_waits(out);
    }

    /// Time goes by: to be called about once a second.
    pub fn tick(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.now = now;
        let silent = now.0.saturating_sub(self.heard.0) >= SILENCE;
        if silent && self.stage == Stage::Connected {
            out.push(Action::Close(self.session));
            self.end_link(Trouble::Silent, out);
        }
        if self.stage != Stage::Stopped {
            self.metadata.retry();
            self.ask_for_stores(out);
        }
    }

    /// A store of the metadata begins: fills the block, with the state of
    /// this moment.
    ///
    /// # Panics
    /// Unless [`Action::StoreMetadata`] asked for it.
    pub fn begin_metadata_store(
        &mut self,
        block: &mut [u8; BLOCK_LENGTH],
    ) -> Result<(), MetadataError> {
        self.metadata.begin(block)
    }

    /// It is on stable storage, or failed.
    pub fn metadata_stored(&mut self, stored: bool, out: &mut Vec<Action>) {
        let stored = self.metadata.done(stored);
        if !stored {
            self.note(Trouble::Metadata);
            self.store_failed();
            self.fail_handshake(out);
        }
        self.discard_stored(stored, out);
        self.states_stored(stored, out);
        self.accept(out);
        self.greet(out);
        self.pump_stop(out);
    }

    /// The primary learns of what the store was told instead of a FLUSH.
    fn store_failed(&mut self) {
        self.cache_failed();
        self.flush_must_fail = true;
    }

    /// The map was overwritten with zeros, or that failed and is tried again
    /// with the next request.
    pub fn map_cleared(&mut self, cleared: bool, out: &mut Vec<Action>) {
        self.map_store = false;
        self.map_doubted = false;
        if cleared {
            self.map.clear();
            self.map_is_stored = true;
        } else {
            self.note(Trouble::Map);
        }
        self.greet(out);
        self.pump_stop(out);
    }

    /// What was dirty when this node was primary.
    #[must_use]
    pub const fn map(&self) -> &Bitmap {
        &self.map
    }

    /// The map to send, as bytes.
    pub fn write_map(&self, which: MapSent, bytes: &mut Vec<u8>) {
        bytes.clear();
        let size = self.extents.map_size(self.limits.sectorsize);
        match which {
            MapSent::None => {}
            MapSent::Full => bytes.resize(crate::index(size), 0xff),
            MapSent::Own => {
                bytes.resize(crate::index(size), 0);
                self.map.write_map(0, bytes);
            }
        }
    }

    /// What the metadata says now, stored or not.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        self.metadata.get()
    }

    /// Whether a primary is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stage == Stage::Connected
    }

    /// Requests that are not finished.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    fn ask_for_stores(&mut self, out: &mut Vec<Action>) {
        if self.metadata.ask() {
            out.push(Action::StoreMetadata);
        }
    }
}

#[cfg(test)]
mod tests;

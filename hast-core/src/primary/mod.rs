//! The primary: serves the provider's requests from two components.
//! Facts: spec/hast-behaviour.md sections 3 to 7; design sections 1 and 6.1.
//!
//! A pure machine: methods are the events, actions are appended to the
//! caller's buffer.
//!
//! | module | what |
//! |---|---|
//! | [`action`] | what the shell is asked to do |
//! | `request` | a request from the provider to its answer |
//! | `flush` | a FLUSH, a client's or our own |
//! | `cache` | a flush that failed |
//! | `standing` | which component is behind, and where that is written down |
//! | `link` | handshake, loss of the peer |
//! | `peer` | requests to the peer, its replies |
//! | `sync` | copying, and what makes a pair "in sync" |
//! | `stores` | the map and the metadata on their way to the disk |
//! | `direct` | reads that the kernel serves without asking |
//! | `pace` | how fast is copied |
//! | `report` | what people and programs are told |
//! | `stop` | the end of this life as primary |
//!
//! **Invariants**, and what breaks without each: a test of this module, or a
//! bug of base that the simulator finds when it is re-introduced.
//!
//! 1. A write is handed to a component, or sent, only when its extents' bits
//!    are on stable storage; if they cannot be, it fails
//!    (`a_write_waits_for_its_dirty_bit`,
//!    `a_write_whose_dirty_bit_cannot_be_stored_fails`).
//! 2. A request that one component has missed is answered with success only
//!    after stable storage says which component that is: the own counters if
//!    it is the peer's, the own consistency flag or the peer's counters if it
//!    is the local one (`a_write_alone_waits_for_the_counters`,
//!    `a_component_that_cannot_say_that_it_is_behind_is_given_away_by_the_peer`,
//!    K4, K10). FLUSH, too: what the peer had not flushed when it went, it may
//!    have lost (`a_flush_alone_waits_for_the_counters`), and what was answered
//!    early one of them may lack
//!    (`a_flush_waits_until_it_is_known_who_lacks_what_was_answered_early`).
//! 3. At most one component is behind. A request that the other one misses,
//!    too, fails, in every mode (`a_write_that_failed_on_both_fails_in_every_mode`,
//!    K3).
//! 4. Whatever may differ is in the map until it was copied and both have
//!    confirmed a later flush, DELETE included
//!    (`what_the_peer_did_not_answer_is_copied`,
//!    `an_older_flush_does_not_end_a_synchronisation`, K1, K5, K13). After a
//!    flush that failed, copied means written to both: what can be read may be
//!    in the cache alone (`what_a_flush_failed_for_is_written_to_both_again`,
//!    `a_worker_that_starts_behind_writes_what_it_copies_to_the_peer_too`).
//! 5. A component that is behind is never read where it may differ, by the
//!    kernel neither, and never copied from
//!    (`after_a_local_error_the_peer_is_read`,
//!    `a_stale_copy_is_not_read_by_the_kernel_either`, K4, K15).
//! 6. While the peer lacks something, nothing later reaches it unless its disk
//!    says that it is not of one state
//!    (`a_peer_that_lacks_something_changes_only_after_it_has_said_so`, K12).
//! 7. The counters rise whenever this node begins to write alone, whatever they
//!    were, and become equal only after everything is, with nothing missed
//!    meanwhile (`what_the_peer_misses_at_the_very_end_opens_it_again`,
//!    `a_flush_that_fails_at_the_very_end_opens_it_again`, K7). The peer
//!    stores nothing that the own disk has not
//!    (`the_peer_is_told_nothing_that_is_not_on_the_own_disk`).
//! 8. What only a lost peer had is not answered with success, and what was, the
//!    next FLUSH tells of (`a_write_that_only_a_lost_peer_had_fails`,
//!    `what_only_a_lost_peer_had_is_told_of_by_the_next_flush`). The same after
//!    a flush that failed, which a system tells of once
//!    (`after_a_flush_that_failed_none_succeeds_before_that_is_written_down`,
//!    `a_flush_beside_one_that_failed_has_failed_too`,
//!    `what_only_the_local_component_has_is_not_overwritten_because_a_flush_failed`,
//!    `a_worker_that_takes_over_behind_its_peer_fails_one_flush`).
//! 9. Every request is answered once. Without a peer, nothing waits for one,
//!    and a stop ends (`a_silent_peer_is_given_up`,
//!    `a_stop_ends_whatever_fails`).

pub mod action;
mod cache;
mod direct;
mod flush;
mod link;
mod pace;
mod peer;
mod report;
mod request;
mod standing;
mod stop;
mod stores;
mod sync;

pub use action::{Action, Hello, Notice, Op, Outgoing, Session, Why};
pub use pace::Progress;
pub use peer::Follows;
pub use report::{Failure, Report, State, Trouble};
pub use request::Full;
pub use standing::Behind;

use crate::activemap::ActiveMap;
pub use crate::decision::Refusal;
use crate::extent::Extents;
use crate::metadata::{Consistency, Metadata};
use crate::outstanding::Outstanding;
use crate::rangelock::{LockId, RangeLocks};
use crate::role::Role;
use crate::slab::{RequestId, Slab};
use alloc::vec::Vec;
use direct::Direct;
use link::Link;
use pace::Pace;
use peer::Target;
use report::Watch;
use request::Slot;
use standing::Standing;
use stop::Stop;
use stores::Stores;
use sync::Sync;

/// Requests of clients at a time: base's number, and enough for any queue
/// depth GEOM produces.
pub const CLIENT_REQUESTS: u32 = 256;

/// Requests that copy at a time: 8 MiB with the 128 KiB that base takes.
pub const COPIES: u32 = 64;

/// Flushes of our own at a time: one for the map, one that ends a
/// synchronisation.
const OWN_FLUSHES: u32 = 2;

/// Requests there can be, which is one more than the greatest
/// [`RequestId::index`].
pub const REQUESTS: u32 = CLIENT_REQUESTS + COPIES + OWN_FLUSHES;

/// Longest request of a client, in bytes: what FreeBSD's GEOM issues by
/// default on 64-bit machines. The shell splits longer ones.
pub const LONGEST_REQUEST: u32 = 1 << 20;

/// Milliseconds since some moment before the worker started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Millis(pub u64);

/// When a write is answered. spec/hast-behaviour.md section 5.4.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Replication {
    /// When both components have it.
    Fullsync,
    /// When the local component has it and the peer's memory.
    #[default]
    Memsync,
    /// When the local component has it.
    Async,
}

/// What a primary starts with.
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
    /// When writes are answered.
    pub replication: Replication,
    /// Give up a peer that is silent for so long, in milliseconds.
    pub timeout: u64,
    /// Bytes that may be copied at a time; one request always may.
    pub copying: u64,
    /// Whether clients of a worker that ended without a word go on with this
    /// one.
    pub takes_over: bool,
    /// Random bits, from which ids are drawn.
    pub entropy: u64,
    /// The time.
    pub now: Millis,
}

/// The machine.
#[derive(Debug)]
pub struct Primary {
    replication: Replication,
    timeout: u64,
    copying: u64,
    extents: Extents,
    sectorsize: u32,
    now: Millis,
    map: ActiveMap,
    stores: Stores,
    locks: RangeLocks,
    granted: Vec<LockId>,
    slots: Slab<Slot>,
    outstanding: Outstanding<Target>,
    link: Link,
    standing: Standing,
    direct: Direct,
    sync: Sync,
    pace: Pace,
    watch: Watch,
    stop: Stop,
    /// Requests the peer did not answer when it went.
    drained: Vec<Target>,
    /// Requests of the moment, for the loops that change them.
    marked: Vec<RequestId>,
    /// Clients' requests in the slab.
    clients: u32,
    /// Writes that were answered although the peer has not confirmed them.
    answered_early: u32,
}

impl Primary {
    /// A primary without a peer; the first [`Primary::tick`] looks for one.
    #[must_use]
    pub fn new(start: Start<'_>) -> Self {
        let extents = start.extents;
        let metadata = Metadata {
            prevrole: Role::Primary,
            ..start.metadata
        };
        let keepdirty = metadata.keepdirty;
        let pieces = peer::most_pieces(LONGEST_REQUEST);
        let mut primary = Self {
            replication: start.replication,
            timeout: start.timeout,
            copying: start.copying,
            extents,
            sectorsize: start.sectorsize,
            now: start.now,
            map: ActiveMap::load(extents, start.sectorsize, keepdirty, start.map),
            standing: Standing::new(metadata.consistency, start.takes_over, start.entropy),
            stores: Stores::new(metadata),
            locks: RangeLocks::new(crate::index(REQUESTS.into())),
            granted: Vec::new(),
            slots: Slab::new(REQUESTS),
            outstanding: Outstanding::new(REQUESTS * pieces),
            link: Link::new(start.now),
            direct: Direct::default(),
            sync: Sync::default(),
            pace: Pace::default(),
            watch: Watch::new(State::Waiting, start.now),
            stop: Stop::default(),
            drained: Vec::new(),
            marked: Vec::new(),
            clients: 0,
            answered_early: 0,
        };
        if primary.standing.behind == Behind::Local {
            // Whether the peer, which is copied from, ever failed to flush it,
            // was forgotten with the last worker.
            primary.map.doubt_all();
        }
        if primary.metadata().discard {
            // Whoever serves its data does not give it up.
            primary.stores.metadata.change(|m| m.discard = false);
        }
        primary
    }

    /// The configuration has changed. Requests keep the mode they began with;
    /// so does nothing else, whatever becomes of the link (K29).
    pub fn reconfigure(&mut self, replication: Replication, timeout: u64, out: &mut Vec<Action>) {
        self.replication = replication;
        self.timeout = timeout;
        self.pump(out);
    }

    /// Time goes by: to be called once or twice a second.
    pub fn tick(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.now = now;
        self.tick_link(out);
        self.tick_sync();
        self.tick_map(out);
        self.pump(out);
    }

    /// What the metadata says now, stored or not.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        self.stores.metadata.get()
    }

    /// Which component is behind.
    #[must_use]
    pub const fn behind(&self) -> Behind {
        self.standing.behind
    }

    /// Whether requests go to the peer.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.link.is_up()
    }

    /// Whether the peer, promoted now, would have everything that was
    /// flushed: what `complete` means to the operator of a failover.
    #[must_use]
    pub fn peer_is_current(&self) -> bool {
        self.standing.peer_is_current
    }

    /// Bytes being written or to be synchronised: `dirty` of hastctl.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.map.dirty_bytes()
    }

    /// Requests that are not finished, our own included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// What every event ends with: what can go on goes on.
    fn pump(&mut self, out: &mut Vec<Action>) {
        self.pump_sync(out);
        self.pump_direct(out);
        self.ask_for_stores(out);
        self.pump_stop(out);
        self.watch();
    }

    fn is_inconsistent(&self) -> bool {
        self.metadata().consistency == Consistency::Inconsistent
    }
}

#[cfg(test)]
mod tests;

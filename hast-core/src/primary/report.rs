//! What people and programs are told: how the pair is, why and since when,
//! what happens next, and how much was done.
//! Facts: spec/hast-behaviour.md section 5.7; design section 6.3.

use super::pace::Progress;
use super::request::{Kind, Stage};
use super::{Behind, CLIENT_REQUESTS, Millis, Op, Primary, Refusal, Why};
use crate::errno::Errno;
use crate::message::Statistics;
use crate::watch;

/// How the pair is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Both components are the same, but for requests in flight.
    Complete,
    /// The peer is copied to.
    SyncToPeer,
    /// The peer is copied from.
    SyncFromPeer,
    /// There is no peer; it is looked for.
    Waiting,
    /// The same, and only the peer has everything: what may be old is not
    /// read, and nothing is written.
    Stale,
    /// The peer will not talk to this node; it is asked again.
    Refused(Refusal),
    /// [`Primary::stop`] was called.
    Stopping,
}

/// What went wrong, and in which step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The local component failed this.
    Local(Op, Errno),
    /// The peer failed this.
    Peer(Op, Errno),
    /// The peer could not store what its data is.
    PeerState(Errno),
    /// The map could not be stored.
    Map,
    /// The metadata could not be stored.
    Metadata,
    /// The kernel did not change who serves reads.
    DirectReads,
    /// No connection, or step 1 failed.
    Connect,
    /// The link was lost before the nodes had agreed.
    Handshake,
    /// The link was lost.
    Lost,
    /// The link was given up.
    Disconnected(Why),
    /// The peer refused.
    Refused(Refusal),
}

/// The last thing that went wrong.
pub type Failure = watch::Failure<Trouble>;

pub(super) type Watch = watch::Watch<State, Trouble>;

/// Everything there is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// How the pair is.
    pub state: State,
    /// Since when.
    pub since: Millis,
    /// Which component lacks something.
    pub behind: Behind,
    /// Whether the peer, promoted now, would have everything that was
    /// flushed.
    pub peer_is_current: bool,
    /// When the peer is looked for again, or what could not be copied is
    /// copied again; none if it is under way.
    pub next_attempt: Option<Millis>,
    /// How far copying has come, while there is something to copy.
    pub progress: Option<Progress>,
    /// Bytes that are being written or are to be synchronised.
    pub dirty: u64,
    /// Bytes the peer has changed alone, as far as it has said.
    pub peer_dirty: Option<u64>,
    /// The last thing that went wrong.
    pub failure: Option<Failure>,
}

impl Primary {
    /// How the pair is, and why.
    #[must_use]
    pub fn report(&self) -> Report {
        let left = self.left_to_copy();
        Report {
            state: self.state(),
            since: self.watch.since(),
            behind: self.standing.behind,
            peer_is_current: self.standing.peer_is_current,
            next_attempt: self.next_attempt(),
            progress: (left > 0).then(|| self.pace.progress(left)),
            dirty: self.dirty_bytes(),
            peer_dirty: self.link.peer_dirty,
            failure: self.watch.failure(),
        }
    }

    /// What was counted since this worker started, and how many requests are
    /// where: `local` are with the component, `send` wait for their turn,
    /// `recv` for the peer's reply, `done` for stable storage.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.watch.counted;
        for (_, slot) in self.slots.iter() {
            let queue = match slot.stage {
                Stage::Running if slot.local.left > 0 => &mut statistics.local_queue,
                Stage::Running => continue,
                Stage::Recording(_) => &mut statistics.done_queue,
                Stage::Locked | Stage::Dirtying | Stage::Waiting => &mut statistics.send_queue,
            };
            *queue += 1;
        }
        statistics.recv_queue = crate::length(self.outstanding.len());
        statistics.idle_queue = u64::from(CLIENT_REQUESTS - self.clients);
        statistics
    }

    fn state(&self) -> State {
        let up = self.link.is_up();
        match (self.standing.behind, self.link.refused) {
            _ if self.is_stopping() => State::Stopping,
            (Behind::Neither, _) if up => State::Complete,
            (Behind::Peer, _) if up => State::SyncToPeer,
            (Behind::Local, _) if up => State::SyncFromPeer,
            (_, Some(refusal)) => State::Refused(refusal),
            (Behind::Local, None) => State::Stale,
            (Behind::Neither | Behind::Peer, None) => State::Waiting,
        }
    }

    fn next_attempt(&self) -> Option<Millis> {
        if self.is_stopping() {
            return None;
        }
        self.link.next_attempt().or(self.sync.retry_at())
    }

    /// Notices what became of an event.
    pub(super) fn watch(&mut self) {
        self.watch.set(self.state(), self.now);
    }

    pub(super) fn note(&mut self, what: Trouble) {
        self.watch.note(what, self.now);
    }

    /// The local component failed. Base counts that for clients' requests,
    /// and for reads it never asked the component for (K69).
    pub(super) fn local_failed(&mut self, kind: Kind, op: Op, error: Errno) {
        self.note(Trouble::Local(op, error));
        if matches!(kind, Kind::Client { .. }) {
            self.watch.count_error(op);
        }
    }
}

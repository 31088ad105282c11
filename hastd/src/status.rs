//! What a worker tells about itself, for `hastctl list`, `hastctl status` and
//! both with `--json`. Facts: spec/hast-wire.md section 10.4; what base's
//! programs know is in [`Status`] itself, what is ours in [`Report`].

use serde::{Deserialize, Serialize};

/// One worker.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Both connections to the other node are up: `complete`.
    pub complete: bool,
    /// Bytes being written or to be synchronised.
    pub dirty: u64,
    /// Bytes of an extent.
    pub extentsize: u32,
    /// Extents kept dirty; 0 for a secondary.
    pub keepdirty: u32,
    /// Requests so far.
    pub statistics: Statistics,
    /// Requests of the moment.
    pub queues: Queues,
    /// What base does not tell.
    pub report: Report,
}

/// One resource: what `hg_report` has in the daemon's answer.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Told {
    /// What the worker says; without one, what the daemon says in its place.
    #[serde(flatten)]
    pub status: Status,
    /// What only the daemon knows.
    pub daemon: Supervision,
}

/// Requests since the worker started (of a secondary: since the primary
/// connected).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Statistics {
    pub reads: u64,
    pub writes: u64,
    pub deletes: u64,
    pub flushes: u64,
    pub activemap_updates: u64,
    pub read_errors: u64,
    pub write_errors: u64,
    pub delete_errors: u64,
    pub flush_errors: u64,
}

/// Requests by where they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Queues {
    /// Room for more.
    pub idle: u64,
    /// At the local component.
    pub local: u64,
    /// To be sent.
    pub send: u64,
    /// Sent, and not answered.
    pub recv: u64,
    /// Done, and not reported.
    pub done: u64,
}

/// What goes on, why, and what comes next.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One word, the same in every version: for programs.
    pub state: String,
    /// Why it is so, for people.
    pub reason: String,
    /// Seconds since it became so.
    pub since: u64,
    /// What happens next, or what to do, for people.
    pub next: String,
    /// Bytes that would be lost if this node's data were discarded.
    pub dirty_here: Option<u64>,
    /// The same for the other node, as far as it has told.
    pub dirty_there: Option<u64>,
    /// What is being copied.
    pub sync: Option<Sync>,
    /// The last thing that failed, and when in seconds ago.
    pub last_error: Option<(String, u64)>,
}

/// A synchronisation.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Sync {
    /// `primary` or `secondary`: whose data is copied.
    pub source: String,
    /// Bytes still to be copied.
    pub left: u64,
    /// Bytes copied since it began.
    pub copied: u64,
    /// Bytes per second, of late.
    pub rate: u64,
    /// Seconds until it is done at that rate; none if nothing moves.
    pub eta: Option<u64>,
}

/// A worker, seen from outside.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Supervision {
    /// The role of the resource.
    pub role: String,
    /// The role that it will have when all that was ordered is done.
    pub final_role: String,
    /// Process id of the worker, that of a secondary without primary, too; 0
    /// if there is none.
    pub workerpid: u32,
    /// The worker has its component and its provider.
    pub ready: bool,
    /// How often a worker was started again because it had ended.
    pub restarts: u64,
    /// How the last one ended that did so by itself, and when in seconds ago.
    pub last_exit: Option<(String, u64)>,
    /// Why a primary was turned away last, and when in seconds ago.
    pub last_refusal: Option<(String, u64)>,
}

//! What the daemon and its workers say to one another, over the one socket a
//! worker inherits.
//!
//! ```text
//! message = length:u32le  descriptors:u8  JSON of `length` bytes
//! ```
//!
//! Descriptors travel beside the bytes, and the kernel hands them out with
//! whatever read meets them: with an earlier message, a later one, or in
//! several pieces. So both are queued on their own, and a message is
//! complete when as many descriptors have come as it counts. FreeBSD's bug
//! 292322 is what happens otherwise.
//!
//! A worker reads whatever the network sends: the daemon trusts nothing that
//! comes from one.

mod channel;

pub use channel::{Channel, ChannelError, Receiver};

use crate::config::Settings;
use crate::status::Status;
use hast_core::extent::Extents;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What the daemon tells a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first message. With the program that runs, since a worker cannot
    /// count on finding it under its name, and with the daemon's standard
    /// error if that is in the foreground.
    Start(Box<Start>),
    /// Instead of [`ToWorker::Start`]: destroy the provider that a worker left
    /// behind, if there is one, and end with status 0.
    Clean {
        /// Name of the provider without `hast/`.
        provider: String,
    },
    /// Answer to [`FromWorker::Connect`], with the connected socket, or with
    /// the reason why there is none.
    Connected {
        /// Which one.
        attempt: u64,
        /// Why not.
        error: Option<String>,
    },
    /// To a secondary: a primary has shown the token of step 1. With its two
    /// connections, the one of step 1 (requests) first.
    Peer(Box<Peer>),
    /// To a primary: the configuration was changed.
    Reconfigure {
        /// The new settings.
        settings: Settings,
        /// Where the other node is now, for messages.
        remote: Option<String>,
        /// The address changed: connect anew.
        reconnect: bool,
    },
    /// Asks for [`FromWorker::Status`].
    Status {
        /// To know the answer by.
        question: u64,
    },
    /// Drain, flush, store, destroy the provider, and end with status 0.
    Stop {
        /// If somebody has the provider open, do nothing and say
        /// [`FromWorker::InUse`].
        if_closed: bool,
    },
    /// To a secondary: give up this node's data (`hastctl resolve`). Answered
    /// by [`FromWorker::Discarded`].
    Discard {
        /// To know the answer by.
        question: u64,
    },
}

/// What a worker tells the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// It has the component (and the provider) and gave its privileges up.
    Ready(Component),
    /// A line for the log.
    Log {
        /// How much it matters.
        level: Level,
        /// The line, without the resource and the role.
        text: String,
    },
    /// Something a hook may want to know.
    Event(Event),
    /// Asks for [`ToWorker::Connected`].
    Connect {
        /// To know the answer by.
        attempt: u64,
    },
    /// Answer to [`ToWorker::Status`].
    Status {
        /// Which one.
        question: u64,
        /// It.
        status: Box<Status>,
    },
    /// Answer to [`ToWorker::Stop`] that could not be followed.
    InUse,
    /// Answer to [`ToWorker::Discard`].
    Discarded {
        /// Which one.
        question: u64,
        /// Why not.
        error: Option<String>,
    },
}

/// What both nodes' components must have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Component {
    /// Bytes that are replicated, as the metadata says.
    pub datasize: u64,
    /// Bytes of an extent.
    pub extentsize: u32,
}

impl From<Extents> for Component {
    fn from(extents: Extents) -> Self {
        Self {
            datasize: extents.datasize(),
            extentsize: extents.extentsize(),
        }
    }
}

/// What a worker needs to begin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Name of the resource.
    pub name: String,
    /// Primary, or secondary.
    pub primary: bool,
    /// Name of the provider without `hast/`.
    pub provider: String,
    /// The local component.
    pub local: PathBuf,
    /// Where the other node is, for messages; none if there is none.
    pub remote: Option<String>,
    /// What can change while it runs.
    pub settings: Settings,
    /// Most bytes of payload to hold.
    pub memory: usize,
    /// Stop and ask where the counters are impossible, or do as base does.
    pub stop_on_impossible: bool,
    /// Debug level of the daemon.
    pub debug: u8,
    /// Give privileges up, and which user to become.
    pub sandbox: Option<Sandbox>,
}

/// Who a worker becomes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Root directory.
    pub home: PathBuf,
}

/// A primary that was let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its address, for messages.
    pub address: String,
    /// The negotiated version's byte.
    pub version: u8,
    /// Bits of the extensions both know.
    pub extensions: u64,
    /// Entries of its step 2, as they came.
    pub hello: Vec<u8>,
}

/// How much a line matters: syslog's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Level {
    Error,
    Warning,
    Notice,
    Info,
    /// Only at this debug level or above.
    Debug(u8),
}

/// What hooks are run for. spec/hast-behaviour.md section 9.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the hooks'")]
pub enum Event {
    Connect,
    Disconnect,
    SyncStart,
    SyncDone,
    SyncInterrupted,
    SplitBrain,
}

impl Event {
    /// The hook's first argument.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::SyncStart => "syncstart",
            Self::SyncDone => "syncdone",
            Self::SyncInterrupted => "syncintr",
            Self::SplitBrain => "split-brain",
        }
    }
}

/// A message with what came beside it.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
}

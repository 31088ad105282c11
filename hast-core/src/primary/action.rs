//! What the primary asks its shell to do.

use crate::errno::Errno;
use crate::metadata::Consistency;
use crate::slab::RequestId;
use crate::units::{ByteRange, Counters, Generation, ResUid, Seq};

/// What a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Data into the request's buffer.
    Read(ByteRange),
    /// The data in the request's buffer onto the components.
    Write(ByteRange),
    /// The data is no longer needed; it reads as anything until written.
    Delete(ByteRange),
    /// What was answered becomes permanent.
    Flush,
}

impl Op {
    /// The data it is about.
    #[must_use]
    pub const fn range(self) -> Option<ByteRange> {
        match self {
            Self::Read(range) | Self::Write(range) | Self::Delete(range) => Some(range),
            Self::Flush => None,
        }
    }

    /// Whether components differ if only one carries it out.
    #[must_use]
    pub const fn modifies(self) -> bool {
        matches!(self, Self::Write(_) | Self::Delete(_))
    }
}

/// One life of the link to the peer. Whatever the shell reports about an
/// earlier one means nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Session(pub(crate) u64);

/// What goes to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// A request, or a piece of one; the buffer holds the data of the whole.
    Request {
        /// The request.
        id: RequestId,
        /// What the peer is to do.
        op: Op,
        /// Whether the peer answers twice.
        memsync: bool,
    },
    /// A KEEPALIVE; without a number if the peer does not answer it.
    Keepalive,
    /// What the peer is to say about itself from now on:
    /// [`message::Request::State`](crate::message::Request::State).
    State {
        /// Whether its component is of one state.
        consistency: Consistency,
        /// Which one.
        generation: Option<Generation>,
        /// What its own counter is raised to.
        raise: Option<u64>,
    },
}

/// What the primary says of itself in step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The id was just drawn and nothing was ever written.
    pub virgin: bool,
    /// Id of the resource.
    pub resuid: ResUid,
    /// Its counters.
    pub counters: Counters,
    /// State of its data.
    pub generation: Option<Generation>,
    /// Whether its component is of one state.
    pub consistency: Consistency,
    /// Bytes it may have changed since both were the same.
    pub dirty: u64,
}

/// Why a link is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The peer's data or extents are of another size.
    Geometry,
    /// The peer wants to copy from this component, which is itself behind.
    StaleSource,
    /// Something was answered during the handshake that the peer must know.
    Changed,
    /// The peer was silent for too long.
    Silent,
    /// The peer answered with something that cannot be an answer.
    Protocol,
    /// Its address has changed.
    Reconfigured,
    /// This life as primary ends.
    Stopping,
}

/// What happened, for hooks and for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Requests go to the peer from now on.
    Connected,
    /// They do not any more.
    Disconnected,
    /// Something is copied.
    SyncStarted,
    /// Both components are the same.
    SyncDone,
    /// The peer went while something was to be copied.
    SyncInterrupted,
    /// Both nodes have data that the other has not; told once, not at every
    /// attempt to connect.
    SplitBrain,
}

/// What the shell is to do. Actions may be carried out in any order, but for
/// those of [`Action::Send`], [`Action::Hello`], [`Action::Connect`] and
/// [`Action::Disconnect`], which keep theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Do this on the local component, then report
    /// [`Primary::local_done`](super::Primary::local_done).
    ///
    /// Of a flush that fails, a FLUSH or that of a store, the system tells
    /// once. It must be reported before any other flush ends.
    Local {
        /// The request.
        id: RequestId,
        /// What.
        op: Op,
    },
    /// Send this; data is read from the request's buffer, which must be left
    /// alone until the link ends or the peer has answered. Nothing may be
    /// sent once the link has ended, by [`Action::Disconnect`] or by
    /// [`Primary::peer_down`](super::Primary::peer_down): the buffer may be
    /// another request's by then.
    Send {
        /// On which link.
        session: Session,
        /// Number of the request; none if no answer is expected.
        seq: Option<Seq>,
        /// What.
        what: Outgoing,
    },
    /// Answer the client's request. Its place may be taken by another request
    /// before that is done: whoever sees this takes the data along.
    Complete {
        /// The request; its buffer has the data of a READ.
        id: RequestId,
        /// The client's name for it.
        tag: u64,
        /// How it ended.
        result: Result<(), Errno>,
    },
    /// The buffer of a request, a client's or one that copies, is no longer
    /// needed, and its place is free.
    Release(RequestId),
    /// Write the sectors that
    /// [`Primary::begin_map_store`](super::Primary::begin_map_store) names,
    /// flush, then report [`Primary::map_stored`](super::Primary::map_stored).
    StoreMap,
    /// Write the block that
    /// [`Primary::begin_metadata_store`](super::Primary::begin_metadata_store)
    /// fills, flush, then report
    /// [`Primary::metadata_stored`](super::Primary::metadata_stored).
    StoreMetadata,
    /// Connect and do step 1, then report
    /// [`Primary::accepted`](super::Primary::accepted) or
    /// [`Primary::peer_down`](super::Primary::peer_down).
    Connect(Session),
    /// Do step 2, then report [`Primary::peer_up`](super::Primary::peer_up) or
    /// [`Primary::peer_down`](super::Primary::peer_down).
    Hello(Session, Hello),
    /// Close both connections; what is still to be sent on them is not.
    Disconnect(Session, Why),
    /// Let the kernel serve reads straight from the local component, or no
    /// longer, then report
    /// [`Primary::direct_reads_set`](super::Primary::direct_reads_set).
    DirectReads(bool),
    /// Tell the world.
    Notify(Notice),
    /// What [`Primary::stop`](super::Primary::stop) began is done.
    Stopped,
}

//! What the threads of a serving client share.
//!
//! `sendtd` takes requests from the gate and sends them, `recvtd` receives the
//! replies and completes them, `linktd` sets up a new session when one is lost.
//! Locks are taken in the order [`Client::out`], [`Client::state`]; neither is
//! held during a system call or while a request is completed.

use ggate::buffer::Pool;
use ggate::gate::handle::Handle;
use ggate::gate::serve::START_BUFFER;
use ggate::log;
use ggate::traffic::Traffic;
use ggate::wire::InstanceId;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::durability::{Durability, Verdict};
use crate::link::Link;
use crate::send::Outgoing;
use crate::unanswered::{MAX_BYTES, Unanswered};

/// Memory for payloads, in bytes: what may be unanswered, one request beyond
/// it, and the buffers of the threads.
pub(crate) const MEMORY: usize = 48 << 20;
const _: () = assert!(MEMORY as u64 > MAX_BYTES + 8 * START_BUFFER as u64);

/// How often a thread that waits for room asks whether there still is a gate.
const GATE_CHECK: Duration = Duration::from_secs(1);

/// A gate, a link to a server, and the requests between them.
pub(crate) struct Client {
    pub(crate) gate: Handle,
    pub(crate) pool: Pool,
    pub(crate) link: Link,
    /// The sending side.
    pub(crate) out: Outgoing,
    pub(crate) state: Mutex<State>,
    /// The server's kind does not survive a FLUSH (FreeBSD 12.1).
    pub(crate) flush_unsupported: AtomicBool,
    room: Condvar,
}

/// What becomes of requests.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) unanswered: Unanswered,
    pub(crate) durability: Durability,
    /// The session whose replies count; sessions are numbered from 1. What is
    /// still to be read of an older one is not believed any more: its requests
    /// are sent again, perhaps to a server that has forgotten them.
    pub(crate) session: u64,
    /// Since the provider was made or taken over.
    pub(crate) traffic: Traffic,
    waiting_for_room: bool,
}

impl Client {
    /// A client without a session; [`crate::link`] brings one.
    pub(crate) fn new(gate: Handle) -> Self {
        Self {
            gate,
            pool: Pool::new(MEMORY),
            link: Link::new(),
            out: Outgoing::new(),
            state: Mutex::new(State {
                unanswered: Unanswered::new(),
                durability: Durability::default(),
                session: 0,
                traffic: Traffic::default(),
                waiting_for_room: false,
            }),
            flush_unsupported: AtomicBool::new(false),
            room: Condvar::new(),
        }
    }

    /// A session with this server begins; its number, and what it means for
    /// the writes before it.
    pub(crate) fn next_session(&self, server: Option<InstanceId>) -> (u64, Verdict) {
        let mut state = self.state.lock();
        state.session += 1;
        (state.session, state.durability.session(server))
    }

    /// Logs what goes on.
    pub(crate) fn report(&self) {
        let link = self.link.report();
        let mut state = self.state.lock();
        let (requests, bytes) = state.unanswered.load();
        let traffic = state.traffic.report();
        drop(state);
        log::notice!(
            "ggate{}: {link}; {requests} requests unanswered, {bytes} bytes of them kept; {traffic}.",
            self.gate.unit
        );
    }

    /// Waits until one more request may be taken; false when the gate is gone.
    pub(crate) fn wait_for_room(&self) -> bool {
        let mut state = self.state.lock();
        if state.unanswered.has_room() {
            return true;
        }
        drop(state);
        // What is still to be sent would otherwise wait for its own replies.
        self.send();
        state = self.state.lock();
        while !state.unanswered.has_room() {
            state.waiting_for_room = true;
            if self.room.wait_for(&mut state, GATE_CHECK).timed_out() {
                drop(state);
                if !self.gate.exists() {
                    return false;
                }
                state = self.state.lock();
            }
        }
        true
    }

    /// Tells the thread that waits for room, if one does.
    pub(crate) fn made_room(&self, state: &mut State) {
        if state.waiting_for_room && state.unanswered.has_room() {
            state.waiting_for_room = false;
            self.room.notify_all();
        }
    }

    /// Whether FLUSHes are answered here because the server dies of them.
    pub(crate) fn flush_unsupported(&self) -> bool {
        self.flush_unsupported.load(Ordering::Relaxed)
    }
}

//! A secondary's worker: the machine of hast-core, and what it asks for.
//!
//! | thread | does |
//! |---|---|
//! | main | listens to the daemon |
//! | recvtd | answers the handshake, receives the primary's requests |
//! | sendtd | sends what the connection did not take at once |
//! | disktd | the component, as many as it can use |
//! | storetd | stores of the map and the metadata |
//! | timertd | tells the time |
//!
//! The rules about the lock are the primary's.

mod frames;
mod receive;
mod report;
mod start;
mod stores;

pub(super) use start::run;

use super::Clock;
use super::buffers::{Buffers, Payload};
use super::jobs;
use super::local::Local;
use super::output::Output;
use super::parent::{Complaints, Parent};
use super::title::{self, Title};
use super::wire::{Wire, to_wire};
use crate::ipc::{Event, FromWorker};
use crate::log;
use frames::Frame;
use ggate::buffer::Pool;
use ggate::disk::{Disk, Job, Op as DiskOp};
use hast_core::decision::Rule;
use hast_core::primary::{Notice, Op};
use hast_core::secondary::{Action, Answer, Discard, Secondary, Session};
use hast_core::slab::RequestId;
use parking_lot::{Condvar, Mutex};
use receive::Peers;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use stores::Stores;

/// What the threads share.
struct Shell {
    name: String,
    local: Local,
    parent: Arc<Parent>,
    clock: Clock,
    title: title::Place,
    state: Mutex<State>,
    /// Signalled when there is room for one more request, or nothing is left.
    room: Condvar,
    buffers: Arc<Buffers>,
    pool: Pool,
    disk: OnceLock<Disk<RequestId, Payload>>,
    output: Output<Frame>,
    wire: Wire,
    stores: Stores,
    peers: Peers,
    /// About requests that were refused.
    refusals: Complaints,
}

struct State {
    machine: Secondary,
    /// What an event asked for, while the lock is held.
    actions: Vec<Action>,
    /// The question of whoever gives up this node's data.
    discarding: Option<u64>,
    has_stopped: bool,
}

/// What is done after unlocking.
#[derive(Clone, Copy)]
enum Deferred {
    Local(RequestId, Op),
    Release(RequestId),
    Answer(Session, Rule, Answer),
    Close(Session),
    StoreMetadata,
    ClearMap,
    FillMap,
    Discard(u64, Discard),
    Notify(Notice),
}

thread_local! {
    /// Lists that are not in use: one event causes another on the same thread.
    static LISTS: RefCell<Vec<Vec<Deferred>>> = const { RefCell::new(Vec::new()) };
}

impl Shell {
    /// Tells the machine of an event and does what it asks for.
    fn event<R>(&self, tell: impl FnOnce(&mut Secondary, &mut Vec<Action>) -> R) -> R {
        let result = self.quiet_event(tell);
        self.output.send(self);
        result
    }

    /// The same, but what is to be sent waits for [`Output::send`].
    fn quiet_event<R>(&self, tell: impl FnOnce(&mut Secondary, &mut Vec<Action>) -> R) -> R {
        self.event_with(|state| tell(&mut state.machine, &mut state.actions))
    }

    fn event_with<R>(&self, tell: impl FnOnce(&mut State) -> R) -> R {
        let mut deferred = LISTS.with_borrow_mut(Vec::pop).unwrap_or_default();
        let mut state = self.state.lock();
        let result = tell(&mut state);
        self.take_down(&mut state, &mut deferred);
        drop(state);
        for later in deferred.drain(..) {
            self.perform(later);
        }
        LISTS.with_borrow_mut(|lists| lists.push(deferred));
        result
    }

    /// Notes what the machine asked for; still under the lock.
    fn take_down(&self, state: &mut State, deferred: &mut Vec<Deferred>) {
        for action in state.actions.drain(..) {
            deferred.push(match action {
                Action::Reply(_, seq, outcome) => {
                    self.output.queue(Frame::Outcome(seq, outcome));
                    continue;
                }
                Action::Local { id, op } => Deferred::Local(id, op),
                Action::Release(id) => {
                    self.room.notify_all();
                    Deferred::Release(id)
                }
                Action::Answer(session, rule, answer) => Deferred::Answer(session, rule, answer),
                Action::Close(session) => Deferred::Close(session),
                Action::StoreMetadata => Deferred::StoreMetadata,
                Action::ClearMap => Deferred::ClearMap,
                Action::FillMap => Deferred::FillMap,
                Action::Discard(outcome) => {
                    let Some(question) = state.discarding.take() else {
                        continue;
                    };
                    Deferred::Discard(question, outcome)
                }
                Action::Notify(notice) => Deferred::Notify(notice),
                Action::Stopped => {
                    state.has_stopped = true;
                    self.room.notify_all();
                    continue;
                }
            });
        }
    }

    fn perform(&self, later: Deferred) {
        match later {
            Deferred::Local(id, op) => self.run_locally(id, op),
            Deferred::Release(id) => self.buffers.release(id),
            Deferred::Answer(session, rule, answer) => self.peers.answer(session, rule, answer),
            Deferred::Close(session) => self.end_link(session),
            Deferred::StoreMetadata => self.stores.want_metadata(),
            Deferred::ClearMap => self.stores.want_clear(),
            Deferred::FillMap => self.stores.want_fill(),
            Deferred::Discard(question, outcome) => self.tell_of_discard(question, outcome),
            Deferred::Notify(notice) => self.notify(notice),
        }
    }

    fn run_locally(&self, id: RequestId, op: Op) {
        let Some(disk) = self.disk.get() else { return };
        jobs::submit(disk, &self.buffers, id, op, |_| self.buffers.take(id));
    }

    /// The disk has done it; on whichever thread that was.
    fn local_done(&self, job: Job<RequestId, Payload>, result: nix::Result<()>) {
        let id = job.tag;
        let failed_flush = job.op == DiskOp::Flush && result.is_err();
        if let Err(errno) = result {
            self.parent
                .complain(&self.local.path, job.op, job.range, errno);
        }
        if let Payload::Own(data) = job.data {
            self.buffers.put_back(id, data);
        }
        let done = |machine: &mut Secondary, out: &mut _| {
            machine.local_done(id, to_wire(result), out);
        };
        self.quiet_event(done);
        self.output.send_about(0, self);
        if failed_flush {
            self.local.flushes.told();
        }
    }

    /// Closes both connections, if they are still those of this session.
    fn end_link(&self, session: Session) {
        if let Some(link) = self.peers.end(session) {
            self.output.close(&[link.replies]);
        }
    }

    fn tell_of_discard(&self, question: u64, outcome: Discard) {
        let error = match outcome {
            Discard::Stored => {
                log::info!(
                    "This node's data is given up; it is copied from the primary when that connects."
                );
                None
            }
            Discard::Failed => Some("it cannot be stored in the metadata"),
            Discard::Connected => Some("a primary is connected: there is no split-brain"),
        };
        self.parent.tell(&FromWorker::Discarded {
            question,
            error: error.map(Into::into),
        });
    }

    fn notify(&self, notice: Notice) {
        let event = match notice {
            Notice::Connected => {
                self.title.set(&Title::Secondary.of(&self.name));
                log::info!("Primary {} connected.", self.peers.address());
                Event::Connect
            }
            Notice::Disconnected => {
                self.title.set(&Title::SecondaryIdle.of(&self.name));
                log::warning!("Primary {} disconnected.", self.peers.address());
                Event::Disconnect
            }
            Notice::SplitBrain => {
                log::error!(
                    "Split-brain: both nodes have data that the other has not. To give up this node's, run here: \
                     hastctl resolve --discard-local {}",
                    self.name
                );
                Event::SplitBrain
            }
            Notice::SyncStarted => Event::SyncStart,
            Notice::SyncDone => Event::SyncDone,
            Notice::SyncInterrupted => Event::SyncInterrupted,
        };
        self.parent.event(event);
    }

    /// The timer's work.
    fn tick(&self) {
        let now = self.clock.now();
        self.event(|machine, out| machine.tick(now, out));
        self.parent.flush();
    }
}

//! A primary's worker: the machine of hast-core, and what it asks for.
//!
//! | thread | does |
//! |---|---|
//! | main | listens to the daemon |
//! | ggatetd (two) | takes requests from the gate |
//! | linktd | handshakes |
//! | recvtd (two per link) | receives the peer's replies |
//! | sendtd | sends what the connection did not take at once |
//! | disktd | the component, as many as it can use |
//! | storetd | stores of the map and the metadata |
//! | timertd | tells the time |
//!
//! The machine sits behind one lock. Nobody makes a system call or touches
//! payload while holding it: what the machine asks for is put down in a list
//! and done after unlocking, in any order, except that messages to the peer
//! enter their queue under the lock (design 6.2).

mod direct;
mod frames;
mod gate;
mod handshake;
mod link;
mod receive;
mod report;
mod start;
mod stop;

pub(super) use start::run;

use super::Clock;
use super::buffers::{Buffers, Payload};
use super::jobs;
use super::local::Local;
use super::output::Output;
use super::parent::Parent;
use super::stores::{Stores, Storing};
use super::wire::{Wire, to_wire};
use crate::config::Settings;
use crate::ipc::Event;
use crate::log;
use direct::DirectReads;
use frames::Frame;
use gate::Client;
use ggate::buffer::{Buf, Pool};
use ggate::disk::{Disk, Job, Op as DiskOp};
use ggate::gate::handle::Handle;
use hast_core::errno::Errno;
use hast_core::metadata::BLOCK_LENGTH;
use hast_core::primary::{Action, Hello, Notice, Op, Primary, Session, Why};
use hast_core::slab::RequestId;
use link::Links;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// What the threads share.
struct Shell {
    name: String,
    /// Name of the provider without `hast/`.
    provider: String,
    local: Local,
    /// Whether the component can be told what is no longer needed.
    deletes: bool,
    parent: Arc<Parent>,
    clock: Clock,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// Signalled when there is room for one more request.
    room: Condvar,
    /// Signalled when the machine has stopped.
    stopped: Condvar,
    buffers: Arc<Buffers>,
    /// For the payloads of clients, and for what is copied.
    pool: Pool,
    /// For requests longer than the machine takes, one at a time: such a
    /// request may need more than `pool` has.
    long_pool: Pool,
    /// For the peer's map, once per handshake.
    map_pool: Pool,
    gate: Handle,
    disk: OnceLock<Disk<RequestId, Payload>>,
    output: Output<Frame>,
    wire: Wire,
    stores: Stores,
    links: Links,
    /// Held while this worker tries to stop.
    stop: Mutex<()>,
    /// The provider's end is no surprise.
    ending: AtomicBool,
    /// Requests are left to the gate, which hands them to the next worker or
    /// fails them.
    draining: AtomicBool,
    direct_reads: DirectReads,
}

struct State {
    machine: Primary,
    /// What an event asked for, while the lock is held.
    actions: Vec<Action>,
    /// The clients' requests, at their places.
    clients: Box<[Option<Client>]>,
    in_use: u32,
    waiting_for_room: bool,
    has_stopped: bool,
}

/// What is done after unlocking.
enum Deferred {
    Local(RequestId, Op),
    Complete(Client, Option<Buf>, Result<(), Errno>),
    Release(RequestId),
    StoreMap,
    StoreMetadata,
    Connect(Session),
    Hello(Session, Hello),
    Disconnect(Session, Why),
    DirectReads(bool),
    Notify(Notice),
}

thread_local! {
    /// Lists that are not in use: one event causes another on the same thread.
    static LISTS: RefCell<Vec<Vec<Deferred>>> = const { RefCell::new(Vec::new()) };
}

/// An empty list that needs no new memory as a rule.
fn list() -> Vec<Deferred> {
    LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

impl Shell {
    /// Tells the machine of an event and does what it asks for.
    fn event<R>(&self, tell: impl FnOnce(&mut Primary, &mut Vec<Action>) -> R) -> R {
        let mut deferred = list();
        let result = self.note(&mut deferred, tell);
        self.output.send(self);
        self.perform(deferred);
        result
    }

    /// Tells the machine of an event; what it asks for is left to
    /// [`Self::perform`], and what it has to send to [`Output::send`].
    fn note<R>(
        &self,
        deferred: &mut Vec<Deferred>,
        tell: impl FnOnce(&mut Primary, &mut Vec<Action>) -> R,
    ) -> R {
        let state = &mut *self.state.lock();
        let result = tell(&mut state.machine, &mut state.actions);
        self.take_down(state, deferred);
        result
    }

    /// Still under the lock.
    fn take_down(&self, state: &mut State, deferred: &mut Vec<Deferred>) {
        for action in state.actions.drain(..) {
            deferred.push(match action {
                Action::Send { seq, what, .. } => {
                    self.output.queue(Frame { seq, what });
                    continue;
                }
                Action::Local { id, op } => Deferred::Local(id, op),
                Action::Complete { id, result, .. } => {
                    let Some(client) = state.clients[id.index()].clone() else {
                        continue;
                    };
                    // The place may be another request's from now on.
                    let data = client.reads().then(|| self.buffers.take(id)).flatten();
                    Deferred::Complete(client, data, result)
                }
                Action::Release(id) => {
                    if state.clients[id.index()].take().is_some() {
                        state.in_use -= 1;
                    }
                    if std::mem::take(&mut state.waiting_for_room) {
                        self.room.notify_all();
                    }
                    Deferred::Release(id)
                }
                Action::StoreMap => Deferred::StoreMap,
                Action::StoreMetadata => Deferred::StoreMetadata,
                Action::Connect(session) => Deferred::Connect(session),
                Action::Hello(session, hello) => Deferred::Hello(session, hello),
                Action::Disconnect(session, why) => Deferred::Disconnect(session, why),
                Action::DirectReads(on) => Deferred::DirectReads(on),
                Action::Notify(notice) => Deferred::Notify(notice),
                Action::Stopped => {
                    state.has_stopped = true;
                    self.stopped.notify_all();
                    continue;
                }
            });
        }
    }

    /// Does what was put down. Clients are answered first: the disk may take
    /// its time.
    fn perform(&self, mut deferred: Vec<Deferred>) {
        self.answer(&deferred);
        for later in deferred.drain(..) {
            match later {
                Deferred::Complete(..) => {}
                Deferred::Local(id, op) => self.run_locally(id, op),
                Deferred::Release(id) => self.buffers.release(id),
                Deferred::StoreMap => self.stores.want_map(),
                Deferred::StoreMetadata => self.stores.want_metadata(),
                Deferred::Connect(session) => self.links.connect(session),
                Deferred::Hello(session, hello) => self.links.hello(session, hello),
                Deferred::Disconnect(session, why) => self.disconnect(session, why),
                Deferred::DirectReads(on) => self.set_direct_reads(on),
                Deferred::Notify(notice) => self.notify(notice),
            }
        }
        LISTS.with_borrow_mut(|lists| lists.push(deferred));
    }

    fn run_locally(&self, id: RequestId, op: Op) {
        let Some(disk) = self.disk.get() else { return };
        let own = |range| Some(self.buffers.take_or_make(id, range, &self.pool));
        jobs::submit(disk, &self.buffers, id, op, own);
    }

    /// The disk has done it; on whichever thread that was.
    fn local_done(&self, job: Job<RequestId, Payload>, result: nix::Result<()>) {
        let (id, length) = (job.tag, job.range.length);
        let failed_flush = job.op == DiskOp::Flush && result.is_err();
        if let Err(errno) = result {
            self.parent
                .complain(&self.local.path, job.op, job.range, errno);
        }
        if let Payload::Own(data) = job.data {
            self.buffers.put_back(id, data);
        }
        let mut deferred = list();
        self.note(&mut deferred, |machine, out| {
            machine.local_done(id, to_wire(result), out);
        });
        self.output.send_about(length, self);
        self.perform(deferred);
        if failed_flush {
            self.local.flushes.told();
        }
    }

    fn disconnect(&self, session: Session, why: Why) {
        let remote = self.links.remote();
        let reason = match why {
            Why::Geometry => {
                "its data or its extents are of another size; create both with the same sizes"
            }
            Why::StaleSource => "it would copy from this component, which is itself out of date",
            Why::Changed => "data was written during the handshake, which is repeated",
            Why::Silent => "it did not answer in time",
            Why::Protocol => "it answered with what is no answer",
            Why::Stopping => "this node stops being primary",
            Why::Reconfigured => "its address changed",
        };
        match why {
            Why::Stopping | Why::Reconfigured | Why::Changed => {
                log::info!("Disconnecting from {remote}: {reason}.");
            }
            _ => log::warning!("Disconnecting from {remote}: {reason}."),
        }
        self.end_link(session);
    }

    /// Closes both connections, if they are still those of this session.
    fn end_link(&self, session: Session) {
        self.output.close(&self.links.end(session));
    }

    fn notify(&self, notice: Notice) {
        let remote = self.links.remote();
        self.parent.event(match notice {
            Notice::Connected => {
                log::info!("Connected to {remote}.");
                self.links.had_contact();
                Event::Connect
            }
            Notice::Disconnected => {
                log::warning!("Disconnected from {remote}.");
                Event::Disconnect
            }
            Notice::SyncStarted => {
                log::info!("Synchronization started.");
                Event::SyncStart
            }
            Notice::SyncDone => {
                log::info!("Synchronization complete: both nodes have the same data.");
                Event::SyncDone
            }
            Notice::SyncInterrupted => {
                log::warning!("Synchronization interrupted.");
                Event::SyncInterrupted
            }
            Notice::SplitBrain => {
                log::error!("Split-brain: both nodes have data that the other has not. Decide whose is given up, make that \
                     node secondary, and run there: hastctl resolve --discard-local {}",
                    self.name
                );
                Event::SplitBrain
            }
        });
    }

    /// The timer's work.
    fn tick(&self) {
        let now = self.clock.now();
        self.event(|machine, out| machine.tick(now, out));
        self.parent.flush();
    }

    /// Gives memory back that nobody needs.
    fn rest(&self) {
        self.pool.rest();
        self.map_pool.rest();
    }
}

impl Storing for Shell {
    fn begin_metadata(&self, block: &mut [u8; BLOCK_LENGTH]) -> Result<(), String> {
        let begun = self.state.lock().machine.begin_metadata_store(block);
        begun.map_err(|error| error.to_string())
    }

    fn metadata_stored(&self, stored: bool) {
        self.event(|machine, out| machine.metadata_stored(stored, out));
    }

    fn begin_map(&self, bytes: &mut Vec<u8>, sectors: &mut Vec<(u64, usize)>) {
        self.state.lock().machine.begin_map_store(|changed| {
            bytes.extend_from_slice(changed.bytes);
            sectors.push((changed.offset, changed.bytes.len()));
        });
    }

    fn map_stored(&self, stored: bool) {
        self.event(|machine, out| machine.map_stored(stored, out));
    }
}

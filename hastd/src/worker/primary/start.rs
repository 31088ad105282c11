//! From the configuration to a provider that is served.

use super::direct::DirectReads;
use super::link::Links;
use super::{Shell, State};
use crate::ipc::{FromWorker, Start, ToWorker};
use crate::log;
use crate::worker::area::DataArea;
use crate::worker::buffers::{Buffers, to_usize};
use crate::worker::local::Local;
use crate::worker::output::Output;
use crate::worker::parent::Parent;
use crate::worker::stores::Stores;
use crate::worker::wire::Wire;
use crate::worker::{
    Clock, Daemon, Failure, Layer, Title, give_up_privileges, millis, on_termination, run_timer,
    spawn,
};
use ggate::buffer::Pool;
use ggate::disk::Disk;
use ggate::gate::handle::Handle;
use ggate::gate::serve::Ended;
use ggate::gate::{self, Access, Cancel, Create, GateId, Ggctl, Modify, NewName};
use ggate::range::Geometry;
use hast_core::bitmap::MAX_MAP;
use hast_core::primary::{self, LONGEST_REQUEST, Primary, REQUESTS};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Runs until the provider is gone; the daemon's messages come on this thread.
pub(in crate::worker) fn run(
    start: Start,
    program: Option<File>,
    layer: Layer,
    mut daemon: Daemon,
    parent: &Arc<Parent>,
) -> Result<(), Failure> {
    let local = Local::open(&start, program, layer)?;
    let ctl = gate::load_and_open().map_err(|error| Failure::Gate(error.to_string()))?;
    let provider = obtain(ctl, &start, &local)?;
    let component = local.extents.into();
    let sandbox = start.sandbox.clone();
    let title = Title::Primary.of(&start.name);
    let entropy = crate::worker::entropy()?;
    let shell = Arc::new(build(start, local, provider, entropy, parent));
    attach_disk(&shell);
    start_threads(&shell)?;
    let gate = Some(&*shell.gate.ctl);
    give_up_privileges(sandbox.as_ref(), &title, &shell.local, gate)?;
    // Now the network may have its say.
    start_timer(&shell)?;
    parent.tell(&FromWorker::Ready(component));
    let served = Arc::clone(&shell);
    spawn("ggatetd", move || served.serve_after_contact())?;
    loop {
        let received = daemon.receive()?;
        shell.obey(received.message, received.descriptors);
    }
}

fn provider_geometry(local: &Local) -> Geometry {
    Geometry {
        media_size: local.metadata.datasize,
        sector_size: local.sectorsize,
    }
}

/// What clients use.
struct Provider {
    gate: Handle,
    /// From a predecessor.
    taken_over: bool,
}

/// Makes the provider, or takes over the one a predecessor left behind: the
/// requests that it had taken come again.
fn obtain(ctl: Box<dyn Ggctl>, start: &Start, local: &Local) -> Result<Provider, Failure> {
    let name = format!("hast/{}", start.provider);
    let create = Create {
        geometry: provider_geometry(local),
        access: Access::ReadWrite,
        queue_limit: 0,
        timeout: 0,
        name: NewName::Named(name.clone()),
        info: String::new(),
    };
    let (unit, taken_over) = match ctl.create(&create) {
        Ok(unit) => {
            log::info!("Device {name} created.");
            (unit, false)
        }
        Err(Errno::EEXIST) => {
            let taken = ctl.cancel(&GateId::Named(name.clone()), Cancel::All);
            let failed = |errno| Failure::Provider {
                name: name.clone(),
                errno,
            };
            let unit = taken.map_err(failed)?;
            if ctl.geometry(unit).is_some_and(|old| old != create.geometry) {
                return Err(Failure::OtherSize(name));
            }
            // The kernel may still read from the component, as it was told by
            // the predecessor; the peer may know that this is old by now.
            ctl.modify(unit, &Modify::NoReadProvider).map_err(failed)?;
            log::info!("Device {name} recovered.");
            (unit, true)
        }
        Err(errno) => return Err(Failure::Provider { name, errno }),
    };
    Ok(Provider {
        gate: Handle { ctl, unit },
        taken_over,
    })
}

fn build(
    start: Start,
    local: Local,
    provider: Provider,
    entropy: u64,
    parent: &Arc<Parent>,
) -> Shell {
    let geometry = provider_geometry(&local);
    let clock = Clock::start();
    let settings = start.settings;
    let buffers = Arc::new(Buffers::new(REQUESTS));
    let stores = Stores::default();
    stores.set_metaflush(settings.metaflush);
    let machine = Primary::new(primary::Start {
        metadata: local.metadata.clone(),
        extents: local.extents,
        sectorsize: local.sectorsize,
        map: &local.map,
        replication: settings.replication,
        timeout: millis(settings.timeout),
        // The rest is for clients that begin to ask meanwhile.
        copying: start.memory as u64 / 4 * 3,
        takes_over: provider.taken_over,
        entropy,
        now: clock.now(),
    });
    Shell {
        name: start.name,
        deletes: local.can_delete(),
        provider: start.provider,
        parent: Arc::clone(parent),
        clock,
        wire: Wire::new(settings.checksum, settings.compression),
        settings: Mutex::new(settings),
        state: Mutex::new(State {
            machine,
            actions: Vec::new(),
            clients: (0..REQUESTS).map(|_| None).collect(),
            in_use: 0,
            waiting_for_room: false,
            has_stopped: false,
        }),
        room: Condvar::new(),
        stopped: Condvar::new(),
        output: Output::new(Arc::clone(&buffers), to_usize(LONGEST_REQUEST.into())),
        buffers,
        pool: Pool::new(start.memory),
        long_pool: Pool::new(0),
        map_pool: Pool::new(to_usize(MAX_MAP.into())),
        direct_reads: DirectReads::new(&local, geometry),
        gate: provider.gate,
        disk: OnceLock::new(),
        stores,
        links: Links::new(start.remote),
        stop: Mutex::new(()),
        ending: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        local,
    }
}

fn attach_disk(shell: &Arc<Shell>) {
    let area = DataArea::of(&shell.local);
    let completer = Arc::downgrade(shell);
    let disk = Disk::new(Arc::new(area), move |job, result| {
        if let Some(shell) = completer.upgrade() {
            shell.local_done(job, result);
        }
    });
    // The shell is new: there was none.
    let _ = shell.disk.set(disk);
}

fn start_threads(shell: &Arc<Shell>) -> Result<(), Failure> {
    let with = |name, work: fn(&Arc<Shell>)| {
        let shell = Arc::clone(shell);
        spawn(name, move || work(&shell))
    };
    with("sendtd", |shell| shell.output.run(&**shell))?;
    with("storetd", |shell| {
        let local = &shell.local;
        shell.stores.run(&**shell, local);
    })?;
    with("linktd", Shell::make_links)?;
    with("modifytd", |shell| shell.run_direct_reads())?;
    let shell = Arc::clone(shell);
    on_termination(move || shell.stop(false))
}

/// The first thing it makes the machine do is to look for the peer.
fn start_timer(shell: &Arc<Shell>) -> Result<(), Failure> {
    let shell = Arc::clone(shell);
    spawn("timertd", move || {
        run_timer(|| shell.tick(), || shell.rest())
    })
}

impl Shell {
    /// No request is taken before the peer was asked: it may know that this
    /// node's data is old, and what is written before that splits the pair.
    fn serve_after_contact(&self) {
        let patience = self.settings.lock().timeout;
        self.links.wait_for_contact(patience);
        match self.serve() {
            // Whoever stops says so itself.
            Ok(_) if self.ending.load(Ordering::SeqCst) => {}
            Ok(Ended::Destroyed | Ended::Stopped) => {
                log::info!("Device hast/{} was destroyed.", self.provider);
                crate::worker::exit(&self.parent, 0);
            }
            Ok(Ended::Failed(errno)) => {
                log::error!("Taking requests failed: {}.", errno.desc());
                crate::worker::exit(&self.parent, Failure::OS);
            }
            Err(error) => {
                log::error!("Cannot start threads: {}.", ggate::errno::words(&error));
                crate::worker::exit(&self.parent, Failure::TEMPORARY);
            }
        }
    }

    /// Does what the daemon says.
    fn obey(self: &Arc<Self>, message: ToWorker, mut descriptors: Vec<std::os::fd::OwnedFd>) {
        match message {
            ToWorker::Connected { attempt, error } => {
                let answer = match (descriptors.pop(), error) {
                    (Some(connection), None) => Ok(connection),
                    (_, error) => Err(error.unwrap_or_else(|| "no connection was passed".into())),
                };
                self.parent.connected(attempt, answer);
            }
            ToWorker::Reconfigure {
                settings,
                remote,
                reconnect,
            } => self.reconfigure(settings, remote, reconnect),
            ToWorker::Status { question } => {
                let status = Box::new(self.status());
                self.parent.tell(&FromWorker::Status { question, status });
            }
            ToWorker::Stop { if_closed } => {
                let shell = Arc::clone(self);
                // This thread must go on listening: what is drained may need
                // the peer.
                if let Err(failure) = spawn("stoptd", move || shell.stop(if_closed)) {
                    log::error!("Cannot stop in order: {failure}.");
                    crate::worker::exit(&self.parent, Failure::TEMPORARY);
                }
            }
            ToWorker::Discard { question } => self.parent.tell(&FromWorker::Discarded {
                question,
                error: Some("it is primary; make it secondary first".into()),
            }),
            ToWorker::Start(_) | ToWorker::Clean { .. } | ToWorker::Peer(_) => {}
        }
    }

    fn reconfigure(
        &self,
        settings: crate::config::Settings,
        remote: Option<String>,
        reconnect: bool,
    ) {
        self.wire.configure(settings.checksum, settings.compression);
        self.stores.set_metaflush(settings.metaflush);
        self.links.set_remote(remote);
        let (replication, timeout) = (settings.replication, millis(settings.timeout));
        *self.settings.lock() = settings;
        self.event(|machine, out| {
            machine.reconfigure(replication, timeout, out);
            if reconnect {
                machine.reconnect(out);
            }
        });
        log::info!("Configuration reloaded successfully.");
    }
}

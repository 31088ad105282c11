//! From the configuration to a component that waits for a primary.

use super::receive::Peers;
use super::stores::Stores;
use super::{Shell, State};
use crate::ipc::{FromWorker, Start, ToWorker};
use crate::log;
use crate::worker::area::DataArea;
use crate::worker::buffers::{Buffers, to_usize};
use crate::worker::local::Local;
use crate::worker::output::Output;
use crate::worker::parent::{Complaints, Parent};
use crate::worker::title;
use crate::worker::wire::Wire;
use crate::worker::{
    Clock, Daemon, Failure, Layer, STOP_PATIENCE, Title, exit, give_up_privileges, on_termination,
    run_timer, spawn,
};
use ggate::buffer::Pool;
use ggate::disk::Disk;
use ggate::gate::{self, GateId};
use hast_core::decision::OnImpossible;
use hast_core::primary::LONGEST_REQUEST;
use hast_core::secondary::{self, REQUESTS, Secondary};
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Runs until the daemon ends it; its messages come on this thread.
pub(in crate::worker) fn run(
    start: Start,
    program: Option<File>,
    layer: Layer,
    mut daemon: Daemon,
    parent: &Arc<Parent>,
) -> Result<(), Failure> {
    let title = title::Place::find();
    destroy_orphan(&start.provider);
    let local = Local::open(&start, program, layer)?;
    let component = local.extents.into();
    let sandbox = start.sandbox.clone();
    let name = Title::Secondary.of(&start.name);
    let shell = Arc::new(build(start, local, title, parent));
    attach_disk(&shell);
    start_threads(&shell)?;
    give_up_privileges(sandbox.as_ref(), &name, &shell.local, None)?;
    parent.tell(&FromWorker::Ready(component));
    loop {
        match daemon.receive() {
            Ok(received) => shell.obey(received.message, received.descriptors),
            Err(failure) => shell.stop(failure.status()),
        }
    }
}

/// The provider of a primary that died here: nobody will serve it any more.
fn destroy_orphan(provider: &str) {
    let name = GateId::Named(format!("hast/{provider}"));
    // Without a gate there are no providers.
    if let Ok(ctl) = gate::open()
        && ctl.destroy(&name, true).is_ok()
    {
        log::info!("Device hast/{provider}, which nobody served, destroyed.");
    }
}

fn build(start: Start, local: Local, title: title::Place, parent: &Arc<Parent>) -> Shell {
    let clock = Clock::start();
    let buffers = Arc::new(Buffers::new(REQUESTS));
    let settings = start.settings;
    let machine = Secondary::new(secondary::Start {
        metadata: local.metadata.clone(),
        extents: local.extents,
        sectorsize: local.sectorsize,
        map: &local.map,
        on_impossible: if start.stop_on_impossible {
            OnImpossible::Stop
        } else {
            OnImpossible::Base
        },
        now: clock.now(),
    });
    Shell {
        name: start.name,
        parent: Arc::clone(parent),
        clock,
        title,
        wire: Wire::new(settings.checksum, settings.compression),
        state: Mutex::new(State {
            machine,
            actions: Vec::new(),
            discarding: None,
            has_stopped: false,
        }),
        room: Condvar::new(),
        output: Output::new(Arc::clone(&buffers), to_usize(LONGEST_REQUEST.into())),
        buffers,
        pool: Pool::new(start.memory),
        disk: OnceLock::new(),
        stores: Stores::default(),
        peers: Peers::default(),
        refusals: Complaints::default(),
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
    with("storetd", |shell| shell.run_stores())?;
    with("recvtd", |shell| shell.receive())?;
    with("timertd", |shell| {
        run_timer(|| shell.tick(), || shell.pool.rest())
    })?;
    let shell = Arc::clone(shell);
    on_termination(move || shell.stop(0))
}

impl Shell {
    /// Does what the daemon says.
    fn obey(&self, message: ToWorker, descriptors: Vec<OwnedFd>) {
        match message {
            ToWorker::Peer(peer) => self.greet(&peer, descriptors),
            ToWorker::Status { question } => {
                let status = Box::new(self.status());
                self.parent.tell(&FromWorker::Status { question, status });
            }
            ToWorker::Discard { question } => {
                self.event_with(|state| {
                    state.discarding = Some(question);
                    state.machine.discard(&mut state.actions);
                });
            }
            // What was confirmed is on the component, or was promised to be in
            // memory only.
            ToWorker::Stop { .. } => self.stop(0),
            ToWorker::Start(_)
            | ToWorker::Clean { .. }
            | ToWorker::Connected { .. }
            | ToWorker::Reconfigure { .. } => {}
        }
    }

    /// What the primary was told to be in memory shall not be lost because a
    /// role changes or the daemon ends: it is written, and flushed.
    fn stop(&self, status: u8) -> ! {
        let deadline = Instant::now() + STOP_PATIENCE;
        self.event(Secondary::stop);
        let mut state = self.state.lock();
        while !state.has_stopped {
            if self.room.wait_until(&mut state, deadline).timed_out() {
                log::warning!("Requests are still under way; stopping without them.");
                break;
            }
        }
        drop(state);
        // There is nobody to be told when that fails, but the log.
        if let Err(errno) = self.local.flushes.flush() {
            let path = &self.local.path;
            log::error!("{path}: cannot be flushed: {}.", errno.desc());
        }
        log::info!("Stopped.");
        exit(&self.parent, status)
    }
}

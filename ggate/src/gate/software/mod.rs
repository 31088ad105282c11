//! The gate in software: the kernel's semantics in the serving process.
//!
//! Each gate is a unix socket in the run directory that speaks NBD. START reads
//! the next request from the clients on the calling thread, DONE answers it on
//! the calling thread; nothing is handed over in between (a wake-up costs about
//! 25 us, more than a 4 KiB copy). Everything slow or hostile (handshakes,
//! clients that do not read) is the housekeeper's.
//!
//! What differs from the kernel, because a gate lives in its process here:
//!
//! - START, DONE and MODIFY work in the process that serves the gate only.
//! - CANCEL from another process takes the gate over: same unit, name and sizes;
//!   a process that still serves it stops. Clients are disconnected and ask again
//!   after they have reconnected.
//! - CANCEL in the serving process disconnects clients whose WRITEs are
//!   outstanding, since only whoever called START has their data.
//! - An NBD client is told of ENOMEM; GEOM would retry.

mod answers;
mod consumer;
mod control;
mod gate;
mod house;
mod queue;
mod reader;
mod rundir;
mod spill;
mod waker;

pub use consumer::{Consumer, Open};
pub use queue::Completion;

use super::list::{Config, GateInfo};
use super::{
    Cancel, Create, GateId, Ggctl, MAX_QUEUE_LIMIT, Modify, NewName, Outcome, Request, Started,
    Unit, info,
};
use crate::range::Geometry;
use control::{Ask, State, may_end};
use gate::{End, Gate, Properties};
use house::Host;
use nix::errno::Errno;
use parking_lot::Mutex;
use reader::Caller;
use rundir::{Lock, MAX_UNITS, Record, RunDir, check_geometry, check_name};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

#[cfg(target_os = "freebsd")]
pub(super) use rundir::is_chosen;

/// The gates of one run directory, as this process sees and serves them.
#[derive(Debug)]
pub struct Software {
    host: Arc<Host>,
    /// Started with the first gate, so that programs can fork before.
    house: Mutex<Option<JoinHandle<()>>>,
}

impl Software {
    /// Works in this run directory, which is made when it is missing.
    pub fn new(rundir: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            host: Arc::new(Host::new(RunDir::open(rundir.as_ref())?)?),
            house: Mutex::new(None),
        })
    }

    /// Works in `$GGATE_RUNDIR`, else `/var/run/ggate` for root and
    /// `$XDG_RUNTIME_DIR/ggate` for others.
    pub fn open() -> io::Result<Self> {
        Self::new(rundir::default_path()?)
    }

    /// Where clients reach a gate of this process.
    #[must_use]
    pub fn socket(&self, unit: Unit) -> Option<PathBuf> {
        let gate = self.host.gate(unit)?;
        Some(self.host.rundir.socket_path(&gate.properties.name))
    }

    /// Opens a gate of this process for requests from within. ENXIO when there
    /// is none, EPERM to read from a write-only one.
    pub fn consumer(&self, unit: Unit, open: Open) -> nix::Result<Consumer> {
        Consumer::new(self.host.gate(unit).ok_or(Errno::ENXIO)?, open)
    }

    /// All gates of the run directory, whoever serves them, and those that
    /// nobody serves (one reference, no process).
    pub fn list(&self) -> io::Result<Vec<GateInfo>> {
        let records = self.host.rundir.records()?;
        let known = records.into_iter().filter_map(|(unit, record)| {
            let record = record?;
            let state = match self.host.gate(unit) {
                Some(gate) => Some(State::of(&gate)),
                None => control::ask(&self.host.rundir.control_path(unit), Ask::State)
                    .ok()
                    .flatten(),
            };
            Some(describe(unit, record, state))
        });
        Ok(known.collect())
    }

    fn start_house(&self) -> nix::Result<()> {
        let mut house = self.house.lock();
        if house.is_none() {
            let host = self.host.clone();
            let thread = thread::Builder::new().name("ggate".into());
            let spawned = thread.spawn(move || house::run(&host));
            *house = Some(spawned.map_err(rundir::errno)?);
        }
        Ok(())
    }

    /// Opens the sockets of a gate on record and begins to answer.
    fn serve(&self, unit: Unit, record: &Record, _lock: &Lock) -> nix::Result<()> {
        self.start_house()?;
        let doors = self.host.rundir.open_doors(unit, &record.name)?;
        let properties = Properties {
            unit,
            name: record.name.clone(),
            sector_size: record.geometry.sector_size,
            access: record.access,
            queue_limit: record.queue_limit,
            timeout: record.timeout,
        };
        let gate = Gate::new(
            properties,
            record.geometry.media_size,
            record.info.clone(),
            doors,
            self.host.waker.clone(),
        )?;
        self.host.rundir.write(unit, record)?;
        self.host.insert(Arc::new(gate));
        Ok(())
    }

    /// The unit and the record of a gate, by a lock holder.
    fn find(&self, id: &GateId, _lock: &Lock) -> nix::Result<(Unit, Option<Record>)> {
        let records = self.host.rundir.records().map_err(rundir::errno)?;
        let found = records.into_iter().find(|(unit, record)| match id {
            GateId::Unit(wanted) => unit == wanted,
            GateId::Named(name) => record.as_ref().is_some_and(|record| record.name == *name),
        });
        found.ok_or(Errno::ENXIO)
    }

    /// A gate of this process.
    fn own(&self, id: &GateId) -> Option<Arc<Gate>> {
        match id {
            GateId::Unit(unit) => self.host.gate(*unit),
            GateId::Named(name) => self
                .host
                .gates()
                .into_iter()
                .find(|gate| gate.properties.name == *name),
        }
    }

    fn rewrite_record(&self, gate: &Gate) -> nix::Result<()> {
        let _lock = self.host.rundir.lock()?;
        // Ended meanwhile: the record is not ours any more.
        if gate.has_ended() {
            return Err(Errno::ENXIO);
        }
        let properties = &gate.properties;
        let record = Record {
            name: properties.name.clone(),
            geometry: gate.geometry(),
            access: properties.access,
            timeout: properties.timeout,
            queue_limit: properties.queue_limit,
            pid: std::process::id(),
            info: gate.info.lock().clone(),
        };
        self.host.rundir.write(properties.unit, &record)
    }
}

impl Drop for Software {
    fn drop(&mut self) {
        self.host.stop();
        if let Some(house) = self.house.lock().take() {
            // A panic in it has ended the process already.
            let _ = house.join();
        }
        for gate in self.host.gates() {
            if let Ok(gate) = self.host.take(gate.properties.unit, |_| Ok(())) {
                gate.end(End::SteppedDown);
            }
        }
    }
}

impl Ggctl for Software {
    fn geometry(&self, unit: Unit) -> Option<Geometry> {
        match self.host.gate(unit) {
            Some(gate) => Some(gate.geometry()),
            None => Some(self.host.rundir.records().ok()?.remove(&unit)??.geometry),
        }
    }

    fn create(&self, create: &Create) -> nix::Result<Unit> {
        check_geometry(create.geometry)?;
        if let NewName::Named(name) = &create.name {
            check_name(name)?;
        }
        let lock = self.host.rundir.lock()?;
        let records = self.host.rundir.records().map_err(rundir::errno)?;
        let unit = match create.name {
            NewName::Unit(Unit(number)) if number >= MAX_UNITS => return Err(Errno::EINVAL),
            NewName::Unit(unit) if records.contains_key(&unit) => return Err(Errno::EEXIST),
            NewName::Unit(unit) => unit,
            NewName::NextFree | NewName::Named(_) => (0..MAX_UNITS)
                .map(Unit)
                .find(|unit| !records.contains_key(unit))
                .ok_or(Errno::ENFILE)?,
        };
        let name = match &create.name {
            NewName::Named(name) => name.clone(),
            NewName::NextFree | NewName::Unit(_) => format!("ggate{unit}"),
        };
        let taken = |record: &Option<Record>| record.as_ref().is_some_and(|r| r.name == name);
        if records.values().any(taken) {
            return Err(Errno::EEXIST);
        }
        let record = Record {
            name,
            geometry: create.geometry,
            access: create.access,
            timeout: create.timeout,
            queue_limit: create.queue_limit.min(MAX_QUEUE_LIMIT),
            pid: std::process::id(),
            info: info::visible(&create.info),
        };
        if let Err(errno) = self.serve(unit, &record, &lock) {
            // The first failure is the one to tell.
            let _ = self.host.rundir.remove(unit, Some(&record.name));
            return Err(errno);
        }
        Ok(unit)
    }

    fn modify(&self, unit: Unit, change: &Modify) -> nix::Result<()> {
        let gate = self.host.gate(unit).ok_or(Errno::ENXIO)?;
        match change {
            Modify::MediaSize(media_size) => {
                check_geometry(Geometry {
                    media_size: *media_size,
                    ..gate.geometry()
                })?;
                gate.set_media_size(*media_size);
            }
            Modify::Info(text) => *gate.info.lock() = info::visible(text),
            // There are no providers but the gates.
            Modify::ReadProvider { .. } => return Err(Errno::EINVAL),
            Modify::NoReadProvider => return Ok(()),
        }
        self.rewrite_record(&gate)
    }

    fn destroy(&self, gate: &GateId, force: bool) -> nix::Result<()> {
        // First of all: whoever asks us about a gate has the lock, and would
        // wait for an answer from one that is going.
        let lock = self.host.rundir.lock();
        if let Some(own) = self.own(gate) {
            let unit = own.properties.unit;
            let own = self.host.take(unit, |gate| may_end(gate, force))?;
            own.end(End::Destroyed);
            // A process that has given its privileges up cannot have the lock;
            // what it leaves there is removed by the next who looks.
            let _lock = lock?;
            return self.host.rundir.remove(unit, Some(&own.properties.name));
        }
        let lock = lock?;
        let (unit, record) = self.find(gate, &lock)?;
        let control = self.host.rundir.control_path(unit);
        if control::ask(&control, Ask::Destroy { force })?.is_some() {
            return Ok(());
        }
        let name = record.map(|record| record.name);
        self.host.rundir.remove(unit, name.as_deref())
    }

    fn cancel(&self, gate: &GateId, which: Cancel) -> nix::Result<Unit> {
        if let Some(own) = self.own(gate) {
            own.cancel(which);
            return Ok(own.properties.unit);
        }
        let lock = self.host.rundir.lock()?;
        let (unit, record) = self.find(gate, &lock)?;
        if which != Cancel::All {
            // Numbers mean something in the serving process only.
            return Ok(unit);
        }
        let mut record = record.ok_or(Errno::EIO)?;
        control::ask(&self.host.rundir.control_path(unit), Ask::StepDown)?;
        record.pid = std::process::id();
        self.serve(unit, &record, &lock)?;
        Ok(unit)
    }

    fn start(&self, unit: Unit, payload: &mut [u8]) -> nix::Result<Started> {
        self.start_after(unit, payload, &mut || ())
    }

    fn start_after(
        &self,
        unit: Unit,
        payload: &mut [u8],
        before_waiting: &mut dyn FnMut(),
    ) -> nix::Result<Started> {
        let gate = self.host.enter(unit).ok_or(Errno::ENXIO)?;
        gate.start(Caller {
            payload,
            before_waiting,
        })
    }

    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) -> nix::Result<()> {
        self.done_all(unit, &mut std::iter::once((*request, outcome)))
    }

    fn done_all(
        &self,
        unit: Unit,
        done: &mut dyn Iterator<Item = (Request, Outcome<'_>)>,
    ) -> nix::Result<()> {
        let gate = self.host.enter(unit).ok_or(Errno::ENOENT)?;
        gate.done(done);
        Ok(())
    }

    fn done_at_once(&self) -> usize {
        answers::MAX_ANSWERS
    }
}

/// Reads what other processes write: `text` as the record of a unit, as a
/// question about a gate and as an answer to one. Whether it is any of these.
/// For tests that make such texts up.
#[must_use]
pub fn is_intelligible(text: &str) -> bool {
    Record::parse(text).is_some() || control::is_intelligible(text)
}

fn describe(unit: Unit, record: Record, state: Option<State>) -> GateInfo {
    let live = state.is_some();
    let state = state.unwrap_or_default();
    GateInfo {
        name: record.name,
        media_size: record.geometry.media_size,
        sector_size: record.geometry.sector_size,
        mode: state.mode,
        config: Some(Config {
            unit,
            info: record.info,
            access: record.access,
            timeout: record.timeout,
            queue_count: state.queue_count,
            queue_size: record.queue_limit,
            references: state.references.max(1),
        }),
        pid: live.then_some(record.pid),
    }
}

#[cfg(test)]
mod tests;

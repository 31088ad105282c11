//! `ggatel create` and `ggatel rescue`: requests of a gate against a medium of
//! this host.

use ggate::buffer::Pool;
use ggate::cli::Opening;
use ggate::daemon::{self, Readiness, Signal, on_signals};
use ggate::disk::{Disk, Job, Op};
use ggate::gate::handle::Handle;
use ggate::gate::serve::{self, Ended, Handler, Payload};
use ggate::gate::{Command, Outcome, Request};
use ggate::log;
use ggate::media::{Media, MediaError, OpenOptions};
use ggate::opener::{self, Processes};
use ggate::provider::{ProviderError, Wanted};
use ggate::traffic::Traffic;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::NAME;

/// Memory for payloads, in bytes, shared by all requests.
const MEMORY: usize = 48 << 20;

/// Most requests in work: far more than a disk's own queue can use.
const MAX_REQUESTS: usize = 256;

/// How often a thread that waits for room asks whether there still is a gate.
const GATE_CHECK: Duration = Duration::from_secs(1);

/// Why nothing is served, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("Cannot open {}: {error}", path.display())]
    Media { path: PathBuf, error: MediaError },
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("Cannot {}: {}", .0, ggate::errno::words(.1))]
    System(&'static str, #[source] io::Error),
    #[error("Taking requests failed: {}", .0.desc())]
    Start(Errno),
}

/// Runs until the provider is destroyed.
pub(crate) fn run(
    path: &Path,
    opening: Opening,
    wanted: Wanted,
    ready: Readiness,
) -> Result<(), LocalError> {
    let ctl = wanted.open()?;
    // Before CREATE (kernel document 7.7, rule 3), and by a helper: a provider
    // of which we are the last closer keeps us from ending when we are killed
    // while ours is tasted, and one that we have to open first keeps us from
    // the rescue (7.5, case E).
    let helpers = Processes::new(NAME).map_err(|e| LocalError::System("open myself", e))?;
    let medium = opener::open(&helpers, path, options(opening));
    let medium = medium.map_err(|error| LocalError::Media {
        path: path.into(),
        error,
    })?;
    let info = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let info = info.display().to_string();
    let gate = wanted.obtain(ctl, medium.geometry(), opening.access, info)?;
    let local = Local::new(gate, medium);
    ready
        .detach()
        .map_err(|e| LocalError::System("leave the terminal", e))?;
    daemon::protect();
    let reporting = Arc::clone(&local.shared);
    on_signals(&[Signal::Report], move |_| reporting.report())
        .map_err(|e| LocalError::System("catch signals", e))?;
    let ended = serve::serve(&local.shared.gate, &local.pool, &local, "disktd")
        .map_err(|e| LocalError::System("start threads", e))?;
    match ended {
        Ended::Destroyed | Ended::Stopped => {
            log::info!("ggate{} was destroyed.", local.shared.gate.unit);
            Ok(())
        }
        Ended::Failed(errno) => Err(LocalError::Start(errno)),
    }
}

/// As in base, a write is on stable storage when it is answered, whoever
/// created or rescued the provider.
fn options(opening: Opening) -> OpenOptions {
    OpenOptions {
        access: opening.access,
        direct: opening.direct,
        sync: true,
    }
}

/// A gate over a medium.
struct Local {
    shared: Arc<Shared>,
    disk: Disk<Request>,
    pool: Pool,
}

struct Shared {
    gate: Handle,
    in_work: Mutex<InWork>,
    room: Condvar,
}

#[derive(Default)]
struct InWork {
    requests: usize,
    somebody_waits: bool,
    traffic: Traffic,
}

impl Local {
    fn new(gate: Handle, medium: Arc<dyn Media>) -> Self {
        let shared = Arc::new(Shared {
            gate,
            in_work: Mutex::default(),
            room: Condvar::new(),
        });
        let completer = Arc::clone(&shared);
        Self {
            shared,
            disk: Disk::new(medium, move |job, result| completer.complete(&job, result)),
            pool: Pool::new(MEMORY),
        }
    }

    /// The request as a job, or the error that it ends with here.
    fn job(&self, request: &Request, payload: Payload<'_>) -> Result<Job<Request>, Errno> {
        let (op, data) = match request.command {
            Command::Read => {
                let length = usize::try_from(request.range.length).map_err(|_| Errno::EINVAL)?;
                (Op::Read, self.pool.get(length))
            }
            Command::Write => (Op::Write, payload.detach()),
            Command::Delete => (Op::Delete, self.pool.get(0)),
            Command::Flush => (Op::Flush, self.pool.get(0)),
            Command::Speedup | Command::Other(_) => return Err(Errno::EOPNOTSUPP),
        };
        // A gate that was taken over may be larger than the medium.
        let geometry = self.disk.media().geometry();
        if op != Op::Flush && geometry.check(request.range).is_err() {
            return Err(Errno::EIO);
        }
        Ok(Job {
            tag: *request,
            op,
            range: request.range,
            data,
        })
    }
}

impl Handler for Local {
    fn reserve(&self) -> bool {
        self.shared.wait_for_room()
    }

    fn handle(&self, request: &Request, payload: Payload<'_>) {
        match self.job(request, payload) {
            Ok(job) => {
                self.shared.in_work.lock().requests += 1;
                self.disk.submit(job);
            }
            Err(errno) => self.shared.gate.done(request, Outcome::Error(errno)),
        }
    }

    fn idle(&self) {}
}

impl Shared {
    /// Called on the thread that did the work, whichever that is.
    fn complete(&self, job: &Job<Request>, result: nix::Result<()>) {
        let outcome = match result {
            Ok(()) if job.op == Op::Read => Outcome::Data(&job.data),
            Ok(()) => Outcome::Done,
            Err(errno) => Outcome::Error(final_error(errno)),
        };
        self.gate.done(&job.tag, outcome);
        let mut in_work = self.in_work.lock();
        in_work.requests -= 1;
        in_work.traffic.count(&job.tag, result.is_ok());
        if in_work.somebody_waits {
            in_work.somebody_waits = false;
            self.room.notify_all();
        }
    }

    /// Logs what goes on.
    fn report(&self) {
        let mut in_work = self.in_work.lock();
        let (requests, traffic) = (in_work.requests, in_work.traffic.report());
        drop(in_work);
        log::notice!(
            "ggate{}: {requests} requests in work; {traffic}.",
            self.gate.unit
        );
    }

    /// Waits until one more request may be taken; false when the gate is gone.
    fn wait_for_room(&self) -> bool {
        let mut in_work = self.in_work.lock();
        while in_work.requests >= MAX_REQUESTS {
            in_work.somebody_waits = true;
            if self.room.wait_for(&mut in_work, GATE_CHECK).timed_out() {
                drop(in_work);
                if !self.gate.exists() {
                    return false;
                }
                in_work = self.in_work.lock();
            }
        }
        true
    }
}

/// The gate would hand out again for ever what ends with one of these.
fn final_error(errno: Errno) -> Errno {
    match errno {
        Errno::EAGAIN | Errno::ENOMEM => Errno::EIO,
        other => other,
    }
}

//! A worker: one process per active resource, the component and the provider
//! in its hands. Facts: spec/hast-behaviour.md sections 3, 5 and 8; design
//! 6.2.
//!
//! | module | what |
//! |---|---|
//! | `primary`, `secondary` | hast-core's machines and what they ask for |
//! | `local`, `area`, `stores`, `flushes` | the component: opening it, its data, its map and metadata, all of it on the disk |
//! | `buffers` | payloads |
//! | `jobs` | requests to the component |
//! | `input`, `output`, `wire` | the two directions of a link |
//! | `parent` | the channel to the daemon |
//! | `title` | what ps(1) shows |

#![deny(clippy::disallowed_methods)]

mod area;
mod buffers;
mod flushes;
mod input;
mod jobs;
mod local;
mod output;
mod parent;
mod primary;
mod report;
mod secondary;
mod stores;
mod title;
mod wire;

pub use title::{Title, is_worker};

use crate::ipc::{Channel, ChannelError, Received, Receiver, Sandbox, ToWorker};
use crate::log;
use crate::sandbox::{self, SandboxError};
use ggate::daemon::{self, Signal, pause, protect};
use ggate::gate::{self, GateId, Ggctl};
use ggate::media::Media;
use hast_core::primary::Millis;
use nix::errno::Errno;
use parent::Parent;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a secondary that stops waits for what it has in memory.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// How often the machines are told the time.
const TICK: Duration = Duration::from_millis(500);

/// Ticks after which memory that nobody needed meanwhile is given back: ten
/// seconds' worth. There may be many resources, and few that are busy.
const REST: u32 = 20;

/// Why a worker ends. The exit status tells the daemon whether it is worth
/// starting another one: spec/hast-behaviour.md section 1.1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Local(#[from] local::LocalError),
    #[error("Cannot open the gate: {0}.")]
    Gate(String),
    #[error("Cannot create or take over {name}: {}.", errno.desc())]
    Provider { name: String, errno: Errno },
    #[error("{0} exists with another size; destroy it first: hastctl role init")]
    OtherSize(String),
    #[error("Cannot start a thread: {}.", ggate::errno::words(.0))]
    Thread(#[from] io::Error),
    #[error("Cannot give up privileges: {0}.")]
    Privileges(#[from] SandboxError),
    /// The daemon is gone: whoever comes next goes on.
    #[error("The daemon: {0}.")]
    Channel(#[from] ChannelError),
}

impl Failure {
    /// `EX_OSERR`.
    const OS: u8 = 71;
    /// `EX_TEMPFAIL`.
    const TEMPORARY: u8 = 75;

    const fn status(&self) -> u8 {
        match self {
            Self::Local(_) => 66,
            Self::Provider { .. } | Self::OtherSize(_) => Self::OS,
            Self::Gate(_) => 72,
            Self::Thread(_) | Self::Channel(_) => Self::TEMPORARY,
            Self::Privileges(_) => 78,
        }
    }
}

/// The daemon's messages.
struct Daemon {
    socket: UnixStream,
    receiver: Receiver,
}

impl Daemon {
    fn receive(&mut self) -> Result<Received<ToWorker>, Failure> {
        Ok(self.receiver.receive(self.socket.as_fd())?)
    }
}

/// What the requests to a component pass through.
pub type Layer = fn(Arc<dyn Media>) -> Arc<dyn Media>;

/// A worker's whole life; its socket to the daemon is standard input.
#[must_use]
pub fn run() -> ExitCode {
    run_through(|component| component)
}

/// The same, with something over the component: for benchmarks, which need
/// disks slower than those that they find.
#[must_use]
pub fn run_through(layer: Layer) -> ExitCode {
    give_back_what_is_freed();
    let Ok((mut daemon, channel)) = inherited() else {
        // Nobody is there to be told.
        return ExitCode::from(Failure::TEMPORARY);
    };
    let parent = Arc::new(Parent::new(channel));
    let start_log = |debug| {
        let parent = Arc::clone(&parent);
        let lines = move |level, text: &str| parent.log(level, text);
        log::start("hastd", log::Sink::Function(Arc::new(lines)), debug);
    };
    let (start, descriptors) = match daemon.receive() {
        Ok(Received {
            message: ToWorker::Start(start),
            descriptors,
        }) => (*start, descriptors),
        Ok(Received {
            message: ToWorker::Clean { provider },
            ..
        }) => {
            start_log(0);
            return clean(&parent, &provider);
        }
        _ => return ExitCode::from(Failure::TEMPORARY),
    };
    let mut descriptors = descriptors.into_iter();
    let program = descriptors.next().map(File::from);
    if let Some(stderr) = descriptors.next() {
        // For a panic's last words.
        let _ = nix::unistd::dup2_stderr(&stderr);
    }
    start_log(start.debug);
    // Not inherited from the daemon, on FreeBSD.
    protect();
    let ended = if start.primary {
        primary::run(start, program, layer, daemon, &parent)
    } else {
        secondary::run(start, program, layer, daemon, &parent)
    };
    let Err(failure) = ended else {
        return ExitCode::SUCCESS;
    };
    if !matches!(failure, Failure::Channel(ChannelError::Ended)) {
        log::error!("{failure}");
    }
    exit(&parent, failure.status())
}

fn inherited() -> io::Result<(Daemon, Channel)> {
    let socket = || io::stdin().as_fd().try_clone_to_owned();
    let (reading, writing) = (socket()?, socket()?);
    let daemon = Daemon {
        socket: UnixStream::from(reading),
        receiver: Receiver::default(),
    };
    Ok((daemon, Channel::new(UnixStream::from(writing))))
}

/// The end, with the daemon told everything. Other threads stop where they
/// are: nothing that was not confirmed was promised.
fn exit(parent: &Parent, status: u8) -> ! {
    parent.drain();
    std::process::exit(status.into())
}

/// Destroys a provider that nobody serves.
fn clean(parent: &Parent, provider: &str) -> ExitCode {
    let name = format!("hast/{provider}");
    let destroyed = match gate::open() {
        Ok(ctl) => ctl.destroy(&GateId::Named(name.clone()), true),
        // Without a gate there are no providers.
        Err(_) => Ok(()),
    };
    match destroyed {
        Ok(()) | Err(Errno::ENXIO) => ExitCode::SUCCESS,
        Err(errno) => {
            log::error!("Cannot destroy {name}: {}.", errno.desc());
            parent.drain();
            ExitCode::from(Failure::OS)
        }
    }
}

/// What privileges a worker needs, it has used: descriptors are open, threads
/// run.
fn give_up_privileges(
    sandbox: Option<&Sandbox>,
    title: &str,
    local: &local::Local,
    gate: Option<&dyn Ggctl>,
) -> Result<(), Failure> {
    let Some(sandbox) = sandbox else {
        log::debug!(
            1,
            "Keeping privileges: there are none, or the daemon says so."
        );
        return Ok(());
    };
    sandbox::limit_component(local.descriptors())?;
    if let Some(gate) = gate {
        sandbox::limit_gate(gate)?;
    }
    sandbox::drop_privileges(sandbox, title)?;
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    daemon::spawn(name, work)?;
    Ok(())
}

/// The thread `timertd`; never returns.
fn run_timer(tick: impl Fn(), rest: impl Fn()) -> ! {
    loop {
        for _ in 0..REST {
            tick();
            pause(TICK);
        }
        rest();
    }
}

/// A worker that was busy must not hold for ever what it needed then. Only
/// glibc has to be told: it would keep buffers of a megabyte as it keeps small
/// ones once it has seen one freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn give_back_what_is_freed() {
    const THRESHOLD: libc::c_int = 128 << 10;
    // SAFETY: this sets a number, while there is one thread. If it fails,
    // memory is kept.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn give_back_what_is_freed() {}

/// SIGTERM and SIGINT mean what [`ToWorker::Stop`] means.
fn on_termination(stop: impl Fn() + Send + 'static) -> Result<(), Failure> {
    daemon::on_signals(&[Signal::Terminate], move |_| stop())?;
    Ok(())
}

/// Random bits for what must be different every time.
fn entropy() -> Result<u64, Failure> {
    let random = getrandom::u64();
    random.map_err(|error| Failure::Thread(io::Error::other(error)))
}

/// The time, in the machines' unit.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(self) -> Millis {
        Millis(millis(self.0.elapsed()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

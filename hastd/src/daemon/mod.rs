//! hastd's parent process: configuration, roles, control socket, handshakes,
//! workers, hooks, log. Facts: spec/hast-behaviour.md sections 1, 2, 9, 12.
//!
//! One thread in one loop around poll(2), which waits for nobody: not for a
//! peer, a resolver, a client of the control socket, a hook or a worker. What
//! may take its time is a process or a thread of its own, and reports.
//!
//! | module | what |
//! |---|---|
//! | `options`, `start` | from the command line to the loop |
//! | `poll`, `signals`, `waker` | what the loop waits for |
//! | `resource` | the role of a resource, as a machine without sockets |
//! | `unit`, `resources` | one resource with its worker, and all of them |
//! | `children` | worker processes |
//! | `requests` | what clients of the control socket want |
//! | `listen`, `greet`, `admit` | peers that connect to us |
//! | `endpoint`, `acl`, `dial` | addresses, and connections to peers |
//! | `inquire` | whether the other node agrees |
//! | `reload` | another configuration |
//! | `hooks` | hook programs |
//! | `limit` | lines of the log that strangers cause |

mod acl;
mod admit;
mod children;
mod dial;
mod endpoint;
mod greet;
mod hooks;
mod inquire;
pub(crate) mod limit;
mod listen;
mod options;
pub(crate) mod poll;
mod reload;
mod requests;
pub(crate) mod resource;
mod resources;
mod signals;
mod start;
mod unit;
mod waker;

pub use options::PROGRAM;
pub use start::main;

use crate::config::Config;
use crate::control::reply::Answer;
use crate::control::server::{Server, Ticket};
use crate::ipc::Sandbox;
use crate::log::{self, Level};
use crate::socket::PrivateSocket;
use acl::Access;
use children::Binary;
use dial::Dialer;
use ggate::errno::words;
use greet::Strangers;
use hooks::Hooks;
use inquire::Inquirer;
use listen::{Listener, Place};
use nix::errno::Errno;
use nix::poll::PollFlags;
use poll::{Interests, Source};
use reload::{Files, Reader};
use resources::Resources;
use signals::{Signal, Signals};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use waker::Bell;

/// Pause after a failed accept: descriptors are short, say.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted at once, so that a flood does not hold up the rest.
const MOST_ACCEPTED: usize = 32;

/// Time that clients have to take their answers when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a daemon begins with.
struct Setup {
    /// The configuration.
    config: Config,
    /// What workers run.
    binary: Binary,
    /// Whom workers become, if they give their privileges up.
    sandbox: Option<Sandbox>,
    /// Workers and hooks may write to the terminal.
    foreground: bool,
    /// Where all that is from.
    files: Files,
}

/// Why a daemon cannot begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The control socket.
    #[error("Unable to listen on control address uds://{}: {}", path.display(), words(source))]
    Control {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket for peers.
    #[error("Unable to listen on address {address}: {}", words(source))]
    Listen {
        /// As configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Something that always works.
    #[error("{}", words(.0))]
    System(#[from] io::Error),
}

/// The parent process.
struct Daemon {
    resources: Resources,
    around: Around,
    control: Server,
    listeners: Vec<Listener>,
    /// Accepting failed: not before this.
    paused: Option<Instant>,
    strangers: Strangers,
    access: Access,
    signals: Signals,
    bell: Bell,
    files: Files,
    reader: Reader,
    /// Since when it ends.
    ending: Option<Instant>,
}

/// What resources need of the daemon.
struct Around {
    binary: Binary,
    sandbox: Option<Sandbox>,
    foreground: bool,
    hooks: Hooks,
    dialer: Dialer,
    inquirer: Inquirer,
    /// A process has ended.
    reap: bool,
    answers: Vec<(Ticket, Answer)>,
}

impl Around {
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answers.push((ticket, answer));
    }

    /// What a worker begins with: the program, for its helpers, and where its
    /// last words go, should it panic.
    fn inheritance(&self) -> io::Result<Vec<OwnedFd>> {
        let stderr = self
            .foreground
            .then(|| io::stderr().as_fd().try_clone_to_owned());
        let program = self.binary.share()?;
        Ok([Some(program), stderr.transpose()?]
            .into_iter()
            .flatten()
            .collect())
    }
}

impl Daemon {
    /// Listens. Clients are served by [`Daemon::run`].
    fn new(setup: Setup) -> Result<Self, StartError> {
        let Config {
            control,
            control_mode,
            listen,
            resources,
            ..
        } = setup.config;
        let socket =
            PrivateSocket::bind(&control, control_mode).map_err(|source| StartError::Control {
                path: control,
                source,
            })?;
        let listeners = listen.into_iter().map(|address| {
            Place::find(&address)
                .and_then(|place| Listener::bind(&address, place))
                .map_err(|source| StartError::Listen { address, source })
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        let (bell, waker) = Bell::new()?;
        let mut daemon = Self {
            resources: Resources::new(resources, setup.sandbox.is_some()),
            around: Around {
                binary: setup.binary,
                sandbox: setup.sandbox,
                foreground: setup.foreground,
                hooks: Hooks::new(setup.foreground),
                dialer: Dialer::new(waker.clone()),
                inquirer: Inquirer::new(waker.clone()),
                reap: false,
                answers: Vec::new(),
            },
            control: Server::new(socket),
            listeners,
            paused: None,
            strangers: Strangers::new(),
            access: Access::new(),
            signals: Signals::of_children()?,
            bell,
            files: setup.files,
            reader: Reader::new(waker),
            ending: None,
        };
        daemon.know_remotes();
        Ok(daemon)
    }

    /// From now on signals are obeyed.
    fn obey_signals(&mut self) -> io::Result<()> {
        self.signals = Signals::all()?;
        Ok(())
    }

    /// Those of the configuration that everything is on its way to.
    fn know_remotes(&mut self) {
        let units = self.resources.iter();
        self.access
            .set(units.filter_map(|unit| unit.planned.remote.as_deref()));
    }

    /// Serves until the daemon was told to end and has.
    fn run(&mut self) -> Result<(), Errno> {
        loop {
            let mut interests = Interests::default();
            self.interests(&mut interests);
            let ready = interests.wait()?;
            let now = Instant::now();
            for (source, flags) in ready {
                self.handle(source, flags, now);
            }
            self.attend(now);
            if self.has_ended(now) {
                return Ok(());
            }
        }
    }

    fn interests<'fd>(&'fd self, interests: &mut Interests<'fd>) {
        let (signals, flags) = self.signals.interest();
        interests.add(Source::Signals, signals, flags);
        let (bell, flags) = self.bell.interest();
        interests.add(Source::Threads, bell, flags);
        self.control.interests(interests);
        if self.paused.is_none() {
            for (number, listener) in self.listeners.iter().enumerate() {
                interests.add(
                    Source::Listener(number),
                    listener.as_fd(),
                    PollFlags::POLLIN,
                );
            }
        }
        interests.until(self.paused);
        self.strangers.interests(interests);
        self.resources.interests(interests);
        interests.until(self.around.hooks.due());
        // Workers may take longer to end than clients have.
        let farewell = self.ending.map(|since| since + FAREWELL);
        interests.until(farewell.filter(|due| Instant::now() < *due));
    }

    fn handle(&mut self, source: Source, flags: PollFlags, now: Instant) {
        match source {
            Source::Signals => {
                for signal in self.signals.pending() {
                    self.signalled(signal, now);
                }
            }
            Source::Threads => self.bell.silence(),
            Source::Control => self.control.accept(now),
            Source::Client(id) => {
                if let Some(request) = self.control.ready(id, flags, now) {
                    self.obey(request, now);
                }
            }
            Source::Listener(number) => self.accept(number, now),
            Source::Stranger(id) => {
                if let Some((visitor, message)) = self.strangers.ready(id) {
                    self.admit(visitor, &message, now);
                }
            }
            Source::Caller(id) => {
                if let Some(unit) = self.resources.get(id) {
                    unit.caller_moved();
                }
            }
            Source::Worker(id) => {
                if let Some(unit) = self.resources.get(id) {
                    unit.converse(now, &mut self.around);
                }
            }
        }
    }

    /// What is due, and what came of all that was done.
    fn attend(&mut self, now: Instant) {
        self.paused = self.paused.filter(|until| now < *until);
        self.strangers.expire(now);
        self.finish_reload(now);
        for dialled in self.around.dialer.dialled() {
            if let Some(unit) = self.resources.get(dialled.unit) {
                unit.connected(dialled.attempt, dialled.result);
            }
        }
        for (ticket, findings) in self.around.inquirer.found() {
            self.around.answer(ticket, Answer::Report(findings));
        }
        self.resources.attend(now, &mut self.around);
        self.around.hooks.attend(now);
        self.around.reap = false;
        for (ticket, answer) in std::mem::take(&mut self.around.answers) {
            self.control.fill(ticket, answer, now);
        }
        self.control.expire(now);
    }

    /// Lets strangers in.
    fn accept(&mut self, number: usize, now: Instant) {
        for _ in 0..MOST_ACCEPTED {
            let Some(listener) = self.listeners.get(number) else {
                return;
            };
            match listener.accept() {
                Ok((socket, origin, to)) => self.welcome(socket, origin, &to, now),
                Err(error) => {
                    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
                    if let WouldBlock | ConnectionAborted | Interrupted = error.kind() {
                        return;
                    }
                    let line = format_args!("{}: accept(): {}.", listener.address, words(&error));
                    self.strangers.complaints.log(Level::Error, line);
                    self.paused = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, socket: socket2::Socket, origin: greet::Origin, to: &str, now: Instant) {
        let mut units = self.resources.iter();
        if units.any(|unit| self.access.allows(unit.config.remote.as_deref(), origin)) {
            log::debug!(1, "Connection from {origin} to {to}.");
            self.strangers.insert(socket, origin, now);
        } else {
            let line =
                format_args!("{origin} turned away: it is not the `remote` of any resource.");
            self.strangers.complaints.log(Level::Error, line);
            self.access.doubt();
        }
    }

    fn signalled(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Terminate => {
                log::info!("Termination signal received, exiting.");
                self.end(now);
            }
            Signal::Reload => self.reload(),
            Signal::Report => self.tell(now),
            Signal::Child => self.around.reap = true,
        }
    }

    /// Says what goes on.
    fn tell(&self, now: Instant) {
        self.resources.tell(now);
        log::info!(
            "{} resources, {} connections without a message, {} clients, {}.",
            self.resources.iter().count(),
            self.strangers.count(),
            self.control.count(),
            self.around.hooks
        );
    }

    /// Lets nobody in any more and stops all workers.
    fn end(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(now);
        self.control.close();
        self.listeners.clear();
        self.strangers = Strangers::new();
        self.around.hooks.end();
        self.resources.end(now, &mut self.around);
    }

    fn has_ended(&self, now: Instant) -> bool {
        let Some(since) = self.ending else {
            return false;
        };
        let farewell = now >= since + FAREWELL || !self.control.is_answering();
        self.resources.are_idle() && farewell
    }
}

//! The housekeeper: one thread per process that does whatever must not be done
//! in START and DONE. It accepts, negotiates, sends replies that had to wait,
//! looks at the age of requests, and starts the answers to other processes.

use super::control;
use super::gate::{Gate, Inside};
use super::reader::MAX_CONNECTIONS;
use super::rundir::{MAX_UNITS, RunDir};
use super::waker::Waker;
use crate::gate::Unit;
use crate::nbd::conn::Conn;
use crate::nbd::negotiate::{Negotiation, Progress};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use parking_lot::RwLock;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How long a handshake may take; NBD clients send theirs in one burst.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long nobody is accepted after accept(2) failed, for example for want of
/// descriptors: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often gates are looked at that need it. Ages count in whole seconds.
const TICK: Duration = Duration::from_secs(1);

/// Socket buffers of a client: a whole large reply, so that it leaves with one
/// system call while the last one is being read. The system may grant less.
const SOCKET_BUFFER: usize = 2 << 20;

/// Commands of other processes at the same time (one more per further gate),
/// each on a thread of its own; who comes later waits to be accepted.
const MAX_COMMANDS: usize = 8;

/// What the threads of a process share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) rundir: RunDir,
    gates: RwLock<Vec<Option<Arc<Gate>>>>,
    pub(super) waker: Arc<Waker>,
    stop: AtomicBool,
    commands: AtomicUsize,
}

impl Host {
    pub(super) fn new(rundir: RunDir) -> nix::Result<Self> {
        let units = usize::try_from(MAX_UNITS).map_err(|_| Errno::EINVAL)?;
        Ok(Self {
            rundir,
            gates: RwLock::new(vec![None; units]),
            waker: Arc::new(Waker::new()?),
            stop: AtomicBool::new(false),
            commands: AtomicUsize::new(0),
        })
    }

    fn index(unit: Unit) -> usize {
        usize::try_from(unit.0).unwrap_or(usize::MAX)
    }

    pub(super) fn gate(&self, unit: Unit) -> Option<Arc<Gate>> {
        self.gates.read().get(Self::index(unit))?.clone()
    }

    /// Enters a gate for a call that its end must wait for.
    pub(super) fn enter(&self, unit: Unit) -> Option<Inside> {
        let gates = self.gates.read();
        let gate = gates.get(Self::index(unit))?.clone()?;
        Some(Inside::new(gate))
    }

    pub(super) fn insert(&self, gate: Arc<Gate>) {
        let index = Self::index(gate.properties.unit);
        if let Some(slot) = self.gates.write().get_mut(index) {
            *slot = Some(gate);
        }
        self.waker.wake();
    }

    /// Takes a gate off the map, if `may` it go: nobody enters any more.
    pub(super) fn take(
        &self,
        unit: Unit,
        may: impl FnOnce(&Gate) -> nix::Result<()>,
    ) -> nix::Result<Arc<Gate>> {
        let mut gates = self.gates.write();
        let slot = gates.get_mut(Self::index(unit)).ok_or(Errno::ENXIO)?;
        may(slot.as_ref().ok_or(Errno::ENXIO)?)?;
        let gate = slot.take().ok_or(Errno::ENXIO)?;
        drop(gates);
        self.waker.wake();
        Ok(gate)
    }

    pub(super) fn gates(&self) -> Vec<Arc<Gate>> {
        self.gates.read().iter().flatten().cloned().collect()
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, SeqCst);
        self.waker.wake();
    }
}

/// A connection in its handshake.
struct Guest {
    gate: Arc<Gate>,
    stream: UnixStream,
    negotiation: Negotiation,
    deadline: Instant,
}

/// What a descriptor in the poll set belongs to.
enum Source {
    Waker,
    Door(Arc<Gate>),
    Control(Arc<Gate>),
    Stalled(Arc<Gate>, Arc<Conn>),
    Guest(usize),
}

/// Runs until [`Host::stop`].
pub(super) fn run(host: &Arc<Host>) {
    let mut guests = Vec::new();
    let mut no_accept_until = None;
    while !host.stop.load(SeqCst) {
        host.waker.begin();
        let now = Instant::now();
        if no_accept_until.is_some_and(|until| until <= now) {
            no_accept_until = None;
        }
        guests.retain(|guest: &Guest| !guest.gate.has_ended() && now < guest.deadline);
        let gates = host.gates();
        for gate in &gates {
            gate.housekeeping(now);
        }
        let ready = wait(host, &gates, &guests, no_accept_until.is_none());
        let mut done = Vec::new();
        for source in ready {
            match source {
                Source::Waker => {}
                Source::Door(gate) => {
                    if !accept_guest(gate, &mut guests) {
                        no_accept_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                }
                Source::Control(gate) => {
                    if !accept_command(host, &gate) {
                        no_accept_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                }
                Source::Stalled(gate, conn) => gate.resume(&conn),
                Source::Guest(index) => done.push(index),
            }
        }
        // From the end, so that the indices stay true.
        for index in done.into_iter().rev() {
            serve_guest(&mut guests, index);
        }
    }
}

/// Sleeps until there is something to do, and says what.
fn wait(host: &Host, gates: &[Arc<Gate>], guests: &[Guest], accepting: bool) -> Vec<Source> {
    let mut sources = vec![Source::Waker];
    for gate in gates {
        if accepting {
            sources.push(Source::Door(gate.clone()));
        }
        // Whoever has to wait for its turn must not take us for dead.
        if accepting && host.commands.load(SeqCst) < MAX_COMMANDS {
            sources.push(Source::Control(gate.clone()));
        }
        let stalled = gate.stalled().into_iter();
        sources.extend(stalled.map(|conn| Source::Stalled(gate.clone(), conn)));
    }
    sources.extend((0..guests.len()).map(Source::Guest));
    let mut fds: Vec<PollFd<'_>> = sources
        .iter()
        .map(|source| match source {
            Source::Waker => PollFd::new(host.waker.as_fd(), PollFlags::POLLIN),
            Source::Door(gate) => PollFd::new(gate.doors.clients.as_fd(), PollFlags::POLLIN),
            Source::Control(gate) => PollFd::new(gate.doors.control.as_fd(), PollFlags::POLLIN),
            Source::Stalled(_, conn) => PollFd::new(conn.as_fd(), PollFlags::POLLOUT),
            Source::Guest(index) => guests[*index].poll_fd(),
        })
        .collect();
    let ticking = !guests.is_empty() || gates.iter().any(|gate| gate.needs_housekeeping());
    let timeout = if !accepting {
        ACCEPT_PAUSE.try_into().unwrap_or(PollTimeout::ZERO)
    } else if ticking {
        TICK.try_into().unwrap_or(PollTimeout::ZERO)
    } else {
        PollTimeout::NONE
    };
    let may_sleep = host.waker.may_sleep();
    let timeout = if may_sleep {
        timeout
    } else {
        PollTimeout::ZERO
    };
    // A signal: look again.
    let polled = poll(&mut fds, timeout);
    let ready: Vec<bool> = fds
        .iter()
        .map(|fd| polled.is_ok() && fd.any().unwrap_or(true))
        .collect();
    drop(fds);
    host.waker.slept(ready[0]);
    let mut ready = ready.into_iter();
    sources.retain(|_| ready.next().unwrap_or(false));
    sources
}

/// Accepts one client. False when that failed in a way that will repeat.
fn accept_guest(gate: Arc<Gate>, guests: &mut Vec<Guest>) -> bool {
    let stream = match accept(&gate.doors.clients) {
        Ok(Some(stream)) => stream,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let own = guests
        .iter()
        .filter(|guest| Arc::ptr_eq(&guest.gate, &gate));
    if gate.connections() + own.count() >= MAX_CONNECTIONS || stream.set_nonblocking(true).is_err()
    {
        return true;
    }
    // Smaller buffers work as well.
    let _ = setsockopt(&stream, sockopt::SndBuf, &SOCKET_BUFFER);
    let _ = setsockopt(&stream, sockopt::RcvBuf, &SOCKET_BUFFER);
    guests.push(Guest {
        gate,
        stream,
        negotiation: Negotiation::new(),
        deadline: Instant::now() + HANDSHAKE_TIME,
    });
    serve_guest(guests, guests.len() - 1);
    true
}

fn accept(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Goes on with a handshake as far as it goes.
fn serve_guest(guests: &mut Vec<Guest>, index: usize) {
    match guests[index].advance() {
        Progress::More => {}
        Progress::Close => drop(guests.swap_remove(index)),
        Progress::Ready {
            structured,
            leftover,
        } => {
            let guest = guests.swap_remove(index);
            let unsent = guest.negotiation.output().to_vec();
            let conn = Conn::new(guest.stream, structured, unsent);
            guest.gate.arrive(conn, &leftover);
        }
    }
}

impl Guest {
    /// A client that does not take our answers is not listened to either.
    fn poll_fd(&self) -> PollFd<'_> {
        let events = if self.negotiation.output().is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLOUT
        };
        PollFd::new(self.stream.as_fd(), events)
    }

    fn advance(&mut self) -> Progress {
        let mut bytes = [0; 4096];
        loop {
            if !self.send() {
                return Progress::Close;
            }
            if !self.negotiation.output().is_empty() {
                return Progress::More;
            }
            let count = match self.stream.read(&mut bytes) {
                Ok(0) => return Progress::Close,
                Ok(count) => count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Progress::More,
                    io::ErrorKind::Interrupted => continue,
                    _ => return Progress::Close,
                },
            };
            let progress = self.negotiation.feed(&bytes[..count], &self.gate.export());
            match progress {
                Progress::More => {}
                // Who is told that it is in must be counted as one who is:
                // that is for the gate to send.
                Progress::Ready { .. } => return progress,
                Progress::Close => {
                    // ABORT is acknowledged, as far as the socket takes it.
                    self.send();
                    return progress;
                }
            }
        }
    }

    /// False when the client is gone.
    fn send(&mut self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !self.negotiation.output().is_empty() {
            match send(self.stream.as_raw_fd(), self.negotiation.output(), flags) {
                Ok(count) => self.negotiation.sent(count),
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Starts the answer to another process. False as for [`accept_guest`].
fn accept_command(host: &Arc<Host>, gate: &Gate) -> bool {
    let stream = match accept(&gate.doors.control) {
        Ok(Some(stream)) => stream,
        Ok(None) => return true,
        Err(_) => return false,
    };
    host.commands.fetch_add(1, SeqCst);
    let unit = gate.properties.unit;
    let answering = host.clone();
    let thread = std::thread::Builder::new().name("ggctl".into());
    let spawned = thread.spawn(move || {
        control::answer(&answering, unit, &stream);
        if answering.commands.fetch_sub(1, SeqCst) == MAX_COMMANDS {
            answering.waker.wake();
        }
    });
    if spawned.is_err() {
        host.commands.fetch_sub(1, SeqCst);
    }
    spawned.is_ok()
}

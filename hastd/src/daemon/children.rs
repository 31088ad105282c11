//! Worker processes: started from the binary that runs, spoken to over their
//! one socket, and noticed when they end.
//!
//! A worker reads what the network sends. What it says is bounded, and one
//! that says what makes no sense is killed.

use crate::ipc::{Channel, ChannelError, FromWorker, Received, Receiver, ToWorker};
use ggate::daemon::Exec;
use nix::poll::PollFlags;
use std::fmt::{self, Display};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time a process has to end after it has closed its socket.
const ENDING: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // waitpid(2) gives nothing else for a process that has ended.
            (None, None) => Self::Code(-1),
        }
    }
}

impl Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// The program that is running, to be run again as a worker. Opened once: an
/// upgrade in between cannot mix versions.
#[derive(Debug)]
pub(super) struct Binary(File);

impl Binary {
    /// The running program.
    pub(super) fn own() -> io::Result<Self> {
        Ok(Self(File::open(std::env::current_exe()?)?))
    }

    /// A descriptor of it, to be passed on.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Runs it under this name, with the socket as descriptor 0.
    fn run(&self, title: &str, socket: UnixStream) -> io::Result<Child> {
        Exec::new(&self.0, [title.into()])?
            .command(title)
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

/// A process and the channel to it.
pub(super) struct Worker {
    process: Child,
    channel: Channel,
    receiver: Receiver,
    /// Since when nothing can be heard of it any more.
    closed: Option<Instant>,
}

impl Worker {
    pub(super) fn start(binary: &Binary, title: &str) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok(Self {
            process: binary.run(title, theirs)?,
            channel: Channel::new(ours),
            receiver: Receiver::default(),
            closed: None,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its socket and what to wait for there, unless it is closed.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, self.channel.is_waiting());
        let socket = self.channel.socket().as_fd();
        self.closed.is_none().then_some((socket, flags))
    }

    /// Whether it reads what it is told.
    pub(super) fn listens(&self) -> bool {
        self.closed.is_none() && !self.channel.is_waiting()
    }

    /// Tells it something; gives the reason why it can be told nothing more.
    pub(super) fn tell(
        &mut self,
        message: &ToWorker,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ChannelError> {
        if self.closed.is_some() {
            // Its end will be noticed.
            return Ok(());
        }
        let told = self.channel.send(message, descriptors);
        self.check(told)
    }

    /// Reads what is there, once, and sends what waits. Messages go to `out`.
    pub(super) fn converse(
        &mut self,
        out: &mut Vec<Received<FromWorker>>,
    ) -> Result<(), ChannelError> {
        let heard = self.hear(out);
        let told = match self.channel.flush() {
            // What it said before it ended is still to be read.
            Err(ChannelError::Ended) => Ok(()),
            told => told,
        };
        self.check(heard.and(told))
    }

    /// Reads what it said before it ended.
    pub(super) fn last_words(&mut self, out: &mut Vec<Received<FromWorker>>) {
        // A socket's buffer bounds it: nobody writes any more.
        while self.closed.is_none() && self.converse(out).is_ok() {}
    }

    fn hear(&mut self, out: &mut Vec<Received<FromWorker>>) -> Result<(), ChannelError> {
        self.receiver.read(self.channel.socket().as_fd())?;
        while let Some(message) = self.receiver.take()? {
            out.push(message);
        }
        Ok(())
    }

    /// After an error nothing is said any more. A process that goes on
    /// although it talks nonsense, or does not listen, is killed.
    fn check(&mut self, result: Result<(), ChannelError>) -> Result<(), ChannelError> {
        let Err(error) = result else { return Ok(()) };
        self.closed = Some(Instant::now());
        if let ChannelError::Ended = error {
            return Ok(());
        }
        self.kill();
        Err(error)
    }

    /// When to look after it although it says nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        self.closed.map(|closed| closed + ENDING)
    }

    /// How it ended, if it has. Kills one that has closed its socket long ago.
    pub(super) fn try_wait(&mut self, now: Instant) -> Option<Exit> {
        if self.due().is_some_and(|due| now >= due) {
            self.kill();
            self.closed = Some(now);
        }
        // An error means that it is no child of ours (any more).
        match self.process.try_wait() {
            Ok(status) => status.map(Exit::from),
            Err(_) => Some(Exit::Code(-1)),
        }
    }

    pub(super) fn kill(&mut self) {
        // It fails for one that has ended and was waited for.
        let _ = self.process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::Event;
    use std::io::Write as _;
    use std::process::Command;
    use testkit::process::wait_for;

    /// A worker that does nothing, and the far end of its channel.
    fn worker(program: &str, argument: &str) -> (Worker, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let worker = Worker {
            process: Command::new(program).arg(argument).spawn().unwrap(),
            channel: Channel::new(ours),
            receiver: Receiver::default(),
            closed: None,
        };
        (worker, theirs)
    }

    fn wait(worker: &mut Worker) -> Exit {
        wait_for("the worker's end", || worker.try_wait(Instant::now()))
    }

    #[test]
    fn one_that_talks_nonsense_is_killed() {
        let (mut worker, mut theirs) = worker("sleep", "60");
        theirs.write_all(b"\xff\xff\xff\xff\xff nonsense").unwrap();
        let mut out = Vec::new();
        assert!(worker.converse(&mut out).is_err());
        assert!(out.is_empty() && worker.interest().is_none());
        assert_eq!(wait(&mut worker), Exit::Signal(9));
    }

    #[test]
    fn one_that_does_not_listen_is_killed() {
        let (mut worker, _theirs) = worker("sleep", "60");
        let question = ToWorker::Status { question: 1 };
        while worker.tell(&question, Vec::new()).is_ok() {
            assert!(worker.interest().is_some());
        }
        assert_eq!(wait(&mut worker), Exit::Signal(9));
    }

    #[test]
    fn last_words_are_heard() {
        let (mut worker, theirs) = worker("sh", "-c");
        let mut theirs = Channel::new(theirs);
        for _ in 0..100 {
            let event = FromWorker::Event(Event::SyncInterrupted);
            theirs.send(&event, Vec::new()).unwrap();
        }
        drop(theirs);
        assert_eq!(wait(&mut worker), Exit::Code(2));
        let mut out = Vec::new();
        worker.last_words(&mut out);
        assert_eq!(out.len(), 100);
    }

    #[test]
    fn one_that_only_closes_its_socket_is_killed_later() {
        let (mut worker, theirs) = worker("sleep", "60");
        drop(theirs);
        wait_for("the end of the socket", || {
            worker.converse(&mut Vec::new()).unwrap();
            worker.interest().is_none().then_some(())
        });
        let now = Instant::now();
        assert_eq!(worker.try_wait(now), None);
        assert!(worker.due().unwrap() <= now + ENDING);
        let exit = wait_for("the worker's end", || worker.try_wait(now + ENDING));
        assert_eq!(exit, Exit::Signal(9));
    }
}

//! The worker's side of the channel to the daemon.

use crate::ipc::{Channel, Event, FromWorker, Level};
use crate::log;
use ggate::disk::Op;
use ggate::range::ByteRange;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use socket2::Socket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Time between two lines about the same trouble.
const COMPLAINTS: Duration = Duration::from_secs(1);

/// How long a daemon that does not read may hold up the end of a worker.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Longest line of a log, in bytes: what syslog takes.
const LONGEST_LINE: usize = 1023;

/// What tells the daemon things, from any thread, and waits for it only where
/// it is asked for a connection.
pub(super) struct Parent {
    channel: Mutex<Channel>,
    connecting: Mutex<Connecting>,
    answered: Condvar,
    complaints: Complaints,
}

/// Lines that may come too fast: a broken disk fails every request, and a
/// hostile peer sends what it likes. One is told from time to time, the others
/// are counted.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Untold>);

#[derive(Default)]
struct Untold {
    last: Option<Instant>,
    count: u64,
}

impl Complaints {
    /// Whether a line is due, and what to put behind it about those before.
    pub(super) fn due(&self) -> Option<String> {
        let mut untold = self.0.lock();
        let now = Instant::now();
        if untold.last.is_some_and(|last| now - last < COMPLAINTS) {
            untold.count += 1;
            return None;
        }
        untold.last = Some(now);
        Some(match std::mem::take(&mut untold.count) {
            0 => String::new(),
            count => format!(" (and {count} more before)"),
        })
    }
}

#[derive(Default)]
struct Connecting {
    attempt: u64,
    answer: Option<Result<Socket, String>>,
}

impl Parent {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel: Mutex::new(channel),
            connecting: Mutex::default(),
            answered: Condvar::new(),
            complaints: Complaints::default(),
        }
    }

    /// Never waits: a daemon that is gone is noticed where it is listened to,
    /// and one that does not read loses what it does not read.
    pub(super) fn tell(&self, message: &FromWorker) {
        let _ = self.channel.lock().send(message, Vec::new());
    }

    /// Sends what had to wait.
    pub(super) fn flush(&self) {
        let _ = self.channel.lock().flush();
    }

    /// Tells all that is to be told, before the end.
    pub(super) fn drain(&self) {
        let _ = self.channel.lock().drain(LAST_WORDS);
    }

    /// What [`crate::log`] does in a worker.
    pub(super) fn log(&self, level: Level, text: &str) {
        let longest = (0..=LONGEST_LINE).rev().find_map(|n| text.get(..n));
        let text = longest.unwrap_or(text).to_owned();
        self.tell(&FromWorker::Log { level, text });
    }

    /// An error of the component.
    pub(super) fn complain(&self, path: &str, op: Op, range: ByteRange, errno: Errno) {
        let Some(others) = self.complaints.due() else {
            return;
        };
        let what = match op {
            Op::Read => "READ",
            Op::Write => "WRITE",
            Op::Flush => "FLUSH",
            Op::Delete => "DELETE",
        };
        let error = errno.desc();
        log::error!("{path}: {what} of {range} failed: {error}{others}.");
    }

    pub(super) fn event(&self, event: Event) {
        self.tell(&FromWorker::Event(event));
    }

    /// Asks for a connection to the other node; gives up when `hopeless` says
    /// so or the time is over.
    pub(super) fn connect(
        &self,
        patience: Duration,
        hopeless: impl Fn() -> bool,
    ) -> Result<Socket, String> {
        /// How often to ask whether it is hopeless.
        const LOOK: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + patience;
        let mut connecting = self.connecting.lock();
        connecting.attempt += 1;
        connecting.answer = None;
        let attempt = connecting.attempt;
        self.tell(&FromWorker::Connect { attempt });
        loop {
            if let Some(answer) = connecting.answer.take() {
                return answer;
            }
            if hopeless() || Instant::now() >= deadline {
                return Err("the attempt took too long".into());
            }
            self.answered.wait_for(&mut connecting, LOOK);
        }
    }

    /// The daemon's answer; one to an attempt that was given up is closed.
    pub(super) fn connected(&self, attempt: u64, answer: Result<OwnedFd, String>) {
        let mut connecting = self.connecting.lock();
        if connecting.attempt == attempt {
            connecting.answer = Some(answer.map(Socket::from));
            self.answered.notify_all();
        }
    }
}

//! Messages for people: to syslog or, in the foreground, to standard output.
//!
//! `spec/ggate-wire-and-cli.md` section 14: with `-v` every line goes to
//! standard output behind `error: `, `warning: `, `notice: `, `info: ` or
//! `debug: `; otherwise to syslog, facility user, ident = program name, and
//! nothing of priority debug. Base has told a terminal nothing once it uses
//! syslog; here errors reach the terminal too until the daemon has left it
//! ([`Sink::Starting`]).
//!
//! Logging never fails, and never waits for a syslog daemon: a message that
//! nobody takes is dropped. The lock is held for the write of one line.

use parking_lot::Mutex;
use std::fmt::{self, Arguments, Display, Write as _};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

/// How long after a failure to reach syslog nobody tries again.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// Something failed.
    Error,
    /// Something is not as it should be; the work goes on.
    Warning,
    /// Rare and normal, worth knowing.
    Notice,
    /// The course of things.
    Info,
    /// Only in the foreground.
    Debug,
}

impl Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// Where messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sink {
    /// A daemon that has not left its terminal: syslog, and errors to standard
    /// error as well, `PROGRAM: message`. Also the state before [`start`].
    Starting,
    /// Standard output, every priority, each behind its name.
    Foreground,
    /// Syslog only.
    Syslog,
}

struct State {
    program: &'static str,
    sink: Sink,
    syslog: Syslog,
}

static STATE: Mutex<State> = Mutex::new(State {
    program: "",
    sink: Sink::Starting,
    syslog: Syslog {
        connection: None,
        failed: None,
    },
});

/// Whether debug messages go anywhere; read before anything is formatted.
static DEBUG: AtomicBool = AtomicBool::new(false);

/// Says who logs and where to. Called once, first thing in `main`.
pub fn start(program: &'static str, sink: Sink) {
    STATE.lock().program = program;
    switch(sink);
}

/// Sends what follows to `sink`.
pub fn switch(sink: Sink) {
    STATE.lock().sink = sink;
    DEBUG.store(sink == Sink::Foreground, Ordering::Relaxed);
}

/// Forgets the connection to syslog, whose lines carry the id of the process
/// that opened it. For the child after a fork.
pub(crate) fn forked() {
    STATE.lock().syslog.connection = None;
}

/// Writes one message; the macros of this module call it.
pub fn write(priority: Priority, message: Arguments<'_>) {
    if priority == Priority::Debug && !DEBUG.load(Ordering::Relaxed) {
        return;
    }
    let mut state = STATE.lock();
    match state.sink {
        Sink::Foreground => {
            // Whoever reads standard output may be gone; that is no reason to stop serving.
            let _ = std::io::stdout().write_all(line(priority, message).as_bytes());
        }
        Sink::Starting => {
            if priority == Priority::Error {
                let _ = writeln!(std::io::stderr(), "{}: {message}", state.program);
            }
            state.tell_syslog(priority, message);
        }
        Sink::Syslog => state.tell_syslog(priority, message),
    }
}

/// Logs why the program ends, a second line saying that it does, and gives the
/// exit status for `main` to return.
pub fn fatal(why: impl Display) -> ExitCode {
    write(Priority::Error, format_args!("{why}"));
    write(Priority::Error, format_args!("Exiting."));
    ExitCode::FAILURE
}

/// A foreground line, whole, so that it is one write.
fn line(priority: Priority, message: Arguments<'_>) -> String {
    let mut line = String::with_capacity(128);
    let _ = writeln!(line, "{priority}: {message}");
    line
}

impl State {
    fn tell_syslog(&mut self, priority: Priority, message: Arguments<'_>) {
        if priority != Priority::Debug {
            self.syslog.send(self.program, priority, message);
        }
    }
}

/// A line for the local syslog daemon, which adds the time itself. The crate's
/// `Formatter3164` puts UTC where FreeBSD's syslogd expects local time.
#[derive(Clone)]
struct Format {
    program: &'static str,
    pid: u32,
}

impl<T: Display> LogFormat<T> for Format {
    fn format<W: std::io::Write>(
        &self,
        out: &mut W,
        severity: Severity,
        message: T,
    ) -> syslog::Result<()> {
        let code = Facility::LOG_USER as u8 | severity as u8;
        write!(out, "<{code}>{}[{}]: {message}", self.program, self.pid)
            .map_err(syslog::Error::Write)
    }
}

type Connection = Logger<LoggerBackend, Format>;

/// The way to the local syslog daemon.
struct Syslog {
    connection: Option<Connection>,
    failed: Option<Instant>,
}

impl Syslog {
    /// Sends one message, over a new connection when the old one broke (the
    /// syslog daemon was restarted).
    fn send(&mut self, program: &'static str, priority: Priority, message: Arguments<'_>) {
        if let Some(connection) = &mut self.connection
            && send(connection, priority, message).is_ok()
        {
            return;
        }
        self.connection = None;
        if self.failed.is_some_and(|t| t.elapsed() < REOPEN_INTERVAL) {
            return;
        }
        self.connection = connect(program)
            .and_then(|mut c| send(&mut c, priority, message).map(|()| c))
            .ok();
        self.failed = self.connection.is_none().then(Instant::now);
    }
}

fn connect(program: &'static str) -> syslog::Result<Connection> {
    let pid = std::process::id();
    let logger = syslog::unix(Format { program, pid })?;
    // A stopped syslog daemon must not stop the disks.
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_nonblocking(true)?,
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_nonblocking(true)?,
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => {}
    }
    Ok(logger)
}

/// A full queue loses this message and keeps the connection.
fn send(
    Logger { formatter, backend }: &mut Connection,
    priority: Priority,
    message: Arguments<'_>,
) -> syslog::Result<()> {
    let result = match priority {
        Priority::Error => formatter.err(backend, message),
        Priority::Warning => formatter.warning(backend, message),
        Priority::Notice => formatter.notice(backend, message),
        Priority::Info => formatter.info(backend, message),
        Priority::Debug => formatter.debug(backend, message),
    };
    match result {
        Err(syslog::Error::Write(e)) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

/// Logs an error, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Priority::Error, format_args!($($arg)*)) };
}

/// Logs a warning, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Priority::Warning, format_args!($($arg)*)) };
}

/// Logs a notice, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_notice {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Priority::Notice, format_args!($($arg)*)) };
}

/// Logs the course of things, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Priority::Info, format_args!($($arg)*)) };
}

/// Logs a detail that only the foreground shows, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Priority::Debug, format_args!($($arg)*)) };
}

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_notice as notice,
    __log_warning as warning,
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_foreground_line_begins_with_its_priority() {
        for (priority, text) in [
            (Priority::Error, "error: disk gone\n"),
            (Priority::Warning, "warning: disk gone\n"),
            (Priority::Notice, "notice: disk gone\n"),
            (Priority::Info, "info: disk gone\n"),
            (Priority::Debug, "debug: disk gone\n"),
        ] {
            assert_eq!(line(priority, format_args!("disk {}", "gone")), text);
        }
    }

    /// A logger whose far end the test holds.
    fn socket_pair() -> (Connection, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let formatter = Format {
            program: "ggated",
            pid: 42,
        };
        (Logger::new(LoggerBackend::Unix(ours), formatter), theirs)
    }

    #[test]
    fn syslog_gets_facility_user_with_the_priority_and_the_ident() {
        let (mut logger, daemon) = socket_pair();
        let mut buf = [0; 256];
        for (priority, code) in [
            (Priority::Error, 8 + 3),
            (Priority::Warning, 8 + 4),
            (Priority::Notice, 8 + 5),
            (Priority::Info, 8 + 6),
        ] {
            send(&mut logger, priority, format_args!("session {}", 7)).unwrap();
            let n = daemon.recv(&mut buf).unwrap();
            let got = std::str::from_utf8(&buf[..n]).unwrap();
            assert_eq!(got, format!("<{code}>ggated[42]: session 7"));
        }
    }

    #[test]
    fn a_syslog_daemon_that_reads_nothing_stops_nobody() {
        let (mut logger, _daemon) = socket_pair();
        for i in 0..10_000 {
            send(&mut logger, Priority::Info, format_args!("message {i}")).unwrap();
        }
    }

    #[test]
    fn a_syslog_daemon_that_went_away_is_an_error_that_reopens() {
        let (mut logger, daemon) = socket_pair();
        drop(daemon);
        assert!(send(&mut logger, Priority::Info, format_args!("x")).is_err());
    }
}

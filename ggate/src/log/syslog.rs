//! The way to the local syslog daemon: opened when there is something to say,
//! and again after that daemon was restarted.

use super::Priority;
use std::fmt::{Arguments, Display};
use std::time::{Duration, Instant};
use syslog::{LogFormat, Logger, LoggerBackend, Severity};

pub use syslog::Facility;

/// How long after a failure to reach syslog nobody tries again.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// A line for the local syslog daemon, which adds the time itself. The crate's
/// `Formatter3164` puts UTC where FreeBSD's syslogd expects local time.
#[derive(Clone)]
struct Format {
    program: &'static str,
    facility: Facility,
    pid: u32,
}

impl<T: Display> LogFormat<T> for Format {
    fn format<W: std::io::Write>(
        &self,
        out: &mut W,
        severity: Severity,
        message: T,
    ) -> syslog::Result<()> {
        let code = self.facility as u8 | severity as u8;
        write!(out, "<{code}>{}[{}]: {message}", self.program, self.pid)
            .map_err(syslog::Error::Write)
    }
}

type Connection = Logger<LoggerBackend, Format>;

/// Sends lines to the local syslog daemon. Waits for nobody: a line that
/// nobody takes is dropped.
pub struct Syslog {
    facility: Facility,
    connection: Option<Connection>,
    failed: Option<Instant>,
}

impl Syslog {
    /// Nothing is opened before the first line.
    #[must_use]
    pub const fn new(facility: Facility) -> Self {
        Self {
            facility,
            connection: None,
            failed: None,
        }
    }

    /// Sends one line of this program, over a new connection when the old one
    /// broke.
    pub fn send(&mut self, program: &'static str, priority: Priority, message: Arguments<'_>) {
        if let Some(connection) = &mut self.connection
            && send(connection, priority, message).is_ok()
        {
            return;
        }
        self.connection = None;
        if self.failed.is_some_and(|t| t.elapsed() < REOPEN_INTERVAL) {
            return;
        }
        self.connection = self
            .connect(program)
            .and_then(|mut c| send(&mut c, priority, message).map(|()| c))
            .ok();
        self.failed = self.connection.is_none().then(Instant::now);
    }

    /// Closes the connection, whose lines carry the id of the process that
    /// opened it.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    fn connect(&self, program: &'static str) -> syslog::Result<Connection> {
        let logger = syslog::unix(Format {
            program,
            facility: self.facility,
            pid: std::process::id(),
        })?;
        // A stopped syslog daemon must not stop the disks.
        match &logger.backend {
            LoggerBackend::Unix(socket) => socket.set_nonblocking(true)?,
            LoggerBackend::UnixStream(stream) => stream.get_ref().set_nonblocking(true)?,
            LoggerBackend::Udp(..) | LoggerBackend::Tcp(_) => {}
        }
        Ok(logger)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A logger whose far end the test holds.
    fn socket_pair(facility: Facility) -> (Connection, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let formatter = Format {
            program: "ggated",
            facility,
            pid: 42,
        };
        (Logger::new(LoggerBackend::Unix(ours), formatter), theirs)
    }

    #[test]
    fn a_line_has_its_facility_with_the_priority_and_the_ident() {
        let mut buf = [0; 256];
        for (facility, base) in [(Facility::LOG_USER, 8), (Facility::LOG_DAEMON, 24)] {
            let (mut logger, daemon) = socket_pair(facility);
            for (priority, code) in [
                (Priority::Error, 3),
                (Priority::Warning, 4),
                (Priority::Notice, 5),
                (Priority::Info, 6),
                (Priority::Debug, 7),
            ] {
                send(&mut logger, priority, format_args!("session {}", 7)).unwrap();
                let n = daemon.recv(&mut buf).unwrap();
                let got = std::str::from_utf8(&buf[..n]).unwrap();
                assert_eq!(got, format!("<{}>ggated[42]: session 7", base + code));
            }
        }
    }

    #[test]
    fn a_syslog_daemon_that_reads_nothing_stops_nobody() {
        let (mut logger, _daemon) = socket_pair(Facility::LOG_USER);
        for i in 0..10_000 {
            send(&mut logger, Priority::Info, format_args!("message {i}")).unwrap();
        }
    }

    #[test]
    fn a_syslog_daemon_that_went_away_is_an_error_that_reopens() {
        let (mut logger, daemon) = socket_pair(Facility::LOG_USER);
        drop(daemon);
        assert!(send(&mut logger, Priority::Info, format_args!("x")).is_err());
    }
}

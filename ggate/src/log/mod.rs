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

mod syslog;

pub use self::syslog::{Facility, Syslog};

use parking_lot::Mutex;
use std::fmt::{self, Arguments, Display, Write as _};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

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
#[derive(Clone, Copy, Debug)]
pub enum Sink {
    /// A daemon that has not left its terminal: syslog, and errors to standard
    /// error as well, `PROGRAM: message`. Also the state before [`start`].
    Starting,
    /// Standard output, every priority, each behind its name.
    Foreground,
    /// Syslog only.
    Syslog,
    /// Somebody else's log: that of a program which has one of its own and
    /// uses this library. The function must not log through this module.
    Forward(fn(Priority, Arguments<'_>)),
}

struct State {
    program: &'static str,
    sink: Sink,
    syslog: Syslog,
}

static STATE: Mutex<State> = Mutex::new(State {
    program: "",
    sink: Sink::Starting,
    syslog: Syslog::new(Facility::LOG_USER),
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
    let debug = matches!(sink, Sink::Foreground | Sink::Forward(_));
    DEBUG.store(debug, Ordering::Relaxed);
}

/// Says that nobody sees the terminal any more.
pub(crate) fn detached() {
    let mut state = STATE.lock();
    if matches!(state.sink, Sink::Starting) {
        state.sink = Sink::Syslog;
    }
}

/// Forgets the connection to syslog, whose lines carry the id of the process
/// that opened it. For the child after a fork.
pub(crate) fn forked() {
    STATE.lock().syslog.close();
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
        Sink::Forward(write) => {
            drop(state);
            write(priority, message);
        }
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
}

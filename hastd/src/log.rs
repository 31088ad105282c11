//! Messages for people, in base's format. Facts: spec/hast-behaviour.md
//! section 12.
//!
//! On a terminal `[LEVEL] text` or `[DEBUG][N] text`, warnings and errors on
//! standard error, the rest on standard output; in syslog `text` alone,
//! facility daemon. Text about a resource begins with an [`About`]. What the
//! libraries below say goes the same way.
//!
//! Logging never fails and waits for nobody. A worker has no log of its own:
//! its lines go to the daemon ([`Sink::Function`]).

pub use crate::ipc::Level;

use ggate::log::{Facility, Priority, Syslog};
use hast_core::role::Role;
use parking_lot::Mutex;
use std::fmt::{self, Arguments, Display};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Most bytes of a line in syslog, as in base: syslogd cuts longer ones where
/// it pleases.
const LONGEST_IN_SYSLOG: usize = 1023;

/// Takes lines. May log itself: no lock is held.
pub type Function = dyn Fn(Level, &str) + Send + Sync;

/// Where messages go.
#[derive(Clone)]
pub enum Sink {
    /// Standard output and standard error.
    Terminal,
    /// Syslog.
    Syslog,
    /// Somebody who hands them on.
    Function(Arc<Function>),
}

struct State {
    program: &'static str,
    sink: Sink,
    syslog: Syslog,
}

static STATE: Mutex<State> = Mutex::new(State {
    program: "",
    sink: Sink::Terminal,
    syslog: Syslog::new(Facility::LOG_DAEMON),
});

/// Debug messages of this level and below are wanted; read before anything is
/// formatted.
static DEBUG: AtomicU8 = AtomicU8::new(0);

/// Says who logs, where to, and in how much detail. Called once, first thing
/// in `main`; from then on the libraries' messages come here, too.
pub fn start(program: &'static str, sink: Sink, debug: u8) {
    DEBUG.store(debug, Ordering::Relaxed);
    STATE.lock().program = program;
    switch(sink);
    ggate::log::start(program, ggate::log::Sink::Forward(forward));
}

/// Sends what follows to `sink`.
pub fn switch(sink: Sink) {
    STATE.lock().sink = sink;
}

/// The debug level.
#[must_use]
pub fn debug_level() -> u8 {
    DEBUG.load(Ordering::Relaxed)
}

/// Writes one message; the macros of this module call it.
pub fn write(level: Level, message: Arguments<'_>) {
    if matches!(level, Level::Debug(n) if n > debug_level()) {
        return;
    }
    let mut state = STATE.lock();
    let State {
        program,
        sink,
        syslog,
    } = &mut *state;
    match sink {
        Sink::Terminal => on_terminal(level, message),
        Sink::Syslog => {
            let text = message.to_string();
            syslog.send(program, priority(level), format_args!("{}", cut(&text)));
        }
        Sink::Function(function) => {
            let function = Arc::clone(function);
            drop(state);
            function(level, &message.to_string());
        }
    }
}

/// Whoever reads may be gone; that is no reason to stop.
fn on_terminal(level: Level, message: Arguments<'_>) {
    let line = line(level, message);
    let _ = match level {
        Level::Error | Level::Warning => std::io::stderr().write_all(line.as_bytes()),
        Level::Notice | Level::Info | Level::Debug(_) => {
            std::io::stdout().write_all(line.as_bytes())
        }
    };
}

/// A line for the terminal, whole, so that it is one write.
fn line(level: Level, message: Arguments<'_>) -> String {
    match level {
        Level::Error => format!("[ERROR] {message}\n"),
        Level::Warning => format!("[WARNING] {message}\n"),
        Level::Notice => format!("[NOTICE] {message}\n"),
        Level::Info => format!("[INFO] {message}\n"),
        Level::Debug(n) => format!("[DEBUG][{n}] {message}\n"),
    }
}

const fn priority(level: Level) -> Priority {
    match level {
        Level::Error => Priority::Error,
        Level::Warning => Priority::Warning,
        Level::Notice => Priority::Notice,
        Level::Info => Priority::Info,
        Level::Debug(_) => Priority::Debug,
    }
}

/// As much of a text as fits into syslog.
pub(crate) fn cut(text: &str) -> &str {
    let longest = text.len().min(LONGEST_IN_SYSLOG);
    let mut lengths = (0..=longest).rev();
    lengths
        .find_map(|length| text.get(..length))
        .unwrap_or_default()
}

/// What the libraries below say.
fn forward(priority: Priority, message: Arguments<'_>) {
    let level = match priority {
        Priority::Error => Level::Error,
        Priority::Warning => Level::Warning,
        Priority::Notice => Level::Notice,
        Priority::Info => Level::Info,
        Priority::Debug => Level::Debug(1),
    };
    write(level, message);
}

/// Text from somebody else, with nothing in it that could command a terminal
/// or forge another line.
#[must_use]
pub fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(printable).collect()
}

/// What a line is about; put in front of its text.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The resource.
    pub name: &'a str,
    /// Its role on this node, where that is known.
    pub role: Option<Role>,
}

impl Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.name)?;
        match self.role {
            Some(role) => write!(f, "({role}) "),
            None => Ok(()),
        }
    }
}

/// Logs an error, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($arg)*)) };
}

/// Logs a warning, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, format_args!($($arg)*)) };
}

/// Logs a notice, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_notice {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Notice, format_args!($($arg)*)) };
}

/// Logs the course of things, formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($arg)*)) };
}

/// Logs a detail for a debug level (1 or 2), which comes first; the rest is
/// formatted like `println!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_debug {
    ($level:expr, $($arg:tt)*) => {
        $crate::log::write($crate::log::Level::Debug($level), format_args!($($arg)*))
    };
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
    fn a_line_on_the_terminal_is_base_s() {
        let about = About {
            name: "test",
            role: Some(Role::Primary),
        };
        for (level, text) in [
            (Level::Error, "[ERROR] [test] (primary) Oh.\n"),
            (Level::Warning, "[WARNING] [test] (primary) Oh.\n"),
            (Level::Notice, "[NOTICE] [test] (primary) Oh.\n"),
            (Level::Info, "[INFO] [test] (primary) Oh.\n"),
            (Level::Debug(2), "[DEBUG][2] [test] (primary) Oh.\n"),
        ] {
            assert_eq!(line(level, format_args!("{about}Oh.")), text);
        }
        let about = About {
            role: None,
            ..about
        };
        assert_eq!(about.to_string(), "[test] ");
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        assert_eq!(cut("short"), "short");
        let exact = "x".repeat(LONGEST_IN_SYSLOG);
        assert_eq!(cut(&exact), exact);
        // Two bytes each, so the last one does not fit.
        let long = "é".repeat(LONGEST_IN_SYSLOG);
        assert_eq!(cut(&long).len(), LONGEST_IN_SYSLOG - 1);
    }

    /// One test, since there is one log.
    #[test]
    fn lines_of_the_libraries_arrive_and_unwanted_ones_are_dropped() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let keep = move |level, text: &str| kept.lock().push((level, text.to_owned()));
        start("hastd", Sink::Function(Arc::new(keep)), 1);
        warning!("of {}", "ours");
        debug!(1, "wanted");
        debug!(2, "unwanted");
        ggate::log::notice!("of the library");
        ggate::log::debug!("detail");
        switch(Sink::Terminal);
        // Other tests may have logged meanwhile.
        let lines = lines.lock();
        for line in [
            (Level::Warning, "of ours"),
            (Level::Debug(1), "wanted"),
            (Level::Notice, "of the library"),
            (Level::Debug(1), "detail"),
        ] {
            assert!(lines.contains(&(line.0, line.1.to_owned())), "{line:?}");
        }
        assert!(!lines.iter().any(|(_, text)| text == "unwanted"));
    }
}

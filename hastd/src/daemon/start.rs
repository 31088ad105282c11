//! From the command line to the loop. Facts: spec/hast-behaviour.md section
//! 12.
//!
//! Base leaves the terminal before it has done anything that can fail late;
//! here whoever starts the daemon gets its exit status and its errors, and 0
//! when it listens.

use super::children::Binary;
use super::options::{self, Options};
use super::reload::Files;
use super::{Daemon, Setup, StartError};
use crate::config::{Config, ConfigError, Identity, Loaded};
use crate::log::{self, Sink};
use crate::{check, sandbox};
use ggate::daemon::{self, Mode, PidFile, PidFileError, Readiness, Start};
use ggate::gate;
use ggate::textfile::Accept;
use hast_core::units::Version;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// `EX_OSERR`.
const OS: u8 = 71;
/// `EX_TEMPFAIL`: another daemon runs.
const TEMPORARY: u8 = 75;
/// `EX_CONFIG`.
const CONFIGURATION: u8 = 78;

/// Why the daemon does not start, and its exit status.
struct Failure {
    status: u8,
    /// Nothing, if it was said already.
    why: Option<String>,
}

impl Failure {
    fn new(status: u8, why: impl Into<String>) -> Self {
        Self {
            status,
            why: Some(why.into()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(OS, format!("{error}."))
    }
}

/// hastd, but for its workers: with its arguments from its name on.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Workers and hooks get what they are given, and nothing else.
    daemon::close_inherited();
    let options = match options::parse(args.into_iter().skip(1)) {
        Ok(options) => options,
        Err(error) => return error.report(),
    };
    log::start("hastd", Sink::Terminal, options.debug);
    let ended = if options.test {
        test(&options)
    } else {
        match daemon::start(Mode::foreground_if(options.foreground)) {
            Ok(Start::Parent(status)) => return status,
            Ok(Start::Daemon(ready)) => serve(&options, ready),
            Err(error) => Err(Failure::new(
                OS,
                format!("Unable to daemonize: {}.", ggate::errno::words(&error)),
            )),
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(why) = failure.why {
                log::error!("{why}");
            }
            ExitCode::from(failure.status)
        }
    }
}

fn read(options: &Options) -> Result<Loaded, Failure> {
    let node = Identity::of_system().map_err(ConfigError::from)?;
    // The daemon will change its directory.
    let path = std::path::absolute(&options.config).map_err(|error| {
        let why = format!(
            "Unable to find out where {} is: {}.",
            options.config.display(),
            ggate::errno::words(&error)
        );
        Failure::new(CONFIGURATION, why)
    })?;
    Ok(Config::load(&path, Accept::Streams, &node)?)
}

/// The configuration, and what is wrong with it.
fn load(options: &Options) -> Result<Loaded, Failure> {
    let loaded = read(options)?;
    for warning in &loaded.warnings {
        log::warning!("{warning}");
    }
    Ok(loaded)
}

/// `-t`: a dry run. Nothing is changed.
fn test(options: &Options) -> Result<(), Failure> {
    let loaded = read(options)?;
    let report = check::check(&loaded);
    // Who looks may have seen enough.
    let mut out = std::io::stdout();
    let _ = write!(out, "{report}");
    if report.has_errors() {
        return Err(Failure {
            status: CONFIGURATION,
            why: None,
        });
    }
    let count = loaded.config.resources.len();
    let path = loaded.path.display();
    let _ = writeln!(out, "{path}: {count} resources, no errors.");
    Ok(())
}

fn serve(options: &Options, ready: Readiness) -> Result<(), Failure> {
    gate::load().map_err(|error| {
        Failure::new(
            OS,
            format!(
                "Unable to load geom_gate module: {}.",
                ggate::errno::words(&error)
            ),
        )
    })?;
    raise_limits();
    let loaded = load(options)?;
    let listen = loaded.config.listen.clone();
    let control = loaded.config.control.clone();
    let mut daemon = set_up(options, loaded)?;
    daemon.obey_signals().map_err(|error| {
        Failure::new(
            OS,
            format!("Unable to catch signals: {}.", ggate::errno::words(&error)),
        )
    })?;
    ready.detach().map_err(|error| {
        Failure::new(
            OS,
            format!("Unable to daemonize: {}.", ggate::errno::words(&error)),
        )
    })?;
    if !options.foreground {
        log::switch(Sink::Syslog);
    }
    // With the parent, roles would be gone.
    daemon::protect();
    log::info!(
        "Started successfully, running protocol version {}.",
        Version::MAX.to_byte()
    );
    log::debug!(
        1,
        "Listening on control address uds://{}.",
        control.display()
    );
    for address in listen {
        log::info!("Listening on address {address}.");
    }
    daemon
        .run()
        .map_err(|errno| Failure::new(OS, format!("poll(): {}.", errno.desc())))
}

/// Everything that may fail, with the terminal still there.
fn set_up(options: &Options, loaded: Loaded) -> Result<Daemon, Failure> {
    let Loaded {
        config, path, node, ..
    } = loaded;
    let pid_path = options.pid_file.as_ref().unwrap_or(&config.pidfile);
    let writes_pid = !options.foreground || options.pid_file.is_some();
    let pid = if writes_pid { lock(pid_path)? } else { None };
    let binary = Binary::own().map_err(|error| {
        Failure::new(
            OS,
            format!(
                "Unable to open my own program: {}.",
                ggate::errno::words(&error)
            ),
        )
    })?;
    let sandbox =
        sandbox::user().map_err(|error| Failure::new(CONFIGURATION, error.to_string()))?;
    let by_config = !options.foreground && options.pid_file.is_none();
    let pid_path = pid_path.clone();
    let files = Files {
        config: path,
        node,
        control: config.control.clone(),
        pid,
        pid_by_config: by_config.then(|| config.pidfile.clone()),
    };
    let mut daemon = Daemon::new(Setup {
        config,
        binary,
        sandbox,
        foreground: options.foreground,
        files,
    })?;
    // Who waits for it may use the sockets.
    match daemon.files.pid.as_mut().map(PidFile::write) {
        Some(Ok(())) => log::debug!(1, "PID stored in {}.", pid_path.display()),
        Some(Err(error)) => log::warning!("{error}."),
        None => {}
    }
    Ok(daemon)
}

/// Another daemon with this file is the end; that the file cannot be had is
/// not, as in base.
fn lock(path: &Path) -> Result<Option<PidFile>, Failure> {
    match PidFile::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error @ (PidFileError::Running(_) | PidFileError::RunningUnknown(_))) => {
            Err(Failure::new(TEMPORARY, error.to_string()))
        }
        Err(error) => {
            log::warning!("{error}.");
            Ok(None)
        }
    }
}

/// A descriptor for each worker, each client and each stranger: as many as the
/// system allows.
fn raise_limits() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::debug!(
            1,
            "Unable to raise the number of descriptors: {}.",
            errno.desc()
        );
    }
}

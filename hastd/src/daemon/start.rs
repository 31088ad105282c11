//! From the command line to the loop. Facts: spec/hast-behaviour.md section
//! 12.
//!
//! Base leaves the terminal before it has done anything that can fail late;
//! here whoever starts the daemon gets its exit status and its errors, and 0
//! when it listens.

use super::children::Binary;
use super::options::{self, Options};
use super::{Daemon, Setup, StartError};
use crate::config::{Config, ConfigError, Identity, Loaded};
use crate::log::{self, Sink};
use crate::sandbox;
use ggate::daemon::{self, Mode, PidFile, PidFileError, Readiness, Start};
use hast_core::units::Version;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::OsString;
use std::path::PathBuf;
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
    fn new(status: u8, why: impl ToString) -> Self {
        Self {
            status,
            why: Some(why.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit_code(), error)
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
    let options = match options::parse(args.into_iter().skip(1)) {
        Ok(options) => options,
        Err(error) => return error.report(),
    };
    log::start("hastd", Sink::Terminal, options.debug);
    if options.test {
        return test(&options);
    }
    let mode = Mode::foreground_if(options.foreground);
    let ended = match daemon::start(mode) {
        Ok(Start::Parent(status)) => return status,
        Ok(Start::Daemon(ready)) => serve(options, ready),
        Err(error) => Err(Failure::new(OS, format!("Unable to daemonize: {error}."))),
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

/// The configuration, and what is wrong with it.
fn load(options: &Options) -> Result<Loaded, Failure> {
    let node = Identity::of_system().map_err(ConfigError::from)?;
    // The daemon will change its directory.
    let path = std::path::absolute(&options.config).map_err(|error| {
        Failure::new(
            CONFIGURATION,
            format!("Unable to find out where I am: {error}."),
        )
    })?;
    let loaded = Config::load(&path, &node)?;
    for warning in &loaded.warnings {
        log::warning!("{warning}");
    }
    Ok(loaded)
}

/// `-t`: a dry run.
fn test(options: &Options) -> ExitCode {
    match load(options) {
        Ok(loaded) => {
            let count = loaded.config.resources.len();
            println!("{}: {count} resources, no errors.", loaded.path.display());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if let Some(why) = failure.why {
                log::error!("{why}");
            }
            ExitCode::from(failure.status)
        }
    }
}

fn serve(options: Options, ready: Readiness) -> Result<(), Failure> {
    daemon::load_module(c"geom_gate", c"g_gate")
        .map_err(|error| Failure::new(OS, format!("Unable to load geom_gate module: {error}.")))?;
    raise_limits();
    let loaded = load(&options)?;
    let pid_path = options.pid_file.clone();
    let pid_path = pid_path.unwrap_or_else(|| loaded.config.pidfile.clone());
    let writes_pid = !options.foreground || options.pid_file.is_some();
    let mut pid_file = if writes_pid { lock(&pid_path)? } else { None };
    let binary = Binary::own()
        .map_err(|error| Failure::new(OS, format!("Unable to open my own program: {error}.")))?;
    let sandbox = sandbox::user().map_err(|error| Failure::new(CONFIGURATION, error))?;
    let listen = loaded.config.listen.clone();
    let control = loaded.config.control.clone();
    let mut daemon = Daemon::new(Setup {
        config: loaded.config,
        binary,
        sandbox,
        foreground: options.foreground,
    })?;
    daemon
        .obey_signals()
        .map_err(|error| Failure::new(OS, format!("Unable to catch signals: {error}.")))?;
    write(&mut pid_file, &pid_path);
    let leave = || -> std::io::Result<()> {
        ready.detach()?;
        if !options.foreground {
            log::switch(Sink::Syslog);
        }
        Ok(())
    };
    leave().map_err(|error| Failure::new(OS, format!("Unable to daemonize: {error}.")))?;
    // The parent's death would take the roles with it.
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
    let ended = daemon.run();
    drop(pid_file);
    ended.map_err(|errno| Failure::new(OS, format!("poll(): {}.", errno.desc())))
}

/// Another daemon with this file is the end; that the file cannot be had is
/// not, as in base.
fn lock(path: &PathBuf) -> Result<Option<PidFile>, Failure> {
    match PidFile::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error @ (PidFileError::Running(_) | PidFileError::RunningUnknown(_))) => {
            Err(Failure::new(TEMPORARY, error))
        }
        Err(error) => {
            log::warning!("{error}.");
            Ok(None)
        }
    }
}

fn write(file: &mut Option<PidFile>, path: &PathBuf) {
    let Some(pid_file) = file else { return };
    match pid_file.write() {
        Ok(()) => log::debug!(1, "PID stored in {}.", path.display()),
        Err(error) => log::warning!("{error}."),
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

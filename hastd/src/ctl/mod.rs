//! hastctl(8): one command, then the end. Facts: spec/hast-behaviour.md
//! section 11, spec/hast-disk.md sections 3 and 4.
//!
//! | module | what |
//! |---|---|
//! | `options` | the command line |
//! | `create`, `dump` | the local components |
//! | `ask` | a question to hastd, asked without privileges |
//! | `role`, `resolve`, `stop` | what hastd is told to do |
//! | `status`, `list`, `show` | how the resources are, in base's form, in ours and as JSON |
//! | `check` | what is wrong with a configuration |
//! | `human` | sizes and times |
//!
//! What base prints is printed as base prints it; everything with a word for
//! an option is ours.

mod ask;
mod check;
mod create;
mod dump;
mod human;
mod list;
mod options;
mod resolve;
mod role;
mod show;
mod status;

use crate::config::{Config, ConfigError, Identity, Loaded, Resource};
use crate::log;
use options::{Command, Options};
use std::ffi::OsString;
use std::process::ExitCode;

/// `EX_DATAERR`.
const BAD_DATA: u8 = 65;

/// Runs hastctl with the arguments that follow its name.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(options) => options,
        Err(error) => return error.report(),
    };
    log::start("hastctl", log::Sink::Terminal, options.debug);
    match load(&options) {
        Ok(loaded) => ExitCode::from(obey(&options, &loaded)),
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn load(options: &Options) -> Result<Loaded, ConfigError> {
    let loaded = Config::load(&options.config, &Identity::of_system()?)?;
    for warning in &loaded.warnings {
        log::debug!(1, "{warning}");
    }
    Ok(loaded)
}

/// Does it; the exit status.
fn obey(options: &Options, loaded: &Loaded) -> u8 {
    let (config, names) = (&loaded.config, &options.names);
    match options.command {
        Command::Create {
            options: wanted,
            force,
        } => create::run(config, names, wanted, force),
        Command::Dump { json } => dump::run(config, names, json),
        Command::Role {
            role,
            wait,
            if_closed,
        } => role::run(config, names, role, wait, if_closed),
        Command::List { json } => list::run(config, names, json),
        Command::Status { verbose, json } => status::run(config, names, verbose, json),
        Command::Check { json } => check::run(loaded, names, json),
        Command::Stop => role::stop(config),
        Command::Resolve { yes } => resolve::run(config, names, yes),
    }
}

/// The resources of these names, and the status if one is unknown.
fn find<'a>(config: &'a Config, names: &[String]) -> (Vec<&'a Resource>, u8) {
    let mut status = 0;
    let mut found = Vec::new();
    for name in names {
        if let Some(resource) = config.resources.iter().find(|r| r.name == *name) {
            found.push(resource);
        } else {
            log::error!("Unknown resource {name}.");
            status = first(status, BAD_DATA);
        }
    }
    (found, status)
}

/// Whether all resources are meant.
fn means_all(names: &[String]) -> bool {
    names.first().is_none_or(|name| name == "all")
}

/// Of several errors the first one counts.
const fn first(before: u8, now: u8) -> u8 {
    if before == 0 { now } else { before }
}

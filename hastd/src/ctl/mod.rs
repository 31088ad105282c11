//! hastctl(8): one command, then the end. Facts: spec/hast-behaviour.md
//! section 11, spec/hast-disk.md sections 3 and 4.
//!
//! | module | what |
//! |---|---|
//! | `options` | the command line |
//! | `create`, `dump` | the local components |
//! | `ask` | a question to hastd, whose answer is read without privileges |
//! | `role`, `resolve` | what hastd is told to do |
//! | `list`, `status`, `verbose`, `json` | how the resources are: as base prints it, for people, for programs |
//! | `check` | what is wrong with a configuration |
//! | `failure`, `output`, `human` | exit statuses, standard output, sizes and times |
//!
//! What base prints is printed as base prints it. Options of whole words, and
//! the commands `check`, `resolve`, `stop` and `help`, are ours.

mod ask;
mod check;
mod create;
mod dump;
mod failure;
mod human;
mod json;
mod list;
mod options;
mod output;
mod resolve;
mod role;
mod status;
mod verbose;

pub use options::PROGRAM;

use crate::config::{Config, ConfigError, Identity, Loaded, Resource};
use crate::log;
use failure::Failure;
use ggate::cli::CliError;
use ggate::textfile::Accept;
use hast_core::message::Wishes;
use options::{Command, Options};
use output::print;
use std::ffi::OsString;
use std::process::ExitCode;

/// `EX_DATAERR`.
const BAD_DATA: u8 = 65;

/// Whether a command line is one, without doing what it says. For tests that
/// make command lines up.
pub fn check_arguments(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    options::parse(args).map(drop)
}

/// Runs hastctl with the arguments that follow its name.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(options) => options,
        Err(error) => return error.report(),
    };
    let debug = options.as_ref().map_or(0, |options| options.debug);
    log::start("hastctl", log::Sink::Terminal, debug);
    let done = match &options {
        Some(options) => obey(options),
        None => print(options::HELP_TEXT).map(|()| 0),
    };
    done.map_or_else(|failure| give_up(&failure), ExitCode::from)
}

fn give_up(failure: &Failure) -> ExitCode {
    if failure.is_worth_words() {
        log::error!("{failure}");
    }
    ExitCode::from(failure.status())
}

/// Does it; the exit status is that of the first resource that failed.
fn obey(options: &Options) -> Result<u8, Failure> {
    let loaded = load(options)?;
    let (config, names) = (&loaded.config, &*options.names);
    match options.command {
        Command::Create { wanted, json } => create::run(config, names, wanted, json),
        Command::Role {
            role,
            json,
            wait,
            if_closed,
        } => role::run(
            config,
            names,
            role,
            Wishes {
                wait,
                if_closed,
                report: true,
            },
            json,
        ),
        Command::List { json } => list::run(config, names, json),
        Command::Status(style) => status::run(config, names, style),
        Command::Dump { json } => dump::run(config, names, json),
        Command::Check { json } => check::run(&loaded, names, json),
        Command::Stop => role::stop(config),
        Command::Resolve { ref name, yes } => resolve::run(config, name, yes),
    }
}

/// hastd logs what is odd about the configuration, and `check` shows it.
fn load(options: &Options) -> Result<Loaded, ConfigError> {
    let loaded = Config::load(&options.config, Accept::Streams, &Identity::of_system()?)?;
    for warning in &loaded.warnings {
        log::debug!(1, "{warning}");
    }
    Ok(loaded)
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

/// The same where all may be meant.
fn find_or_all<'a>(config: &'a Config, names: &[String]) -> (Vec<&'a Resource>, u8) {
    if means_all(names) {
        (config.resources.iter().collect(), 0)
    } else {
        find(config, names)
    }
}

/// Whether all resources are meant.
fn means_all(names: &[String]) -> bool {
    names.first().is_none_or(|name| name == "all")
}

/// Of several errors the first one counts.
const fn first(before: u8, now: u8) -> u8 {
    if before == 0 { now } else { before }
}

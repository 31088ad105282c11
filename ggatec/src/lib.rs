//! ggatec(8) as a library, for its own `main` and for tests that need a client
//! in their own process.

mod client;
mod connect;
mod durability;
pub mod import;
mod link;
mod options;
mod receive;
mod send;
mod unanswered;

pub use connect::ConnectError;
pub use options::{PROGRAM, Remote};

use ggate::cli::CliError;
use ggate::{admin, daemon};
use options::Command;
use std::ffi::OsString;
use std::process::ExitCode;

const NAME: &str = "ggatec";

/// Whether a command line is one, without doing what it says. For tests that
/// make command lines up.
pub fn check_arguments(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    options::parse(args).map(drop)
}

/// The program, with the arguments that follow its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (remote, wanted, mode) = match options::parse(args) {
        Ok(Command::Import {
            remote,
            wanted,
            mode,
        }) => (remote, wanted, mode),
        Ok(Command::Destroy { unit, force }) => return admin::destroy(NAME, unit, force),
        Ok(Command::List { unit, long }) => return admin::list(NAME, unit, long),
        Err(error) => return error.report(),
    };
    daemon::run(NAME, mode, |ready| import::run(remote, wanted, ready))
}

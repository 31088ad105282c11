//! ggatel(8), a provider over a local file or disk, as a library for its own
//! `main` and for tests.

mod local;
mod options;

pub use options::PROGRAM;

use ggate::cli::CliError;
use ggate::opener::Request;
use ggate::{admin, daemon};
use options::Command;
use std::ffi::OsString;
use std::process::ExitCode;

const NAME: &str = "ggatel";

/// Whether a command line is one, without doing what it says. For tests that
/// make command lines up.
pub fn check_arguments(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    options::parse(args).map(drop)
}

/// The program, with its arguments from its name on.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(request) = Request::from_args(args.iter().cloned()) {
        return request.run();
    }
    let (path, opening, wanted, mode) = match options::parse(args.into_iter().skip(1)) {
        Ok(Command::Serve {
            path,
            opening,
            wanted,
            mode,
        }) => (path, opening, wanted, mode),
        Ok(Command::Destroy { unit, force }) => return admin::destroy(NAME, unit, force),
        Ok(Command::List { unit, long }) => return admin::list(NAME, unit, long),
        Err(error) => return error.report(),
    };
    daemon::run(NAME, mode, |ready| {
        local::run(&path, opening, wanted, ready)
    })
}

//! ggated(8) as a library, for its own `main` and for tests that need a server
//! in their own process.

mod daemon;
mod exports;
mod handshake;
mod listen;
pub mod opener;
mod options;
mod server;
mod session;

pub use exports::{ExportsError, Mistake};
pub use listen::accept_until;
pub use options::PROGRAM;
pub use server::{LoadError, Server};

use exports::{Exports, look_up};
use ggate::cli::CliError;
use ggate::opener::Request;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

/// Parses an exports file, and says how many entries it has or what is wrong
/// and where. For tests that make files up.
pub fn check_exports(
    text: &[u8],
    resolve: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>,
) -> Result<usize, ExportsError> {
    Exports::parse(text, resolve).map(|exports| exports.iter().len())
}

/// Whether a command line is one, without doing what it says. For tests that
/// make command lines up.
pub fn check_arguments(
    args: impl IntoIterator<Item = OsString>,
    resolve: &dyn Fn(&str) -> io::Result<Vec<IpAddr>>,
) -> Result<(), CliError> {
    options::parse(args, resolve).map(drop)
}

/// The program, with its arguments from its name on.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(request) = Request::from_args(args.iter().cloned()) {
        return request.run();
    }
    match options::parse(args.into_iter().skip(1), &look_up) {
        Ok(options) => daemon::run(&options),
        Err(error) => error.report(),
    }
}

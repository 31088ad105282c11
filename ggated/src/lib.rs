//! ggated(8) as a library, for its own `main` and for tests that need a server
//! in their own process.

mod crowd;
mod daemon;
mod exports;
mod handshake;
mod listen;
pub mod opener;
mod options;
mod server;
mod session;

pub use listen::accept_until;
pub use server::{LoadError, Server};

use ggate::opener::Request;
use std::ffi::OsString;
use std::process::ExitCode;

/// The program, with its arguments from its name on.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(request) = Request::from_args(args.iter().cloned()) {
        return request.run();
    }
    match options::parse(args.into_iter().skip(1)) {
        Ok(options) => daemon::run(&options),
        Err(error) => error.report(),
    }
}

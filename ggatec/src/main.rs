//! ggatec(8): imports a disk that a ggated exports.

mod client;
mod connect;
mod durability;
mod import;
mod link;
mod options;
mod receive;
mod send;
mod unanswered;

use ggate::{admin, daemon};
use options::Command;
use std::process::ExitCode;

const NAME: &str = "ggatec";

fn main() -> ExitCode {
    let (remote, wanted, mode) = match options::parse(std::env::args_os().skip(1)) {
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

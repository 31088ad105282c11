//! ggatel(8): a provider over a local file or disk.

mod local;
mod options;

use ggate::opener::Request;
use ggate::{admin, daemon};
use options::Command;
use std::process::ExitCode;

const NAME: &str = "ggatel";

fn main() -> ExitCode {
    if let Some(request) = Request::from_args(std::env::args_os()) {
        return request.run();
    }
    let (path, opening, wanted, mode) = match options::parse(std::env::args_os().skip(1)) {
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

//! hastd(8): the daemon, its workers, and helpers of these that open
//! providers, all in one program.

use ggate::opener::Request;
use hast::{daemon, worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(request) = Request::from_args(std::env::args_os()) {
        return request.run();
    }
    if worker::is_worker(std::env::args_os()) {
        return worker::run();
    }
    daemon::main(std::env::args_os())
}

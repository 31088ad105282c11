//! hastd(8).

use ggate::opener::Request;
use hast::worker;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(request) = Request::from_args(std::env::args_os()) {
        return request.run();
    }
    if worker::is_worker(std::env::args_os()) {
        return worker::run();
    }
    ExitCode::FAILURE
}

//! hastd(8) with slow components; only its workers touch them.

use hast::{daemon, worker};
use std::process::ExitCode;

fn main() -> ExitCode {
    if worker::is_worker(std::env::args_os()) {
        return worker::run_through(slow::slow);
    }
    daemon::main(std::env::args_os())
}

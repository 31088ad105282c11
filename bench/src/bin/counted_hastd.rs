//! hastd(8) whose workers run under callgrind, with what `CALLGRIND` has as its
//! options: `scripts/count-requests.sh`. Only workers do, since it is they that
//! handle requests, and valgrind cannot follow hastd when it runs itself again.

use hast::{daemon, worker};
use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// The argument of a worker under callgrind: valgrind does not keep the name
/// that workers are told by.
const COUNTED: &str = "counted";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().nth(1).is_some_and(|arg| arg == COUNTED) {
        return Ok(worker::run());
    }
    if worker::is_worker(std::env::args_os()) {
        let options = std::env::var("CALLGRIND")?;
        let error = Command::new("valgrind")
            .arg("--tool=callgrind")
            .args(options.split_whitespace())
            .arg(std::env::current_exe()?)
            .arg(COUNTED)
            .exec();
        return Err(error.into());
    }
    Ok(daemon::main(std::env::args_os()))
}

//! hastctl(8).

use std::process::ExitCode;

fn main() -> ExitCode {
    hast::ctl::run(std::env::args_os().skip(1))
}

//! ggatec(8): imports a disk that a ggated exports.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggatec::main(std::env::args_os().skip(1))
}

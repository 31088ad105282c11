//! ggated(8): exports files and disks to ggatec.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggated::main(std::env::args_os())
}

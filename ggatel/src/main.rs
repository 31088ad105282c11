//! ggatel(8): a provider over a local file or disk.

use std::process::ExitCode;

fn main() -> ExitCode {
    ggatel::main(std::env::args_os())
}

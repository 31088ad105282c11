//! ggated(8): exports files and disks to ggatec.

mod crowd;
mod daemon;
mod exports;
mod handshake;
mod listen;
mod opener;
mod options;
mod server;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(std::env::args_os().skip(1)) {
        Ok(options) => daemon::run(&options),
        Err(error) => error.report(),
    }
}

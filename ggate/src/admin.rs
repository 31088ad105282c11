//! `destroy` and `list`, which ggatec and ggatel have in common.

use crate::errno::words;
use crate::gate::list::GateInfo;
use crate::gate::{self, GateId, Unit};
use crate::log::{self, Sink};
use std::io::{self, Write};
use std::process::ExitCode;

/// Ends a provider. Errors go to standard output, where base has them.
#[must_use]
pub fn destroy(program: &'static str, unit: Unit, force: bool) -> ExitCode {
    log::start(program, Sink::Foreground);
    let gate = match gate::open() {
        Ok(gate) => gate,
        Err(error) => return log::fatal(format_args!("Cannot open the gate: {}.", words(&error))),
    };
    match gate.destroy(&GateId::Unit(unit), force) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errno) => log::fatal(format_args!(
            "Cannot destroy ggate{unit}: {}.",
            errno.desc()
        )),
    }
}

/// Prints providers: names, or with `long` everything known.
#[must_use]
pub fn list(program: &'static str, unit: Option<Unit>, long: bool) -> ExitCode {
    log::start(program, Sink::Foreground);
    match gate::list(unit).map(|gates| print(&gates, long)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => log::fatal(format_args!("Cannot print: {}.", words(&error))),
        Err(error) => log::fatal(format_args!("Cannot list providers: {error}.")),
    }
}

fn print(gates: &[GateInfo], long: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for gate in gates {
        if long {
            write!(out, "{}", gate.long())?;
        } else {
            writeln!(out, "{}", gate.name)?;
        }
    }
    out.flush()
}

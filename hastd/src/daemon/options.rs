//! hastd's command line. Facts: spec/hast-behaviour.md section 12.

use ggate::cli::{CliError, Flag, Program};
use std::ffi::OsString;
use std::path::PathBuf;

const CONFIG: &str = "/etc/hast.conf";

const CONFIG_FLAG: Flag = Flag::value('c', "config");
const DEBUG: Flag = Flag::switch('d', "debug");
const FOREGROUND: Flag = Flag::switch('F', "foreground");
const HELP: Flag = Flag::switch('h', "help");
const PID_FILE: Flag = Flag::value('P', "pidfile");
/// Ours.
const TEST: Flag = Flag::switch('t', "test");

/// The command line, as a table.
pub static PROGRAM: Program = Program {
    name: "hastd",
    usage: "hastd: [-dFh] [-c config] [-P pidfile]\n",
    usage_status: 64,
    subcommands: &[],
    flags: &[CONFIG_FLAG, DEBUG, FOREGROUND, HELP, PID_FILE, TEST],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Options {
    /// Configuration file.
    pub(super) config: PathBuf,
    /// Debug level.
    pub(super) debug: u8,
    /// Stay in the foreground.
    pub(super) foreground: bool,
    /// Pid file, instead of the configuration's.
    pub(super) pid_file: Option<PathBuf>,
    /// Say what is wrong with the configuration, and end.
    pub(super) test: bool,
}

/// Parses the arguments that follow the program's name. Base has no operands,
/// and takes one for a mistake.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, CliError> {
    let parsed = PROGRAM.parse(args)?;
    if parsed.given(&HELP) || !parsed.operands().is_empty() {
        return Err(PROGRAM.usage());
    }
    Ok(Options {
        config: parsed
            .value(&CONFIG_FLAG)
            .map_or_else(|| CONFIG.into(), PathBuf::from),
        debug: parsed.count(&DEBUG),
        foreground: parsed.given(&FOREGROUND),
        pid_file: parsed.value(&PID_FILE).map(PathBuf::from),
        test: parsed.given(&TEST),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, CliError> {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn defaults_are_base_s() {
        let options = parse("").unwrap();
        assert_eq!(options.config, PathBuf::from("/etc/hast.conf"));
        assert_eq!((options.debug, options.foreground), (0, false));
        assert_eq!(options.pid_file, None);
    }

    #[test]
    fn everything_can_be_given() {
        let options = parse("-dFd -c a -P p -cb -t").unwrap();
        assert_eq!(options.config, PathBuf::from("b"));
        assert_eq!((options.debug, options.foreground), (2, true));
        assert_eq!(options.pid_file, Some(PathBuf::from("p")));
        assert!(options.test);
    }

    #[test]
    fn help_and_operands_are_the_usage_text() {
        assert_eq!(parse("-h"), Err(PROGRAM.usage()));
        assert_eq!(parse("-F data"), Err(PROGRAM.usage()));
    }
}

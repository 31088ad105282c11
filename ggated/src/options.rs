//! ggated's command line (`spec/ggate-wire-and-cli.md` section 9).

use ggate::cli::{CliError, Flag, MAX_SOCKET_BUFFER, Parsed, Program};
use ggate::net::TcpOptions;
use ggate::wire::DEFAULT_PORT;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::exports::Resolve;

const EXPORTS: &str = "/etc/gg.exports";
const PID_FILE: &str = "/var/run/ggated.pid";

const ADDRESS: Flag = Flag::value('a', "address");
const PID: Flag = Flag::value('F', "pid file");
const HELP: Flag = Flag::switch('h', "help");
const NO_DELAY: Flag = Flag::switch('n', "no delay");
const PORT: Flag = Flag::value('p', "port");
const RECEIVE_BUFFER: Flag = Flag::value('R', "receive buffer");
const SEND_BUFFER: Flag = Flag::value('S', "send buffer");
const VERBOSE: Flag = Flag::switch('v', "verbose");

/// The command line, as a table.
pub static PROGRAM: Program = Program {
    name: "ggated",
    usage: "usage: ggated [-nv] [-a address] [-F pidfile] [-p port] [-R rcvbuf] [-S sndbuf] [exports file]\n",
    usage_status: 1,
    subcommands: &[],
    flags: &[
        ADDRESS,
        PID,
        HELP,
        NO_DELAY,
        PORT,
        RECEIVE_BUFFER,
        SEND_BUFFER,
        VERBOSE,
    ],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    /// Where to listen; everywhere without it.
    pub(crate) address: Option<IpAddr>,
    /// TCP port; 0 lets the system choose, and the log says which.
    pub(crate) port: u16,
    /// Socket options.
    pub(crate) tcp: TcpOptions,
    /// Pid file.
    pub(crate) pid_file: PathBuf,
    /// Exports file.
    pub(crate) exports: PathBuf,
    /// Stay in the foreground.
    pub(crate) foreground: bool,
}

/// Parses the arguments that follow the program's name. Operands after the
/// exports file are ignored.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    resolve: Resolve<'_>,
) -> Result<Options, CliError> {
    let parsed = PROGRAM.parse(args)?;
    if parsed.given(&HELP) {
        return Err(PROGRAM.usage());
    }
    let path = |given: Option<&std::ffi::OsStr>, default| given.map_or(default, PathBuf::from);
    Ok(Options {
        address: address(&parsed, resolve)?,
        port: parsed.number(&PORT, 0..=u16::MAX)?.unwrap_or(DEFAULT_PORT),
        tcp: TcpOptions {
            no_delay: !parsed.given(&NO_DELAY),
            send_buffer: parsed.number(&SEND_BUFFER, 1..=MAX_SOCKET_BUFFER)?,
            receive_buffer: parsed.number(&RECEIVE_BUFFER, 1..=MAX_SOCKET_BUFFER)?,
        },
        pid_file: path(parsed.value(&PID), PID_FILE.into()),
        exports: path(parsed.operands().first().copied(), EXPORTS.into()),
        foreground: parsed.given(&VERBOSE),
    })
}

/// An address, or the first one of a host name.
fn address(parsed: &Parsed, resolve: Resolve<'_>) -> Result<Option<IpAddr>, CliError> {
    let Some(value) = parsed.value(&ADDRESS) else {
        return Ok(None);
    };
    let found = value
        .to_str()
        .and_then(|name| resolve(name).ok()?.first().copied());
    match found {
        Some(address) => Ok(Some(address)),
        None => Err(PROGRAM.invalid(format_args!(
            "-a {}: Invalid IP/host name to bind to.",
            value.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, CliError> {
        let resolve = |name: &str| match name {
            "here" => Ok(vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()]),
            name => name
                .parse()
                .map(|address| vec![address])
                .map_err(|_| std::io::ErrorKind::NotFound.into()),
        };
        super::parse(line.split_whitespace().map(OsString::from), &resolve)
    }

    #[test]
    fn defaults_are_base_s() {
        let options = parse("").unwrap();
        assert_eq!(options.address, None);
        assert_eq!(options.port, 3080);
        assert!(options.tcp.no_delay);
        assert_eq!(options.pid_file, PathBuf::from("/var/run/ggated.pid"));
        assert_eq!(options.exports, PathBuf::from("/etc/gg.exports"));
        assert!(!options.foreground);
    }

    #[test]
    fn everything_can_be_given() {
        let options = parse("-nv -a ::1 -F p -p3081 -R 1 -S 2 file more").unwrap();
        assert_eq!(options.address, Some("::1".parse().unwrap()));
        assert_eq!(options.port, 3081);
        assert!(!options.tcp.no_delay);
        assert_eq!(options.tcp.receive_buffer, Some(1));
        assert_eq!(options.tcp.send_buffer, Some(2));
        assert_eq!(options.pid_file, PathBuf::from("p"));
        assert_eq!(options.exports, PathBuf::from("file"));
        assert!(options.foreground);
    }

    #[test]
    fn a_host_name_is_its_first_address() {
        let address = |line| parse(line).map(|options| options.address);
        assert_eq!(address("-a here"), Ok(Some([127, 0, 0, 1].into())));
        assert_eq!(
            address("-a nowhere"),
            Err(PROGRAM.invalid("-a nowhere: Invalid IP/host name to bind to."))
        );
    }

    #[test]
    fn help_is_the_usage_text() {
        assert_eq!(parse("-h"), Err(PROGRAM.usage()));
        assert!(parse("-p 65536").is_err());
        assert!(parse("-R 0").is_err());
    }
}

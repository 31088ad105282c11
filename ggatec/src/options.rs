//! ggatec's command line (`spec/ggate-wire-and-cli.md` section 12).

use ggate::cli::{CliError, Flag, MAX_SOCKET_BUFFER, Opening, Parsed, Program};
use ggate::daemon::Mode;
use ggate::gate::Unit;
use ggate::net::TcpOptions;
use ggate::provider::Wanted;
use ggate::wire::{DEFAULT_PORT, ExportPath};
use std::ffi::OsString;

/// Queue limit of a gate unless `-q` says otherwise.
const QUEUE_LIMIT: u32 = 1024;

const SERVING: &[&str] = &["create", "rescue"];

const FORCE: Flag = Flag::switch('f', "force").only_in(&["destroy"]);
const NO_DELAY: Flag = Flag::switch('n', "no delay").only_in(SERVING);
const OPENING: Flag = Flag::value('o', "access").only_in(SERVING);
const PORT: Flag = Flag::value('p', "port").only_in(SERVING);
const QUEUE: Flag = Flag::value('q', "queue size").only_in(&["create"]);
const RECEIVE_BUFFER: Flag = Flag::value('R', "receive buffer").only_in(SERVING);
const SEND_BUFFER: Flag = Flag::value('S', "send buffer").only_in(SERVING);
const SECTOR_SIZE: Flag = Flag::value('s', "sector size").only_in(&["create"]);
const TIMEOUT: Flag = Flag::value('t', "timeout").only_in(&["create"]);
const UNIT: Flag = Flag::value('u', "unit");
const VERBOSE: Flag = Flag::switch('v', "verbose").only_in(&["create", "rescue", "list"]);

/// The command line, as a table.
pub static PROGRAM: Program = Program {
    name: "ggatec",
    usage: "\
usage: ggatec create [-nv] [-o <ro|wo|rw>] [-p port] [-q queue_size] [-R rcvbuf] [-S sndbuf] [-s sectorsize] [-t timeout] [-u unit] <host> <path>
       ggatec rescue [-nv] [-o <ro|wo|rw>] [-p port] [-R rcvbuf] [-S sndbuf] <-u unit> <host> <path>
       ggatec destroy [-f] <-u unit>
       ggatec list [-v] [-u unit]
",
    usage_status: 1,
    subcommands: &["create", "rescue", "destroy", "list"],
    flags: &[
        FORCE,
        NO_DELAY,
        OPENING,
        PORT,
        QUEUE,
        RECEIVE_BUFFER,
        SEND_BUFFER,
        SECTOR_SIZE,
        TIMEOUT,
        UNIT,
        VERBOSE,
    ],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// `create` or `rescue`: serve a provider.
    Import {
        /// Where the data is.
        remote: Remote,
        /// Which provider.
        wanted: Wanted,
        /// Foreground with `-v`.
        mode: Mode,
    },
    /// End a provider.
    Destroy {
        /// Which.
        unit: Unit,
        /// Even if it is open.
        force: bool,
    },
    /// Print providers.
    List {
        /// Only this one.
        unit: Option<Unit>,
        /// All that is known.
        long: bool,
    },
}

/// An export of a server and how to talk to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Name or address, as typed.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The export.
    pub path: ExportPath,
    /// How the server is to open it.
    pub opening: Opening,
    /// Options of both connections.
    pub tcp: TcpOptions,
}

/// Parses the arguments that follow the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, CliError> {
    let (subcommand, parsed) = PROGRAM.parse_subcommand(args)?;
    match subcommand {
        "create" => create(&parsed),
        "rescue" => rescue(&parsed),
        "destroy" => {
            let unit = parsed.required_unit(&UNIT)?;
            let [] = parsed.exactly()?;
            Ok(Command::Destroy {
                unit,
                force: parsed.given(&FORCE),
            })
        }
        _ => {
            let [] = parsed.exactly()?;
            Ok(Command::List {
                unit: parsed.unit(&UNIT)?,
                long: parsed.given(&VERBOSE),
            })
        }
    }
}

fn create(parsed: &Parsed) -> Result<Command, CliError> {
    import(parsed, |parsed| {
        Ok(Wanted::New {
            sector_size: parsed.sector_size(&SECTOR_SIZE)?,
            queue_limit: parsed.number(&QUEUE, 0..=u32::MAX)?.unwrap_or(QUEUE_LIMIT),
            timeout: parsed.number(&TIMEOUT, 0..=u32::MAX)?.unwrap_or(0),
            unit: parsed.unit(&UNIT)?,
        })
    })
}

fn rescue(parsed: &Parsed) -> Result<Command, CliError> {
    import(parsed, |parsed| {
        Ok(Wanted::Orphan(parsed.required_unit(&UNIT)?))
    })
}

fn import(
    parsed: &Parsed,
    wanted: impl FnOnce(&Parsed) -> Result<Wanted, CliError>,
) -> Result<Command, CliError> {
    Ok(Command::Import {
        remote: remote(parsed)?,
        wanted: wanted(parsed)?,
        mode: Mode::foreground_if(parsed.given(&VERBOSE)),
    })
}

/// As in base, `-o` is judged before the operands are counted.
fn remote(parsed: &Parsed) -> Result<Remote, CliError> {
    let opening = parsed.opening(&OPENING)?;
    let [host, path] = parsed.exactly()?;
    let host = host
        .to_str()
        .ok_or_else(|| PROGRAM.invalid(format_args!("{}: not a host name.", host.display())))?;
    let path = ExportPath::new(path)
        .map_err(|e| PROGRAM.invalid(format_args!("{}: {e}.", path.display())))?;
    Ok(Remote {
        host: host.to_owned(),
        port: parsed.number(&PORT, 1..=u16::MAX)?.unwrap_or(DEFAULT_PORT),
        path,
        opening,
        tcp: TcpOptions {
            no_delay: !parsed.given(&NO_DELAY),
            send_buffer: parsed.number(&SEND_BUFFER, 1..=MAX_SOCKET_BUFFER)?,
            receive_buffer: parsed.number(&RECEIVE_BUFFER, 1..=MAX_SOCKET_BUFFER)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::gate::Access;

    fn parse(line: &str) -> Result<Command, CliError> {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn create_has_base_s_defaults() {
        assert_eq!(
            parse("create 10.0.0.1 /dev/da0"),
            Ok(Command::Import {
                remote: Remote {
                    host: "10.0.0.1".into(),
                    port: 3080,
                    path: ExportPath::new("/dev/da0").unwrap(),
                    opening: Opening::default(),
                    tcp: TcpOptions {
                        no_delay: true,
                        send_buffer: None,
                        receive_buffer: None,
                    },
                },
                wanted: Wanted::New {
                    sector_size: None,
                    queue_limit: 1024,
                    timeout: 0,
                    unit: None,
                },
                mode: Mode::Background,
            })
        );
    }

    #[test]
    fn create_takes_all_its_options() {
        let line = "create -nv -o RO -o direct -p3081 -q0 -R 1 -S 4194304 -s 4096 -t 30 -u 7 h /p";
        assert_eq!(
            parse(line),
            Ok(Command::Import {
                remote: Remote {
                    host: "h".into(),
                    port: 3081,
                    path: ExportPath::new("/p").unwrap(),
                    opening: Opening {
                        access: Access::ReadOnly,
                        direct: true,
                    },
                    tcp: TcpOptions {
                        no_delay: false,
                        send_buffer: Some(4_194_304),
                        receive_buffer: Some(1),
                    },
                },
                wanted: Wanted::New {
                    sector_size: Some(4096),
                    queue_limit: 0,
                    timeout: 30,
                    unit: Some(Unit(7)),
                },
                mode: Mode::Foreground,
            })
        );
    }

    #[test]
    fn the_others_take_theirs() {
        let (unit, force, long) = (Unit(0), true, true);
        assert_eq!(
            parse("destroy -f -u 0"),
            Ok(Command::Destroy { unit, force })
        );
        let unit = None;
        assert_eq!(parse("LIST -v"), Ok(Command::List { unit, long }));
        assert!(matches!(
            parse("rescue -u 3 h /p"),
            Ok(Command::Import {
                wanted: Wanted::Orphan(Unit(3)),
                ..
            })
        ));
    }

    #[test]
    fn a_unit_is_required_where_one_is_ended_or_taken_over() {
        let wanted = PROGRAM.complain("Required unit number.");
        assert_eq!(parse("destroy -f"), Err(wanted.clone()));
        assert_eq!(parse("rescue h /p"), Err(wanted));
    }

    #[test]
    fn numbers_that_base_bends_are_errors_that_name_the_option() {
        for (line, message) in [
            (
                "create -p 0 h /p",
                "-p 0: port is not a number from 1 to 65535.",
            ),
            (
                "create -p 65536 h /p",
                "-p 65536: port is not a number from 1 to 65535.",
            ),
            (
                "destroy -u abc",
                "-u abc: unit is not a number from 0 to 2147483647.",
            ),
            (
                "create -u -2 h /p",
                "-u -2: unit is not a number from 0 to 2147483647.",
            ),
            (
                "create -s 1000 h /p",
                "-s 1000: sector size is not a power of two.",
            ),
            (
                "create -q x h /p",
                "-q x: queue size is not a number from 0 to 4294967295.",
            ),
        ] {
            assert_eq!(parse(line), Err(PROGRAM.invalid(message)), "{line}");
        }
    }
}

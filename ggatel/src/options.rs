//! ggatel's command line (`spec/ggate-wire-and-cli.md` section 13).

use ggate::cli::{CliError, Flag, Opening, Parsed, Program};
use ggate::daemon::Mode;
use ggate::gate::Unit;
use ggate::provider::Wanted;
use std::ffi::OsString;
use std::path::PathBuf;

/// A local medium answers as fast as it can; base has no limit here, either.
const UNLIMITED: u32 = 0;

const SERVING: &[&str] = &["create", "rescue"];

const FORCE: Flag = Flag::switch('f', "force").only_in(&["destroy"]);
const OPENING: Flag = Flag::value('o', "access").only_in(SERVING);
const SECTOR_SIZE: Flag = Flag::value('s', "sector size").only_in(&["create"]);
const TIMEOUT: Flag = Flag::value('t', "timeout").only_in(&["create"]);
const UNIT: Flag = Flag::value('u', "unit");
const VERBOSE: Flag = Flag::switch('v', "verbose").only_in(&["create", "rescue", "list"]);

/// The command line, as a table.
pub static PROGRAM: Program = Program {
    name: "ggatel",
    usage: "\
usage: ggatel create [-v] [-o <ro|wo|rw>] [-s sectorsize] [-t timeout] [-u unit] <path>
       ggatel rescue [-v] [-o <ro|wo|rw>] <-u unit> <path>
       ggatel destroy [-f] <-u unit>
       ggatel list [-v] [-u unit]
",
    usage_status: 1,
    subcommands: &["create", "rescue", "destroy", "list"],
    flags: &[FORCE, OPENING, SECTOR_SIZE, TIMEOUT, UNIT, VERBOSE],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// `create` or `rescue`: serve a provider.
    Serve {
        /// File or disk, as typed.
        path: PathBuf,
        /// How to open it.
        opening: Opening,
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

/// Parses the arguments that follow the program's name. As in base, `-o` is
/// judged before the operands are counted.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, CliError> {
    let (subcommand, parsed) = PROGRAM.parse_subcommand(args)?;
    let opening = parsed.opening(&OPENING)?;
    let serve = |wanted: Result<Wanted, CliError>| {
        let [path] = parsed.exactly()?;
        Ok(Command::Serve {
            path: path.into(),
            opening,
            wanted: wanted?,
            mode: Mode::foreground_if(parsed.given(&VERBOSE)),
        })
    };
    match subcommand {
        "create" => serve(new(&parsed)),
        "rescue" => serve(parsed.required_unit(&UNIT).map(Wanted::Orphan)),
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

fn new(parsed: &Parsed) -> Result<Wanted, CliError> {
    Ok(Wanted::New {
        sector_size: parsed.sector_size(&SECTOR_SIZE)?,
        queue_limit: UNLIMITED,
        timeout: parsed.number(&TIMEOUT, 0..=u32::MAX)?.unwrap_or(0),
        unit: parsed.unit(&UNIT)?,
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
    fn create_has_base_s_defaults_and_takes_its_options() {
        assert_eq!(
            parse("create disk.img"),
            Ok(Command::Serve {
                path: "disk.img".into(),
                opening: Opening::default(),
                wanted: Wanted::New {
                    sector_size: None,
                    queue_limit: UNLIMITED,
                    timeout: 0,
                    unit: None,
                },
                mode: Mode::Background,
            })
        );
        assert_eq!(
            parse("create -v -o direct -o wo -s 512 -t 9 -u 4 disk.img"),
            Ok(Command::Serve {
                path: "disk.img".into(),
                opening: Opening {
                    access: Access::WriteOnly,
                    direct: true,
                },
                wanted: Wanted::New {
                    sector_size: Some(512),
                    queue_limit: UNLIMITED,
                    timeout: 9,
                    unit: Some(Unit(4)),
                },
                mode: Mode::Foreground,
            })
        );
    }

    #[test]
    fn the_others_take_theirs() {
        assert_eq!(
            parse("rescue -o ro -u 3 disk.img"),
            Ok(Command::Serve {
                path: "disk.img".into(),
                opening: Opening {
                    access: Access::ReadOnly,
                    direct: false,
                },
                wanted: Wanted::Orphan(Unit(3)),
                mode: Mode::Background,
            })
        );
        let (unit, force) = (Unit(0), false);
        assert_eq!(parse("destroy -u 0"), Ok(Command::Destroy { unit, force }));
        let (unit, long) = (Some(Unit(1)), true);
        assert_eq!(parse("list -vu1"), Ok(Command::List { unit, long }));
    }

    #[test]
    fn what_it_does_not_do_is_refused() {
        let required = PROGRAM.complain("Required unit number.");
        assert_eq!(parse("rescue disk.img"), Err(required));
        for line in ["create", "create a b", "list x", "rescue -s 512 -u 1 a"] {
            assert_eq!(parse(line), Err(PROGRAM.usage()), "{line}");
        }
        assert_eq!(
            parse("create -o xx h p"),
            Err(PROGRAM.invalid("Invalid argument for '-o' option."))
        );
    }
}

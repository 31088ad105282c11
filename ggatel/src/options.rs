//! ggatel's command line (`spec/ggate-wire-and-cli.md` section 13).

use ggate::cli::{CliError, Flag, Opening, Program};
use ggate::gate::Unit;
use std::ffi::OsString;
use std::path::PathBuf;

const SERVING: &[&str] = &["create", "rescue"];

const FORCE: Flag = Flag::switch('f', "force").only_in(&["destroy"]);
const OPENING: Flag = Flag::value('o', "access").only_in(SERVING);
const SECTOR_SIZE: Flag = Flag::value('s', "sector size").only_in(&["create"]);
const TIMEOUT: Flag = Flag::value('t', "timeout").only_in(&["create"]);
const UNIT: Flag = Flag::value('u', "unit");
const VERBOSE: Flag = Flag::switch('v', "verbose").only_in(&["create", "rescue", "list"]);

static PROGRAM: Program = Program {
    name: "ggatel",
    usage: "\
usage: ggatel create [-v] [-o <ro|wo|rw>] [-s sectorsize] [-t timeout] [-u unit] <path>
       ggatel rescue [-v] [-o <ro|wo|rw>] <-u unit> <path>
       ggatel destroy [-f] <-u unit>
       ggatel list [-v] [-u unit]
",
    usage_status: 1,
    flags: &[FORCE, OPENING, SECTOR_SIZE, TIMEOUT, UNIT, VERBOSE],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Make a provider and serve it.
    Create {
        /// File or disk, as typed.
        path: PathBuf,
        /// How to open it.
        opening: Opening,
        /// The provider's sector size in bytes; the medium's without it.
        sector_size: Option<u32>,
        /// In seconds, 0 = none.
        timeout: u32,
        /// The lowest free one without it.
        unit: Option<Unit>,
        /// Stay in the foreground.
        foreground: bool,
    },
    /// Serve a provider whose ggatel is gone.
    Rescue {
        /// File or disk, as typed.
        path: PathBuf,
        /// How to open it.
        opening: Opening,
        /// Which provider.
        unit: Unit,
        /// Stay in the foreground.
        foreground: bool,
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
    let (subcommand, parsed) =
        PROGRAM.parse_subcommand(&["create", "rescue", "destroy", "list"], args)?;
    let opening = parsed.opening(&OPENING)?;
    let foreground = parsed.given(&VERBOSE);
    match subcommand {
        "create" => {
            let [path] = parsed.exactly()?;
            Ok(Command::Create {
                path: path.into(),
                opening,
                sector_size: parsed.sector_size(&SECTOR_SIZE)?,
                timeout: parsed.number(&TIMEOUT, 0..=u32::MAX)?.unwrap_or(0),
                unit: parsed.unit(&UNIT)?,
                foreground,
            })
        }
        "rescue" => {
            let [path] = parsed.exactly()?;
            Ok(Command::Rescue {
                path: path.into(),
                opening,
                unit: parsed.required_unit(&UNIT)?,
                foreground,
            })
        }
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
                long: foreground,
            })
        }
    }
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
            Ok(Command::Create {
                path: "disk.img".into(),
                opening: Opening::default(),
                sector_size: None,
                timeout: 0,
                unit: None,
                foreground: false,
            })
        );
        assert_eq!(
            parse("create -v -o direct -o wo -s 512 -t 9 -u 4 disk.img"),
            Ok(Command::Create {
                path: "disk.img".into(),
                opening: Opening {
                    access: Access::WriteOnly,
                    direct: true,
                },
                sector_size: Some(512),
                timeout: 9,
                unit: Some(Unit(4)),
                foreground: true,
            })
        );
    }

    #[test]
    fn the_others_take_theirs() {
        assert_eq!(
            parse("rescue -o ro -u 3 disk.img"),
            Ok(Command::Rescue {
                path: "disk.img".into(),
                opening: Opening {
                    access: Access::ReadOnly,
                    direct: false,
                },
                unit: Unit(3),
                foreground: false,
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

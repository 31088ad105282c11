//! hastctl's command line. Facts: spec/hast-behaviour.md section 11.1,
//! spec/hast-disk.md section 3. Base's usage text does not change, so `help`
//! is where a user finds what is ours.

use super::create::Wanted;
use super::status::Style;
use ggate::cli::{CliError, Flag, Parsed, Program};
use hast_core::role::Role;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const CONFIG: &str = "/etc/hast.conf";

const CONFIG_FLAG: Flag = Flag::value('c', "config");
const DEBUG: Flag = Flag::switch('d', "debug");
const HELP: Flag = Flag::switch('h', "help");
const EXTENTSIZE: Flag = Flag::value('e', "extentsize").only_in(&["create"]);
const KEEPDIRTY: Flag = Flag::value('k', "keepdirty").only_in(&["create"]);
const MEDIASIZE: Flag = Flag::value('m', "mediasize").only_in(&["create"]);
const FORCE: Flag = Flag::word("force").only_in(&["create"]);
const WAIT: Flag = Flag::word("wait").only_in(&["role"]);
const IF_CLOSED: Flag = Flag::word("if-closed").only_in(&["role"]);
const VERBOSE: Flag = Flag::switch('v', "verbose").only_in(&["status"]);
const JSON: Flag =
    Flag::word("json").only_in(&["create", "role", "list", "status", "dump", "check"]);
const DISCARD_LOCAL: Flag = Flag::word("discard-local").only_in(&["resolve"]);
const YES: Flag = Flag::word("yes").only_in(&["resolve"]);

/// The usage text; base's, to the byte.
const USAGE: &str = "\
usage: hastctl create [-d] [-c config] [-e extentsize] [-k keepdirty]
\t\t[-m mediasize] name ...
       hastctl role [-d] [-c config] <init | primary | secondary> all | name ...
       hastctl list [-d] [-c config] [all | name ...]
       hastctl status [-d] [-c config] [all | name ...]
       hastctl dump [-d] [-c config] [all | name ...]
";

/// The usage text of what is ours.
const OUR_USAGE: &str = "\
usage: hastctl check [-d] [-c config] [--json] [all | name ...]
       hastctl resolve [-d] [-c config] [--yes] --discard-local name
       hastctl stop [-d] [-c config]
       hastctl help
";

/// What `help` prints.
pub(super) const HELP_TEXT: &str = "\
usage: hastctl create [-d] [-c config] [-e extentsize] [-k keepdirty]
\t\t[-m mediasize] [--force] [--json] name ...
       hastctl role [-d] [-c config] [--wait] [--if-closed] [--json]
\t\t<init | primary | secondary> all | name ...
       hastctl list [-d] [-c config] [--json] [all | name ...]
       hastctl status [-dv] [-c config] [--json] [all | name ...]
       hastctl dump [-d] [-c config] [--json] [all | name ...]
       hastctl check [-d] [-c config] [--json] [all | name ...]
       hastctl resolve [-d] [-c config] [--yes] --discard-local name
       hastctl stop [-d] [-c config]

  create     make a component of the file or disk of a resource
    --force      even if it is one already: only its data tells of it
  role       set the role of resources
    --wait       return when the provider, or the copy, is in service
    --if-closed  leave a primary alone whose provider is open
  list       what base knows; status: the same in one line
  status -v  how resources are, why, and what comes next
  dump       what a component says about itself
  check      find what is wrong before it hurts
  resolve    end a split-brain: give up what only this node has
  stop       end hastd in order
";

/// Sub-commands, base's first.
const COMMANDS: [&str; 9] = [
    "create", "role", "list", "status", "dump", "check", "resolve", "stop", "help",
];

/// How many of them are base's.
const OF_BASE: usize = 5;

/// The command line, as a table.
pub static PROGRAM: Program = Program {
    name: "hastctl",
    usage: USAGE,
    usage_status: 64,
    subcommands: &COMMANDS,
    flags: &[
        CONFIG_FLAG,
        DEBUG,
        HELP,
        EXTENTSIZE,
        KEEPDIRTY,
        MEDIASIZE,
        FORCE,
        WAIT,
        IF_CLOSED,
        VERBOSE,
        JSON,
        DISCARD_LOCAL,
        YES,
    ],
};

/// What the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Options {
    /// Configuration file.
    pub(super) config: PathBuf,
    /// Debug level.
    pub(super) debug: u8,
    /// What to do.
    pub(super) command: Command,
    /// With which resources; `all`, or none, where all may be meant.
    pub(super) names: Vec<String>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Create {
        wanted: Wanted,
        json: bool,
    },
    Role {
        role: Role,
        json: bool,
        wait: bool,
        if_closed: bool,
    },
    List {
        json: bool,
    },
    Status(Style),
    Dump {
        json: bool,
    },
    Check {
        json: bool,
    },
    Resolve {
        name: String,
        yes: bool,
    },
    Stop,
}

/// Parses the arguments that follow the program's name. Nothing: [`HELP_TEXT`]
/// is wanted.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, CliError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (_, ours) = COMMANDS.split_at(OF_BASE);
    let is_ours = |word: &OsString| ours.iter().any(|ours| word.eq_ignore_ascii_case(ours));
    let ours = args.first().is_some_and(is_ours);
    parse_any(args).map_err(|error| match error {
        CliError::Usage {
            complaint, status, ..
        } if ours => CliError::Usage {
            complaint,
            usage: OUR_USAGE,
            status,
        },
        error => error,
    })
}

fn parse_any(args: Vec<OsString>) -> Result<Option<Options>, CliError> {
    let (name, parsed) = PROGRAM.parse_subcommand(args)?;
    if parsed.given(&HELP) {
        return Err(PROGRAM.usage());
    }
    let mut names = parsed.operands().into_iter().map(text).collect();
    let command = command(name, &parsed, &mut names)?;
    let names_are_well = match command {
        Some(Command::Create { .. } | Command::Role { .. }) => !names.is_empty(),
        Some(Command::Resolve { .. } | Command::Stop) | None => names.is_empty(),
        Some(_) => true,
    };
    if !names_are_well {
        return Err(PROGRAM.usage());
    }
    Ok(command.map(|command| Options {
        config: parsed
            .value(&CONFIG_FLAG)
            .map_or_else(|| CONFIG.into(), PathBuf::from),
        debug: parsed.count(&DEBUG),
        command,
        names,
    }))
}

/// No resource has a name that is not UTF-8.
fn text(operand: &OsStr) -> String {
    operand.to_string_lossy().into_owned()
}

fn command(
    name: &str,
    parsed: &Parsed,
    names: &mut Vec<String>,
) -> Result<Option<Command>, CliError> {
    let json = parsed.given(&JSON);
    Ok(Some(match name {
        "create" => Command::Create {
            wanted: wanted(parsed)?,
            json,
        },
        "role" => Command::Role {
            role: take_role(names)?,
            json,
            wait: parsed.given(&WAIT),
            if_closed: parsed.given(&IF_CLOSED),
        },
        "list" => Command::List { json },
        "status" => Command::Status(match (parsed.given(&VERBOSE), json) {
            (_, true) => Style::Json,
            (true, false) => Style::Verbose,
            (false, false) => Style::Base,
        }),
        "dump" => Command::Dump { json },
        "check" => Command::Check { json },
        "resolve" => Command::Resolve {
            name: take_one(parsed, names)?,
            yes: parsed.given(&YES),
        },
        "stop" => Command::Stop,
        _ => return Ok(None),
    }))
}

/// Nobody gives all data up by one word: to hastd, `all` is no name.
fn take_one(parsed: &Parsed, names: &mut Vec<String>) -> Result<String, CliError> {
    match names.pop() {
        Some(name) if parsed.given(&DISCARD_LOCAL) && names.is_empty() && name != "all" => Ok(name),
        _ => Err(PROGRAM.usage()),
    }
}

fn take_role(names: &mut Vec<String>) -> Result<Role, CliError> {
    if names.is_empty() {
        return Err(PROGRAM.usage());
    }
    Role::from_name(names.remove(0).as_bytes()).ok_or_else(|| PROGRAM.usage())
}

fn wanted(parsed: &Parsed) -> Result<Wanted, CliError> {
    let number = |flag: &Flag, name: &str| match parsed.value(flag) {
        None => Ok(None),
        // 0 means the default.
        Some(text) => match text.to_str().and_then(expand_number) {
            Some(number) => Ok(Some(number).filter(|&number| number != 0)),
            None => Err(PROGRAM.invalid(format_args!("Invalid {name}"))),
        },
    };
    Ok(Wanted {
        extentsize: number(&EXTENTSIZE, "extentsize")?,
        keepdirty: number(&KEEPDIRTY, "keepdirty")?,
        mediasize: number(&MEDIASIZE, "mediasize")?,
        force: parsed.given(&FORCE),
    })
}

/// A number as `expand_number(3)` reads it: C's notation and one letter for a
/// power of 1024; what follows the letter means nothing.
fn expand_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'0'..=b'9', ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (digits, suffix) = digits.split_at(end.unwrap_or(digits.len()));
    let number = u64::from_str_radix(digits, radix).ok()?;
    let power = match suffix.bytes().next().map(|b| b.to_ascii_lowercase()) {
        None | Some(b'b') => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        Some(b'e') => 6,
        Some(_) => return None,
    };
    number.checked_mul(1 << (10 * power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, CliError> {
        let options = super::parse(line.split_whitespace().map(OsString::from))?;
        Ok(options.expect("more than help"))
    }

    #[test]
    fn numbers_are_read_as_base_reads_them() {
        for (text, number) in [
            ("1000", Some(1000)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("0k", Some(0)),
            ("08", None),
            ("0x", None),
            ("4k", Some(4096)),
            ("2M", Some(2 << 20)),
            ("2mbytes", Some(2 << 20)),
            ("5b", Some(5)),
            ("16e", None),
            ("abc", None),
            ("-1", None),
            ("", None),
            ("1x", None),
        ] {
            assert_eq!(expand_number(text), number, "{text}");
        }
    }

    #[test]
    fn base_s_commands_have_its_defaults() {
        let create = parse("create data more").unwrap();
        assert_eq!(
            create.command,
            Command::Create {
                wanted: Wanted::default(),
                json: false,
            }
        );
        assert_eq!(create.config, PathBuf::from("/etc/hast.conf"));
        assert_eq!(create.names, ["data", "more"]);
        let line = "create -dd -c x -e 1k -k 0 -m 1G --force data";
        let create = parse(line).unwrap();
        let wanted = Wanted {
            extentsize: Some(1024),
            keepdirty: None,
            mediasize: Some(1 << 30),
            force: true,
        };
        assert_eq!(
            create.command,
            Command::Create {
                wanted,
                json: false
            }
        );
        assert_eq!((create.debug, create.config), (2, PathBuf::from("x")));
        let create = parse("create --json data").unwrap();
        assert!(matches!(create.command, Command::Create { json: true, .. }));
        let role = parse("role secondary all").unwrap();
        assert_eq!(
            (role.command, role.names.len()),
            (
                Command::Role {
                    role: Role::Secondary,
                    json: false,
                    wait: false,
                    if_closed: false
                },
                1
            )
        );
        let style = |line| parse(line).unwrap().command;
        assert_eq!(style("status"), Command::Status(Style::Base));
        assert_eq!(style("status -v data"), Command::Status(Style::Verbose));
        assert_eq!(style("status -v --json"), Command::Status(Style::Json));
        assert_eq!(style("list --json"), Command::List { json: true });
        assert_eq!(style("dump"), Command::Dump { json: false });
    }

    #[test]
    fn a_bad_number_is_one_line_and_base_s_status() {
        for (line, text) in [
            ("create -e x data", "hastctl: Invalid extentsize"),
            ("create -k -5 data", "hastctl: Invalid keepdirty"),
            ("create -m 16e data", "hastctl: Invalid mediasize"),
        ] {
            let CliError::Invalid { message, status } = parse(line).unwrap_err() else {
                panic!("{line}: this is no reason for a usage text");
            };
            assert_eq!((&*message, status), (text, 64));
        }
    }

    #[test]
    fn what_is_ours_has_its_own_usage_text() {
        assert_eq!(super::parse(["help".into()]), Ok(None));
        assert_eq!(parse("stop").unwrap().command, Command::Stop);
        assert_eq!(
            parse("resolve --yes --discard-local data").unwrap().command,
            Command::Resolve {
                name: "data".into(),
                yes: true
            }
        );
        for (line, usage) in [
            ("list --wait", USAGE),
            ("role --yes init all", USAGE),
            ("create --force", USAGE),
            ("create --yes data", USAGE),
            ("help me", OUR_USAGE),
            ("stop data", OUR_USAGE),
            ("stop -x", OUR_USAGE),
            ("resolve data", OUR_USAGE),
            ("resolve --discard-local", OUR_USAGE),
            ("resolve --discard-local all", OUR_USAGE),
            ("resolve --discard-local a b", OUR_USAGE),
            ("check -h", OUR_USAGE),
        ] {
            let CliError::Usage {
                usage: got, status, ..
            } = parse(line).unwrap_err()
            else {
                panic!("{line}: a usage text");
            };
            assert_eq!((got, status), (usage, 64), "{line}");
        }
    }
}

//! hastctl's command line. Facts: spec/hast-behaviour.md section 11.1,
//! spec/hast-disk.md section 3. What has more than one letter is ours.

use ggate::cli::{CliError, Flag, Parsed, Program};
use hast_core::metadata::CreateOptions;
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
const JSON: Flag = Flag::word("json").only_in(&["list", "status", "dump", "check"]);
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

static PROGRAM: Program = Program {
    name: "hastctl",
    usage: USAGE,
    usage_status: 64,
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

/// Base's sub-commands, then ours.
const COMMANDS: [&str; 8] = [
    "create", "role", "list", "status", "dump", "check", "stop", "resolve",
];

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Create {
        options: CreateOptions,
        force: bool,
    },
    Role {
        role: Role,
        wait: bool,
        if_closed: bool,
    },
    List {
        json: bool,
    },
    Status {
        verbose: bool,
        json: bool,
    },
    Dump {
        json: bool,
    },
    Check {
        json: bool,
    },
    Stop,
    Resolve {
        yes: bool,
    },
}

/// Parses the arguments that follow the program's name.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Options, CliError> {
    let (name, parsed) = PROGRAM.parse_subcommand(&COMMANDS, args)?;
    if parsed.given(&HELP) {
        return Err(PROGRAM.usage());
    }
    let operands = parsed.operands();
    let text = |operand: &&OsStr| operand.to_string_lossy().into_owned();
    let mut names: Vec<String> = operands.iter().map(text).collect();
    let json = parsed.given(&JSON);
    let command = match name {
        "create" => Command::Create {
            options: create_options(&parsed)?,
            force: parsed.given(&FORCE),
        },
        "role" => Command::Role {
            role: take_role(&mut names)?,
            wait: parsed.given(&WAIT),
            if_closed: parsed.given(&IF_CLOSED),
        },
        "list" => Command::List { json },
        "status" => Command::Status {
            verbose: parsed.given(&VERBOSE),
            json,
        },
        "dump" => Command::Dump { json },
        "check" => Command::Check { json },
        "stop" => Command::Stop,
        _ if parsed.given(&DISCARD_LOCAL) => Command::Resolve {
            yes: parsed.given(&YES),
        },
        _ => return Err(PROGRAM.complain("hastctl resolve [--yes] --discard-local name ...")),
    };
    let needs_names = matches!(
        command,
        Command::Create { .. } | Command::Role { .. } | Command::Resolve { .. }
    );
    let refuses_names = command == Command::Stop;
    if needs_names && names.is_empty() || refuses_names && !names.is_empty() {
        return Err(PROGRAM.usage());
    }
    Ok(Options {
        config: parsed
            .value(&CONFIG_FLAG)
            .map_or_else(|| CONFIG.into(), PathBuf::from),
        debug: parsed.count(&DEBUG),
        command,
        names,
    })
}

fn take_role(names: &mut Vec<String>) -> Result<Role, CliError> {
    if names.is_empty() {
        return Err(PROGRAM.usage());
    }
    Role::from_name(names.remove(0).as_bytes()).ok_or_else(|| PROGRAM.usage())
}

fn create_options(parsed: &Parsed) -> Result<CreateOptions, CliError> {
    let number = |flag: &Flag, name: &str| match parsed.value(flag) {
        None => Ok(None),
        // 0 means the default.
        Some(text) => match text.to_str().and_then(expand_number) {
            Some(number) => Ok(Some(number).filter(|&number| number != 0)),
            None => Err(PROGRAM.invalid(format_args!("Invalid {name}"))),
        },
    };
    let keepdirty = number(&KEEPDIRTY, "keepdirty")?;
    Ok(CreateOptions {
        mediasize: number(&MEDIASIZE, "mediasize")?,
        extentsize: number(&EXTENTSIZE, "extentsize")?,
        keepdirty: keepdirty.map(|extents| u32::try_from(extents).unwrap_or(u32::MAX)),
    })
}

/// A number as `expand_number(3)` reads it: C's notation and one letter for a
/// power of 1024; what follows the letter means nothing.
fn expand_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'0'..=b'7', ..] => (&text[1..], 8),
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
        super::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn numbers_are_read_as_base_reads_them() {
        for (text, number) in [
            ("1000", Some(1000)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("0", Some(0)),
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
    fn what_is_ours_belongs_to_its_command() {
        let status = parse("status -v --json data").unwrap();
        let expected = Command::Status {
            verbose: true,
            json: true,
        };
        assert_eq!(
            (status.command, &*status.names),
            (expected, &["data".to_owned()][..])
        );
        let role = parse("role --wait --if-closed init all").unwrap();
        let expected = Command::Role {
            role: Role::Init,
            wait: true,
            if_closed: true,
        };
        assert_eq!(role.command, expected);
        for line in [
            "list --wait",
            "role --json init all",
            "stop data",
            "resolve data",
            "resolve --discard-local",
            "create --force",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("resolve --discard-local --yes data").is_ok());
    }
}

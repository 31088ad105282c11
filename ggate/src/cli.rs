//! Command lines as base reads them, over clap.
//!
//! Base's programs use getopt(3): options are single letters that may be
//! clustered (`-nv`, `-p3080`) and end at the first operand, the last of
//! several wins, a value may begin with `-`. An unknown option or a missing
//! value is one line plus the usage text on standard error; a wrong number of
//! operands or an option that belongs to another sub-command is the usage text
//! alone. The exit status is the program's, never clap's 2. Options of ours
//! that base has no letter for are words (`--json`); base refuses all of them.
//!
//! Each option is defined once, as a [`Flag`] constant; the same constant
//! parses it and reads it. Numbers are decimal digits within stated bounds: where
//! base took `abc` for 0, that is an error here.
//!
//! One thing clap does not let us copy: it drops a `=` in front of an attached
//! value, so `-p=1` is port 1.

use crate::gate::{Access, Unit};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;

/// What is common to all command lines of a program.
#[derive(Debug)]
pub struct Program {
    /// Name that begins diagnostics.
    pub name: &'static str,
    /// Usage text, base's to the byte, ending in a newline.
    pub usage: &'static str,
    /// Exit status of a command line that is wrong: 1 for the ggate programs,
    /// 64 (`EX_USAGE`) for the HAST ones.
    pub usage_status: u8,
    /// Sub-commands, as they are spelled; none if the program has none.
    pub subcommands: &'static [&'static str],
    /// Every option of every sub-command.
    pub flags: &'static [Flag],
}

/// An option of one letter, or of one word.
#[derive(Debug)]
pub struct Flag {
    spelling: Spelling,
    name: &'static str,
    takes_value: bool,
    only_in: Option<&'static [&'static str]>,
}

/// How an option is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    Letter(char),
    Word(&'static str),
}

impl Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(letter) => write!(f, "-{letter}"),
            Self::Word(word) => write!(f, "--{word}"),
        }
    }
}

impl Flag {
    /// An option without a value. The name is for error messages and must be
    /// unique within a program.
    #[must_use]
    pub const fn switch(letter: char, name: &'static str) -> Self {
        Self {
            spelling: Spelling::Letter(letter),
            name,
            takes_value: false,
            only_in: None,
        }
    }

    /// `--word`, without a value.
    #[must_use]
    pub const fn word(word: &'static str) -> Self {
        Self {
            spelling: Spelling::Word(word),
            name: word,
            takes_value: false,
            only_in: None,
        }
    }

    /// An option with a value, named like [`Flag::switch`].
    #[must_use]
    pub const fn value(letter: char, name: &'static str) -> Self {
        Self {
            spelling: Spelling::Letter(letter),
            name,
            takes_value: true,
            only_in: None,
        }
    }

    /// The same, allowed only in these sub-commands.
    #[must_use]
    pub const fn only_in(self, subcommands: &'static [&'static str]) -> Self {
        Self {
            only_in: Some(subcommands),
            ..self
        }
    }

    /// How it is written, its dash or dashes included.
    #[must_use]
    pub fn spelling(&self) -> String {
        self.spelling.to_string()
    }

    /// What it is about, in a word or two.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether a value follows.
    #[must_use]
    pub const fn takes_value(&self) -> bool {
        self.takes_value
    }

    /// Whether this sub-command has it.
    #[must_use]
    pub fn belongs_to(&self, subcommand: &str) -> bool {
        self.only_in
            .is_none_or(|allowed| allowed.contains(&subcommand))
    }

    fn to_arg(&self) -> Arg {
        let arg = Arg::new(self.name);
        let arg = match self.spelling {
            Spelling::Letter(letter) => arg.short(letter),
            Spelling::Word(word) => arg.long(word),
        };
        if self.takes_value {
            arg.action(ArgAction::Append)
                .value_parser(clap::value_parser!(OsString))
                .allow_hyphen_values(true)
        } else {
            arg.action(ArgAction::Count)
        }
    }
}

/// A command line that cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CliError {
    /// The usage text, perhaps behind a line that says what is wrong.
    Usage {
        /// The line, complete.
        complaint: Option<String>,
        /// The program's usage text.
        usage: &'static str,
        /// Exit status.
        status: u8,
    },
    /// A value that is not what its option wants: this line alone.
    Invalid {
        /// The line, complete.
        message: String,
        /// Exit status.
        status: u8,
    },
}

impl CliError {
    /// Prints it on standard error and gives the exit status.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        eprint!("{self}");
        match self {
            Self::Usage { status, .. } | Self::Invalid { status, .. } => ExitCode::from(*status),
        }
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage {
                complaint, usage, ..
            } => {
                if let Some(complaint) = complaint {
                    writeln!(f, "{complaint}")?;
                }
                f.write_str(usage)
            }
            Self::Invalid { message, .. } => writeln!(f, "{message}"),
        }
    }
}

impl std::error::Error for CliError {}

impl Program {
    /// The usage text alone, as the error that it is.
    #[must_use]
    pub const fn usage(&self) -> CliError {
        CliError::Usage {
            complaint: None,
            usage: self.usage,
            status: self.usage_status,
        }
    }

    /// The usage text behind a line of complaint.
    #[must_use]
    pub fn complain(&self, complaint: impl Into<String>) -> CliError {
        CliError::Usage {
            complaint: Some(complaint.into()),
            usage: self.usage,
            status: self.usage_status,
        }
    }

    /// A value that is wrong; the message gets the program's name in front.
    #[must_use]
    pub fn invalid(&self, message: impl Display) -> CliError {
        CliError::Invalid {
            message: format!("{}: {message}", self.name),
            status: self.usage_status,
        }
    }

    /// Parses arguments that follow the program's name, of a program without
    /// sub-commands.
    pub fn parse(
        &'static self,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Parsed, CliError> {
        self.parse_flags(args, None)
    }

    /// Takes the sub-command, in any case, from the front of the arguments that
    /// follow the program's name, then parses the rest. Gives the name as
    /// [`Program::subcommands`] spells it.
    pub fn parse_subcommand(
        &'static self,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<(&'static str, Parsed), CliError> {
        let mut args = args.into_iter();
        let word = args.next().ok_or_else(|| self.usage())?;
        let subcommand = self
            .subcommands
            .iter()
            .find(|name| word.eq_ignore_ascii_case(name))
            .ok_or_else(|| self.usage())?;
        Ok((subcommand, self.parse_flags(args, Some(subcommand))?))
    }

    /// As in base, every option of the program is parsed first, and only then
    /// those of other sub-commands are refused: `list -q` misses a value before
    /// it has no business there.
    fn parse_flags(
        &'static self,
        args: impl IntoIterator<Item = OsString>,
        subcommand: Option<&str>,
    ) -> Result<Parsed, CliError> {
        let matches = Command::new(self.name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args(self.flags.iter().map(Flag::to_arg))
            .arg(
                Arg::new(OPERANDS)
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .value_parser(clap::value_parser!(OsString)),
            )
            .try_get_matches_from(args)
            .map_err(|e| self.translate(&e))?;
        let parsed = Parsed {
            program: self,
            matches,
        };
        let foreign = |flag: &&Flag| subcommand.is_some_and(|this| !flag.belongs_to(this));
        if self.flags.iter().filter(foreign).any(|f| parsed.given(f)) {
            return Err(self.usage());
        }
        Ok(parsed)
    }

    /// clap's error in getopt's words.
    fn translate(&self, error: &clap::Error) -> CliError {
        // `-x` for an unknown option, `-u <u>` for one without its value,
        // `--long` for what getopt takes as the option `-`.
        let letter = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(arg)) => arg.chars().nth(1),
            _ => None,
        };
        match (error.kind(), letter) {
            (ErrorKind::UnknownArgument, Some(letter)) => {
                self.complain(format!("{}: illegal option -- {letter}", self.name))
            }
            (ErrorKind::InvalidValue, Some(letter)) => self.complain(format!(
                "{}: option requires an argument -- {letter}",
                self.name
            )),
            _ => self.usage(),
        }
    }
}

/// clap's name for the operands; no flag is called that.
const OPERANDS: &str = "operands";

/// A command line whose options are known and complete.
#[derive(Debug)]
pub struct Parsed {
    program: &'static Program,
    matches: ArgMatches,
}

impl Parsed {
    /// Whether the option is there at all.
    #[must_use]
    pub fn given(&self, flag: &Flag) -> bool {
        if flag.takes_value {
            self.values(flag).next().is_some()
        } else {
            self.matches.get_count(flag.name) > 0
        }
    }

    /// How often a switch was given.
    #[must_use]
    pub fn count(&self, flag: &Flag) -> u8 {
        self.matches.get_count(flag.name)
    }

    /// All values of the option, in order.
    pub fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsStr> {
        self.matches
            .get_many::<OsString>(flag.name)
            .into_iter()
            .flatten()
            .map(OsString::as_os_str)
    }

    /// The option's value; the last one wins.
    #[must_use]
    pub fn value(&self, flag: &Flag) -> Option<&OsStr> {
        self.values(flag).last()
    }

    /// The option's value as a number in `bounds`.
    pub fn number<T>(&self, flag: &Flag, bounds: RangeInclusive<T>) -> Result<Option<T>, CliError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(value) = self.value(flag) else {
            return Ok(None);
        };
        match value.to_str().and_then(decimal) {
            Some(number) if bounds.contains(&number) => Ok(Some(number)),
            _ => Err(self.program.invalid(format_args!(
                "{} {}: {} is not a number from {} to {}.",
                flag.spelling,
                value.display(),
                flag.name,
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// What follows the options.
    #[must_use]
    pub fn operands(&self) -> Vec<&OsStr> {
        self.matches
            .get_many::<OsString>(OPERANDS)
            .into_iter()
            .flatten()
            .map(OsString::as_os_str)
            .collect()
    }

    /// Exactly `N` operands, or the usage text.
    pub fn exactly<const N: usize>(&self) -> Result<[&OsStr; N], CliError> {
        self.operands().try_into().map_err(|_| self.program.usage())
    }
}

/// Decimal digits and nothing else; [`FromStr`] alone would allow a sign.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Largest unit number: the kernel's is a C `int`.
pub const MAX_UNIT: u32 = 0x7fff_ffff;

/// Largest socket buffer in bytes: `setsockopt` takes a C `int`.
pub const MAX_SOCKET_BUFFER: usize = 0x7fff_ffff;

/// What `-o` of ggatec and ggatel says, all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// `ro`, `wo` or `rw`; the last one wins.
    pub access: Access,
    /// `direct` (FreeBSD 15): around the page cache.
    pub direct: bool,
}

impl Parsed {
    /// The values of `-o`, in any case.
    pub fn opening(&self, flag: &Flag) -> Result<Opening, CliError> {
        let mut opening = Opening::default();
        for value in self.values(flag) {
            match value.to_ascii_lowercase().to_str() {
                Some("ro") => opening.access = Access::ReadOnly,
                Some("wo") => opening.access = Access::WriteOnly,
                Some("rw") => opening.access = Access::ReadWrite,
                Some("direct") => opening.direct = true,
                _ => {
                    return Err(self.program.invalid(format_args!(
                        "Invalid argument for '{}' option.",
                        flag.spelling
                    )));
                }
            }
        }
        Ok(opening)
    }

    /// A unit number.
    pub fn unit(&self, flag: &Flag) -> Result<Option<Unit>, CliError> {
        Ok(self.number(flag, 0..=MAX_UNIT)?.map(Unit))
    }

    /// A unit number that must be there.
    pub fn required_unit(&self, flag: &Flag) -> Result<Unit, CliError> {
        self.unit(flag)?
            .ok_or_else(|| self.program.complain("Required unit number."))
    }

    /// A sector size in bytes, a power of two.
    pub fn sector_size(&self, flag: &Flag) -> Result<Option<u32>, CliError> {
        match self.number(flag, 1..=u32::MAX)? {
            Some(size) if !size.is_power_of_two() => Err(self.program.invalid(format_args!(
                "{} {size}: {} is not a power of two.",
                flag.spelling, flag.name
            ))),
            size => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests;

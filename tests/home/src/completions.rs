//! Completions for bash, zsh and tcsh, made of the tables that parse the
//! command lines.
//!
//! They are committed, so that installing needs nothing; a test makes them
//! anew and compares. What a value or an operand is, the tables do not say:
//! that is here.

use ggate::cli::{Flag, Program};
use std::fmt::Write as _;

/// The programs.
#[must_use]
pub fn programs() -> [&'static Program; 5] {
    [
        &ggatec::PROGRAM,
        &ggated::PROGRAM,
        &ggatel::PROGRAM,
        &hast::ctl::PROGRAM,
        &hast::daemon::PROGRAM,
    ]
}

/// The files, by their names in `share/completions`.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut tcsh = format!("# {MADE}\n# To be sourced in .tcshrc.\n");
    for program in programs() {
        files.push((format!("{}.bash", program.name), bash(program)));
        files.push((format!("_{}", program.name), zsh(program)));
        tcsh.push_str(&for_tcsh(program));
    }
    files.push(("highgate.csh".into(), tcsh));
    files
}

const MADE: &str = "Made by: cargo run -p home --bin completions";

/// What can stand somewhere.
#[derive(Clone, Copy)]
enum What {
    /// Nothing that is known.
    Anything,
    File,
    Words(&'static str),
    /// Units of providers that exist.
    Unit,
    /// Resources of hast.conf, or all.
    Resource,
    /// A role first, then resources.
    RoleAndResource,
}

const ROLES: &str = "init primary secondary";

fn value(flag: &Flag) -> What {
    match flag.name() {
        "access" => What::Words("ro wo rw direct"),
        "config" | "pid file" | "pidfile" => What::File,
        "unit" => What::Unit,
        _ => What::Anything,
    }
}

fn operand(program: &Program, subcommand: &str) -> What {
    match (program.name, subcommand) {
        ("ggatel", "create" | "rescue") | ("ggated", _) => What::File,
        ("hastctl", "role") => What::RoleAndResource,
        ("hastctl", "stop" | "help") => What::Anything,
        ("hastctl", _) => What::Resource,
        _ => What::Anything,
    }
}

/// The sub-commands, or one without a name.
fn subcommands(program: &Program) -> &'static [&'static str] {
    if program.subcommands.is_empty() {
        &[""]
    } else {
        program.subcommands
    }
}

fn flags<'a>(program: &'a Program, subcommand: &'a str) -> impl Iterator<Item = &'a Flag> {
    let flags = program.flags.iter();
    flags.filter(move |flag| subcommand.is_empty() || flag.belongs_to(subcommand))
}

/// A command that prints the units or the resources that there are.
fn existing(program: &Program) -> Option<String> {
    match program.name {
        name @ ("ggatec" | "ggatel") => {
            Some(format!("{name} list 2>/dev/null | sed -n 's/^ggate//p'"))
        }
        "hastctl" => {
            let names = r"s/^[[:space:]]*resource[[:space:]]*\([^[:space:]{]*\).*/\1/p";
            Some(format!(
                "echo all; sed -n '{names}' /etc/hast.conf 2>/dev/null"
            ))
        }
        _ => None,
    }
}

fn bash(program: &Program) -> String {
    let name = program.name;
    let choose = |words: &str| format!("COMPREPLY=($(compgen -W '{words}' -- \"$word\"))");
    let reply = |what: What| match what {
        What::Anything => ":".into(),
        What::File => "COMPREPLY=($(compgen -f -- \"$word\"))".into(),
        What::Words(words) => choose(words),
        What::Unit | What::Resource | What::RoleAndResource => {
            format!("COMPREPLY=($(compgen -W \"$(_{name}_existing)\" -- \"$word\"))")
        }
    };
    let mut text = format!("# bash completion of {name}. {MADE}\n");
    if let Some(command) = existing(program) {
        let _ = write!(text, "_{name}_existing() {{\n\t{command}\n}}\n");
    }
    let _ = write!(
        text,
        "_{name}() {{\n\tlocal word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}\n\tCOMPREPLY=()\n"
    );
    let has_subcommands = !program.subcommands.is_empty();
    if has_subcommands {
        let _ = write!(
            text,
            "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\t{}\n\t\treturn\n\tfi\n",
            choose(&program.subcommands.join(" "))
        );
    }
    let key = if has_subcommands {
        "${COMP_WORDS[1]}"
    } else {
        ""
    };
    let _ = writeln!(text, "\tcase {key}:$before:$word in");
    for subcommand in subcommands(program) {
        for flag in flags(program, subcommand).filter(|flag| flag.takes_value()) {
            let spelling = flag.spelling();
            let _ = writeln!(
                text,
                "\t{subcommand}:{spelling}:*) {} ;;",
                reply(value(flag))
            );
        }
        let spelled: Vec<String> = flags(program, subcommand).map(Flag::spelling).collect();
        let _ = writeln!(
            text,
            "\t{subcommand}:*:-*) {} ;;",
            choose(&spelled.join(" "))
        );
        let operand = operand(program, subcommand);
        if let What::RoleAndResource = operand {
            let _ = writeln!(
                text,
                "\t{subcommand}:init:* | {subcommand}:primary:* | {subcommand}:secondary:*) {} ;;",
                reply(operand)
            );
            let _ = writeln!(text, "\t{subcommand}:*) {} ;;", reply(What::Words(ROLES)));
        } else {
            let _ = writeln!(text, "\t{subcommand}:*) {} ;;", reply(operand));
        }
    }
    let _ = write!(text, "\tesac\n}}\ncomplete -F _{name} {name}\n");
    text
}

fn zsh(program: &Program) -> String {
    let name = program.name;
    let action = |what: What| match what {
        What::Anything => String::new(),
        What::File => "_files".into(),
        What::Words(words) => format!("({words})"),
        What::RoleAndResource => format!("({ROLES})"),
        What::Unit | What::Resource => format!("_{name}_existing"),
    };
    let arguments = |subcommand: &str| {
        let mut lines = Vec::new();
        for flag in flags(program, subcommand) {
            let (spelling, about) = (flag.spelling(), flag.name());
            lines.push(if flag.takes_value() {
                format!("'*{spelling}+[{about}]:{about}:{}'", action(value(flag)))
            } else {
                format!("'*{spelling}[{about}]'")
            });
        }
        match operand(program, subcommand) {
            What::Anything => lines.push("'*:operand: '".into()),
            What::RoleAndResource => {
                lines.push(format!("'1:role:({ROLES})'"));
                lines.push(format!("'*:resource:{}'", action(What::Resource)));
            }
            what => lines.push(format!("'*:operand:{}'", action(what))),
        }
        lines.join(" \\\n\t\t")
    };
    let mut text = format!("#compdef {name}\n# {MADE}\n");
    if let Some(command) = existing(program) {
        let _ = write!(
            text,
            "_{name}_existing() {{\n\tcompadd -- $({command})\n}}\n"
        );
    }
    let _ = writeln!(text, "_{name}() {{");
    if program.subcommands.is_empty() {
        let _ = writeln!(text, "\t_arguments -s \\\n\t\t{}", arguments(""));
    } else {
        let words = program.subcommands.join(" ");
        let _ = write!(
            text,
            "\tif ((CURRENT == 2)); then\n\t\tcompadd -- {words}\n\t\treturn\n\tfi\n\
             \tshift words\n\t((CURRENT--))\n\tcase $words[1] in\n"
        );
        for subcommand in program.subcommands {
            let _ = writeln!(
                text,
                "\t{subcommand})\n\t\t_arguments -s \\\n\t\t{} ;;",
                arguments(subcommand)
            );
        }
        text.push_str("\tesac\n");
    }
    let _ = write!(text, "}}\n_{name} \"$@\"\n");
    text
}

/// tcsh knows words by their place and by the one before, not by the
/// sub-command: options of all of them are offered.
fn for_tcsh(program: &Program) -> String {
    let name = program.name;
    let mut rules = Vec::new();
    if !program.subcommands.is_empty() {
        rules.push(format!("p/1/({})/", program.subcommands.join(" ")));
    }
    for flag in program.flags.iter().filter(|flag| flag.takes_value()) {
        let words = match value(flag) {
            What::File => "f".into(),
            What::Words(words) => format!("({words})"),
            _ => format!("x:{}:", flag.name()),
        };
        rules.push(format!("n/{}/{words}/", flag.spelling()));
    }
    let long = program.flags.iter().map(Flag::spelling);
    let (long, short): (Vec<String>, Vec<String>) =
        long.partition(|spelling| spelling.starts_with("--"));
    for (dashes, spelled) in [("--", long), ("-", short)] {
        let letters: Vec<&str> = spelled.iter().map(|s| s.trim_start_matches('-')).collect();
        if !letters.is_empty() {
            rules.push(format!("c/{dashes}/({})/", letters.join(" ")));
        }
    }
    match name {
        "hastctl" => rules.push(format!("n/role/({ROLES})/")),
        "ggatel" | "ggated" => rules.push("p/*/f/".into()),
        _ => {}
    }
    format!("complete {name} \\\n\t'{}'\n", rules.join("' \\\n\t'"))
}

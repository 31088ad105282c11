//! The messages in the sources: every text of several words but those that no
//! user meets.

use std::fs;
use std::path::Path;

/// Sources of the programs and of the libraries under them.
const SOURCES: [&str; 6] = [
    "ggate/src",
    "ggatec/src",
    "ggated/src",
    "ggatel/src",
    "hastd/src",
    "hast-core/src",
];

/// Scripts that are installed and say something.
pub const SCRIPTS: [&str; 5] = [
    "rc.d/ggatec",
    "rc.d/ggated",
    "rc.d/hastd",
    "share/examples/hast/hast-switch",
    "share/examples/hast/rc",
];

/// What stands before a text in its statement if that is for developers, or
/// explained elsewhere: the values of options in the manuals. What `-d` adds
/// tells what hastd does, and asks for nothing.
const NO_MESSAGE: [&str; 10] = [
    "log::debug!(",
    "expect(",
    "panic!(",
    "unreachable!(",
    "assert!(",
    "assert_eq!(",
    "compile_error!(",
    "must_use =",
    "reason =",
    "Flag::value(",
];

/// Texts that are not for users, and those that are explained elsewhere: the
/// usage in the manuals, what `hastctl list` prints in docs/json.md.
const ELSEWHERE: [&str; 10] = [
    "usage: ",
    "hastd: [-dFh]",
    "destroy force",
    "highgate gate 1",
    "secondary idle",
    "    activemap updates:",
    "    local errors:",
    "    queues:",
    "{name}: {}.\n  lost: ",
    "FreeBSD error ",
];

/// Files of which the same is true: names of the system's errors, names of
/// statistics, what other sources only have for their tests.
const FILES_ELSEWHERE: [&str; 3] = ["/errno.rs", "/message/control.rs", "/testing.rs"];

/// All messages as they are written, with the file they are in.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    let sources = sources().into_iter();
    let sources =
        sources.filter(|(name, _)| !FILES_ELSEWHERE.iter().any(|file| name.ends_with(file)));
    let found = sources.flat_map(|(name, code)| {
        let messages = literals(&code).into_iter();
        messages
            .filter(|(before, _)| !NO_MESSAGE.iter().any(|sign| before.contains(sign)))
            .filter(|(_, text)| is_message(text))
            .map(|(_, text)| (name.clone(), text))
            .collect::<Vec<_>>()
    });
    found.collect()
}

fn is_message(text: &str) -> bool {
    !ELSEWHERE.iter().any(|start| text.starts_with(start))
}

/// What our scripts say, with the script.
#[must_use]
pub fn of_scripts() -> Vec<(&'static str, String)> {
    let lines = SCRIPTS.map(|script| {
        let said = move |line: &str| {
            let says = ["warn \"", "say \"", "echo \"", "await \""];
            let (_, rest) = says.iter().find_map(|verb| line.split_once(verb))?;
            let text = literal(&mut rest.chars());
            is_message(&text).then_some((script, text))
        };
        crate::read(script).lines().filter_map(said).collect()
    });
    lines.into_iter().flat_map(|lines: Vec<_>| lines).collect()
}

/// The longest part of a script's message without its variables.
#[must_use]
pub fn landmark_of_script(message: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_{}:-#%*@".contains(c);
    longest(
        message
            .split('$')
            .enumerate()
            .map(|(place, part)| match place {
                0 => part,
                _ => part.trim_start_matches(is_name),
            }),
    )
}

/// The sources without their tests, by their names.
#[must_use]
pub fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in SOURCES {
        scan(&crate::project(folder), &mut found);
    }
    found
}

fn scan(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && name != "tests" {
            scan(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]\nmod tests {").next();
            found.push((
                path.display().to_string(),
                code.unwrap_or_default().to_owned(),
            ));
        }
    }
}

/// The literals in the sources below a folder, for users or not.
#[must_use]
pub fn texts_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    scan(&crate::project(folder), &mut found);
    let texts = found.iter().flat_map(|(_, code)| literals(code));
    texts.map(|(_, text)| text).collect()
}

/// Every literal, with the code of its statement that stands before it. No
/// source has a raw one.
fn literals(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        let rest = chars.as_str();
        match c {
            '/' if rest.starts_with('/') => {
                chars = rest.trim_start_matches(|c| c != '\n').chars();
            }
            // A character, and no lifetime.
            '\'' if rest.starts_with('\\') => {
                let end = rest[2..].find('\'').map_or(rest.len(), |end| end + 3);
                chars = rest[end..].chars();
            }
            '\'' if rest.chars().nth(1) == Some('\'') => {
                chars.nth(1);
            }
            '"' => {
                let text = literal(&mut chars);
                found.push((before.clone(), text));
            }
            ';' | '{' | '}' => before.clear(),
            c => before.push(c),
        }
    }
    found
}

/// A literal up to its closing quote.
fn literal(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                // The next line goes on where its text begins.
                Some('\n') => *chars = chars.as_str().trim_start().chars(),
                Some('n' | 't') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

/// The longest part of a message that is always the same, if that is enough to
/// know it by: several words.
#[must_use]
pub fn landmark(message: &str) -> Option<&str> {
    let parts = message
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    longest(parts.flat_map(str::lines))
}

/// The same of a message as a guide writes it, with `…`.
#[must_use]
pub fn landmark_of_pattern(pattern: &str) -> Option<&str> {
    longest(pattern.split('…'))
}

fn longest<'a>(parts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    parts
        .map(|part| part.trim_matches(|c: char| " .,:;()[]{}`'".contains(c)))
        .max_by_key(|part| part.len())
        .filter(|part| part.len() >= 10 && part.contains(' '))
}

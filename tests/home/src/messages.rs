//! The messages in the sources: what follows the places that make them.

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

/// What stands before the text of a message to users.
const PLACES: [&str; 7] = [
    "#[error(",
    "log::error!(",
    "log::warning!(",
    "log::fatal(",
    ".complain(",
    ".invalid(",
    "complaints.log(Level::Error,",
];

/// All messages as they are written, with the file they are in.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    let sources = sources().into_iter();
    let found = sources.flat_map(|(name, code)| {
        let messages: Vec<String> = messages(&code).collect();
        messages
            .into_iter()
            .map(move |message| (name.clone(), message))
    });
    found.collect()
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

/// The literals that follow one of [`PLACES`].
fn messages(code: &str) -> impl Iterator<Item = String> {
    let begins = PLACES.iter().flat_map(move |place| {
        let ends = code.match_indices(place).map(|(at, _)| at + place.len());
        ends.filter_map(move |at| {
            let rest = code[at..].trim_start();
            let rest = ["format!(", "format_args!("]
                .iter()
                .find_map(|wrapper| rest.strip_prefix(wrapper))
                .unwrap_or(rest);
            rest.trim_start().strip_prefix('"')
        })
    });
    begins.map(literal)
}

/// A literal up to its closing quote.
fn literal(rest: &str) -> String {
    let mut text = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                // The next line goes on where its text begins.
                Some('\n') => chars = chars.as_str().trim_start().chars(),
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
    longest(parts)
}

/// The same of a message as a guide writes it, with `…`.
#[must_use]
pub fn landmark_of_pattern(pattern: &str) -> Option<&str> {
    longest(pattern.split('…'))
}

fn longest<'a>(parts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    parts
        .map(|part| part.trim_matches(|c: char| " .,:;()[]`'".contains(c)))
        .max_by_key(|part| part.len())
        .filter(|part| part.len() >= 10 && part.contains(' '))
}

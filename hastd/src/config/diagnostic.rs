//! A file of the configuration, and what is to be said about a place in it.

use ggate::textfile::{self, Accept, TextError};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest file in bytes: some ten thousand resources.
pub const LONGEST_FILE: usize = 1 << 20;

/// Most warnings that are kept; what is no configuration at all has a million.
pub(super) const MOST_WARNINGS: usize = 100;

/// Most characters of a line that are shown, and of them before the place.
const EXCERPT: usize = 120;
const BEFORE: usize = 60;

/// A file in memory.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: Vec<u8>,
    /// Where lines end.
    newlines: Vec<usize>,
}

impl Source {
    /// A text that came from somewhere; the path is for messages.
    #[must_use]
    pub fn new(path: PathBuf, text: Vec<u8>) -> Self {
        let newlines = (0..).zip(&text).filter(|(_, byte)| **byte == b'\n');
        let newlines = newlines.map(|(at, _)| at).collect();
        Self {
            path,
            text,
            newlines,
        }
    }

    /// Reads a file.
    pub(super) fn read(path: &Path, accept: Accept) -> Result<Self, TextError> {
        let text = textfile::read(path, LONGEST_FILE, accept)?;
        Ok(Self::new(path.to_owned(), text))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where a comment begins that no newline ends. Base has none of those: it
    /// takes what follows for configuration.
    pub(super) fn open_comment(&self) -> Option<usize> {
        let line = self.newlines.last().map_or(0, |newline| newline + 1);
        let comment = self.text[line..].iter().position(|byte| *byte == b'#');
        comment.map(|at| line + at)
    }

    /// Number of the line an offset is in, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.newlines.partition_point(|end| *end < offset) + 1
    }

    /// Says something about these bytes.
    pub(super) fn diagnostic(&self, span: Range<usize>, message: String) -> Diagnostic {
        let (before, after) = self.text.split_at(span.start.min(self.text.len()));
        let begin = before.iter().rposition(|byte| *byte == b'\n');
        let indent = printable(&before[begin.map_or(0, |at| at + 1)..]);
        let end = after.iter().position(|byte| *byte == b'\n');
        let rest = &after[..end.unwrap_or(after.len())];
        let marked = printable(&rest[..span.len().min(rest.len())]);
        let rest = printable(rest.strip_suffix(b"\r").unwrap_or(rest));
        let shown_from = indent.len().saturating_sub(BEFORE);
        let indent_shown = &indent[shown_from..];
        let line = indent_shown.iter().chain(&rest).take(EXCERPT);
        Diagnostic {
            file: self.path.display().to_string(),
            line: self.line(before.len()),
            column: indent.len() + 1,
            message,
            excerpt: line.collect(),
            indent: indent_shown.len(),
            marked: marked.len().clamp(1, EXCERPT - indent_shown.len()),
        }
    }
}

/// Text that commands no terminal and has one column per character.
fn printable(bytes: &[u8]) -> Vec<char> {
    let shown = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

/// A message about a place in a file. Shows as
///
/// ```text
/// /etc/hast.conf:7:19: `disk` is no statement
///     local "/dev/my disk"
///                    ^^^^
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
    #[serde(skip)]
    excerpt: String,
    /// Characters of the excerpt before the place.
    #[serde(skip)]
    indent: usize,
    /// Characters of the place.
    #[serde(skip)]
    marked: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            excerpt,
            indent,
            marked,
        } = self;
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, "    {}", excerpt.trim_end())?;
        write!(f, "    {:indent$}{:^>marked$}", "", "")
    }
}

impl std::error::Error for Diagnostic {}

/// What is accepted and probably not meant.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<Diagnostic>);

impl Warnings {
    /// Warns, unless there are too many warnings already.
    pub(super) fn add(&mut self, source: &Source, span: Range<usize>, message: String) {
        let message = match self.0.len() {
            ..MOST_WARNINGS => message,
            MOST_WARNINGS => "from here on there are more warnings; they are left out".into(),
            _ => return,
        };
        self.0.push(source.diagnostic(span, message));
    }

    /// In the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|warning| (warning.line, warning.column));
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8], span: Range<usize>) -> String {
        let source = Source::new("hast.conf".into(), text.to_vec());
        source.diagnostic(span, "bad".into()).to_string()
    }

    #[test]
    fn the_place_is_counted_from_1_and_marked() {
        assert_eq!(
            shown(b"timeout 5\n\ttimeout 5s # x\r\n", 19..21),
            "hast.conf:2:10: bad\n     timeout 5s # x\n             ^^"
        );
        assert_eq!(shown(b"a", 0..1), "hast.conf:1:1: bad\n    a\n    ^");
    }

    #[test]
    fn the_end_of_the_file_is_a_place() {
        assert_eq!(shown(b"", 0..0), "hast.conf:1:1: bad\n    \n    ^");
        assert_eq!(shown(b"a {\n", 4..4), "hast.conf:2:1: bad\n    \n    ^");
        assert_eq!(
            shown(b"a {", 9..10),
            "hast.conf:1:4: bad\n    a {\n       ^"
        );
    }

    #[test]
    fn columns_are_characters_and_nothing_reaches_the_terminal() {
        let text = "nä\u{1b}[2J\u{feff}x".as_bytes();
        let at = text.len() - 1;
        assert_eq!(
            shown(text, at..at + 1),
            "hast.conf:1:8: bad\n    nä?[2J\u{feff}x\n           ^"
        );
        let at = shown(b"\xff\xfe y", 3..4);
        assert!(at.starts_with("hast.conf:1:4: "), "{at}");
    }

    #[test]
    fn a_long_line_is_cut_round_the_place() {
        let shown = shown("x".repeat(100_000).as_bytes(), 50_000..90_000);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "hast.conf:1:50001: bad");
        assert_eq!((lines[1].len(), lines[2].len()), (124, 124));
        assert_eq!(lines[2].find('^'), Some(64));
    }

    #[test]
    fn warnings_are_bounded() {
        let source = Source::new("hast.conf".into(), vec![b';'; 1000]);
        let mut warnings = Warnings::default();
        for at in 0..1000 {
            warnings.add(&source, at..at + 1, "x".into());
        }
        let warnings = warnings.into_sorted();
        assert_eq!(warnings.len(), MOST_WARNINGS + 1);
        assert!(warnings[MOST_WARNINGS].message.contains("left out"));
        assert_eq!(warnings[MOST_WARNINGS].column, MOST_WARNINGS + 1);
    }
}

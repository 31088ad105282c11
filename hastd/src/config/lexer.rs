//! Words, numbers and braces. Facts: spec/hast-config.md section 1.
//!
//! Lines mean nothing, there are no quotes and no escapes. Base throws away
//! every character it does not know and says nothing; here that is a warning.

use super::diagnostic::{Source, Warnings};
use std::ops::Range;

/// Words that mean something and so cannot be values.
const KEYWORDS: [&str; 24] = [
    "control",
    "pidfile",
    "listen",
    "replication",
    "checksum",
    "compression",
    "timeout",
    "exec",
    "metaflush",
    "resource",
    "name",
    "local",
    "remote",
    "source",
    "on",
    "off",
    "fullsync",
    "memsync",
    "async",
    "none",
    "crc32",
    "sha256",
    "hole",
    "lzf",
];

/// Most characters of what is ignored that a message repeats.
const SHOWN: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Keyword,
    /// Digits and nothing else.
    Number,
    Word,
    Open,
    Close,
    End,
}

/// A word and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    at: usize,
}

impl Token<'_> {
    pub(super) fn span(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }
}

/// Cuts a file into tokens; the last is [`Kind::End`].
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    source: &'a Source,
    text: &'a [u8],
    at: usize,
    /// The CR of a CR LF was met.
    crlf: bool,
    pub(super) warnings: Warnings,
}

impl<'a> Lexer<'a> {
    /// Reads the first `length` bytes.
    pub(super) fn new(source: &'a Source, length: usize) -> Self {
        Self {
            source,
            text: &source.text()[..length],
            at: 0,
            crlf: false,
            warnings: Warnings::default(),
        }
    }

    pub(super) const fn source(&self) -> &'a Source {
        self.source
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        let text = self.text;
        while let Some(&byte) = text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' => self.at += 1,
                b'#' => self.skip_comment(),
                b'{' => return self.take(1, |_| Kind::Open),
                b'}' => return self.take(1, |_| Kind::Close),
                _ if is_word(byte) => {
                    let rest = &text[self.at..];
                    let length = rest.iter().position(|byte| !is_word(*byte));
                    return self.take(length.unwrap_or(rest.len()), kind);
                }
                _ => self.skip_unknown(),
            }
        }
        self.take(0, |_| Kind::End)
    }

    fn take(&mut self, length: usize, kind: fn(&str) -> Kind) -> Token<'a> {
        let at = self.at;
        self.at += length;
        let text = str::from_utf8(&self.text[at..self.at]).expect("words and braces are ASCII");
        let kind = kind(text);
        Token { kind, text, at }
    }

    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            self.at += length;
            return;
        }
        if self.source.open_comment() == Some(self.at) {
            self.warn(
                self.at..self.at + 1,
                "this is no comment, for no newline ends the line: what follows counts as \
                 configuration. Add a newline"
                    .into(),
            );
        }
        self.at += 1;
    }

    fn skip_unknown(&mut self) {
        let rest = &self.text[self.at..];
        let start = self.at;
        if rest.starts_with(b"\r\n") {
            self.at += 1;
            if !std::mem::replace(&mut self.crlf, true) {
                self.warn(
                    start..self.at,
                    "the line ends in CR LF; the CR is ignored, here and below".into(),
                );
            }
            return;
        }
        let length =
            (1..rest.len()).find(|at| is_known(rest[*at]) || rest[*at..].starts_with(b"\r\n"));
        let unknown = &rest[..length.unwrap_or(rest.len())];
        self.at += unknown.len();
        let shown = String::from_utf8_lossy(unknown);
        let shown: String = shown.escape_debug().take(SHOWN).collect();
        self.warn(
            start..self.at,
            format!(
                "`{shown}` means nothing and is ignored: there are no quotes and no separators, and \
                 a value has only letters, digits and . - _ / : [ ]"
            ),
        );
    }

    fn warn(&mut self, span: Range<usize>, message: String) {
        self.warnings.add(self.source, span, message);
    }
}

fn kind(word: &str) -> Kind {
    if KEYWORDS.contains(&word) {
        Kind::Keyword
    } else if word.bytes().all(|byte| byte.is_ascii_digit()) {
        Kind::Number
    } else {
        Kind::Word
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/' | b':' | b'[' | b']')
}

const fn is_known(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b' ' | b'\t' | b'\n' | b'#' | b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tokens as `kind text`, warnings as `column message`.
    fn lex(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let source = Source::new("hast.conf".into(), text.to_vec());
        let mut lexer = Lexer::new(&source, text.len());
        let mut tokens = Vec::new();
        loop {
            let token = lexer.next();
            if token.kind == Kind::End {
                break;
            }
            tokens.push(format!("{:?} {}", token.kind, token.text));
        }
        let warnings = lexer.warnings.into_sorted();
        let warning = |w: &super::super::Diagnostic| format!("{} {}", w.column, w.message);
        (tokens, warnings.iter().map(warning).collect())
    }

    #[test]
    fn the_longest_match_wins_and_then_the_keyword() {
        let (tokens, warnings) = lex(b"local local1 123 5s {none}[::1]:8457\ta/B-_.\n5#x\n");
        let expected = [
            "Keyword local",
            "Word local1",
            "Number 123",
            "Word 5s",
            "Open {",
            "Keyword none",
            "Close }",
            "Word [::1]:8457",
            "Word a/B-_.",
            "Number 5",
        ];
        assert_eq!(tokens, expected);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    /// Base prints these to standard output and goes on.
    #[test]
    fn what_base_throws_away_is_a_warning_for_each_run() {
        let (tokens, warnings) = lex(b"a\";\" b ;;\r\n\xffc%\0d\r\r\n");
        assert_eq!(tokens, ["Word a", "Word b", "Word c", "Word d"]);
        let begins: Vec<&str> = warnings
            .iter()
            .map(|w| w.split(" means").next().unwrap())
            .collect();
        assert_eq!(
            begins,
            [
                r#"2 `\";\"`"#,
                "8 `;;`",
                "10 the line ends in CR LF; the CR is ignored, here and below",
                "1 `\u{fffd}`",
                r"3 `%\0`",
                r"6 `\r`",
            ]
        );
    }

    #[test]
    fn a_comment_ends_with_its_line_or_is_none() {
        let (tokens, warnings) = lex(b"# on { \"\n#\na # b # timeout 5");
        assert_eq!(tokens, ["Word a", "Word b", "Keyword timeout", "Number 5"]);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].starts_with("3 this is no comment"),
            "{warnings:?}"
        );
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_token_or_ignored(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let source = Source::new("x".into(), text.clone());
            let mut lexer = Lexer::new(&source, text.len());
            let mut at = 0;
            loop {
                let token = lexer.next();
                prop_assert!(token.span().start >= at);
                at = token.span().end;
                prop_assert_eq!(token.text.as_bytes(), &text[token.span()]);
                if token.kind == Kind::End {
                    break;
                }
                prop_assert!(!token.text.is_empty());
            }
            prop_assert_eq!(at, text.len());
        }
    }
}

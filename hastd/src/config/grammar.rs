//! Statements, and where each may stand. Facts: spec/hast-config.md section 2.
//!
//! The grammar is a table, so that hast.conf and what is ours beside it have
//! one parser and each message can say what was expected.

use super::diagnostic::{Diagnostic, Source, Warnings};
use super::lexer::{Kind, Lexer, Token};
use Scope::{Global, Node, Resource, ResourceNode};
use std::ops::Range;

/// Where a statement stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    Global,
    /// In `on` at the top.
    Node,
    Resource,
    /// In `on` in a resource.
    ResourceNode,
}

/// What follows the keyword.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    Word,
    WordOrNone,
    Number,
    /// A number, perhaps with a letter.
    Size,
    OneOf(&'static [&'static str]),
    /// A name and a block.
    Block(Scope),
}

/// A statement that may be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    scopes: &'static [Scope],
    keyword: &'static str,
    argument: Argument,
}

pub(super) const fn rule(
    scopes: &'static [Scope],
    keyword: &'static str,
    argument: Argument,
) -> Rule {
    Rule {
        scopes,
        keyword,
        argument,
    }
}

const REPLICATION: Argument = Argument::OneOf(&["fullsync", "memsync", "async"]);
const CHECKSUM: Argument = Argument::OneOf(&["none", "crc32", "sha256"]);
const COMPRESSION: Argument = Argument::OneOf(&["none", "hole", "lzf"]);
const SWITCH: Argument = Argument::OneOf(&["on", "off"]);

/// hast.conf(5).
pub(super) static HAST_CONF: [Rule; 16] = [
    rule(&[Global, Node], "control", Argument::Word),
    rule(&[Global, Node], "pidfile", Argument::Word),
    rule(&[Global, Node], "listen", Argument::Word),
    rule(&[Global, Resource], "replication", REPLICATION),
    rule(&[Global, Resource], "checksum", CHECKSUM),
    rule(&[Global, Resource], "compression", COMPRESSION),
    rule(&[Global, Resource], "timeout", Argument::Number),
    rule(&[Global, Resource], "exec", Argument::Word),
    rule(&[Global, Resource, ResourceNode], "metaflush", SWITCH),
    rule(&[Global], "resource", Argument::Block(Resource)),
    rule(&[Global], "on", Argument::Block(Node)),
    rule(&[Resource], "on", Argument::Block(ResourceNode)),
    rule(&[Resource, ResourceNode], "name", Argument::Word),
    rule(&[Resource, ResourceNode], "local", Argument::Word),
    rule(&[ResourceNode], "remote", Argument::WordOrNone),
    rule(&[ResourceNode], "source", Argument::Word),
];

/// A statement that was made.
#[derive(Clone, Debug)]
pub(super) struct Statement<'a> {
    pub(super) keyword: &'static str,
    pub(super) value: Token<'a>,
    /// What is in its block.
    pub(super) body: Vec<Self>,
}

/// Reads the first `length` bytes of a file.
pub(super) fn parse<'a>(
    source: &'a Source,
    length: usize,
    grammar: &'static [Rule],
) -> Result<(Vec<Statement<'a>>, Warnings), Diagnostic> {
    let mut parser = Parser {
        grammar,
        lexer: Lexer::new(source, length),
        last: 0,
    };
    match parser.block(Global, None) {
        Ok(statements) => Ok((statements, parser.lexer.warnings)),
        Err(Mistake { span, message }) => Err(source.diagnostic(span, message)),
    }
}

/// What is wrong, and where.
#[derive(Debug)]
struct Mistake {
    span: Range<usize>,
    message: String,
}

fn mistake<T>(token: Token<'_>, message: String) -> Result<T, Mistake> {
    let span = token.span();
    Err(Mistake { span, message })
}

struct Parser<'a> {
    grammar: &'static [Rule],
    lexer: Lexer<'a>,
    /// End of the last value.
    last: usize,
}

impl<'a> Parser<'a> {
    /// Statements up to the end of the file, or to the `}` of what was opened.
    fn block(
        &mut self,
        scope: Scope,
        opened: Option<Token<'a>>,
    ) -> Result<Vec<Statement<'a>>, Mistake> {
        let mut statements = Vec::new();
        loop {
            let token = self.lexer.next();
            match (token.kind, opened) {
                (Kind::End, None) | (Kind::Close, Some(_)) => return Ok(statements),
                (Kind::Close, None) => {
                    return mistake(token, "there is no `{` for this `}`: remove it".into());
                }
                (Kind::End, Some(open)) => {
                    let line = self.lexer.source().line(open.span().start);
                    let message = format!("the `}}` is missing for the `{{` in line {line}");
                    return mistake(token, message);
                }
                _ => statements.push(self.statement(scope, token)?),
            }
        }
    }

    fn statement(&mut self, scope: Scope, token: Token<'a>) -> Result<Statement<'a>, Mistake> {
        let possible = |rule: &&Rule| rule.scopes.contains(&scope);
        let named = |rule: &&Rule| rule.keyword == token.text;
        let Some(rule) = self.grammar.iter().filter(possible).find(named) else {
            return mistake(token, self.unexpected(scope, token));
        };
        let value = self.lexer.next();
        if !rule.argument.takes(value) {
            return mistake(value, rule.expected(value));
        }
        self.last = value.span().end;
        let mut body = Vec::new();
        if let Argument::Block(scope) = rule.argument {
            let open = self.lexer.next();
            if open.kind != Kind::Open {
                let message = format!("a `{{` must follow `{} {}`", rule.keyword, value.text);
                return mistake(open, message);
            }
            body = self.block(scope, Some(open))?;
        }
        Ok(Statement {
            keyword: rule.keyword,
            value,
            body,
        })
    }

    /// What to say of a token that begins no statement.
    fn unexpected(&self, scope: Scope, token: Token<'_>) -> String {
        let between = &self.lexer.source().text()[self.last..token.span().start];
        let mut elsewhere = self
            .grammar
            .iter()
            .filter(|rule| rule.keyword == token.text);
        let here = scope.place();
        if let Some(rule) = elsewhere.next() {
            let there: Vec<&str> = rule.scopes.iter().map(|scope| scope.place()).collect();
            let there = there.join(" or ");
            format!("`{}` cannot stand {here}: it belongs {there}", token.text)
        } else if self.last > 0 && !between.contains(&b'\n') {
            let text = token.text;
            format!("`{text}` does not belong to the value before: a value cannot contain spaces")
        } else {
            let text = token.text;
            let rules = self
                .grammar
                .iter()
                .filter(|rule| rule.scopes.contains(&scope));
            let words: Vec<&str> = rules.map(|rule| rule.keyword).collect();
            let words = words.join(", ");
            format!("`{text}` is no statement. {here} can stand: {words}")
        }
    }
}

impl Scope {
    const fn place(self) -> &'static str {
        match self {
            Global => "at the top",
            Node => "in `on` at the top",
            Resource => "in `resource`",
            ResourceNode => "in `on` in a resource",
        }
    }
}

impl Argument {
    fn takes(self, value: Token<'_>) -> bool {
        match self {
            Self::Word | Self::Block(_) => value.kind == Kind::Word,
            Self::WordOrNone => value.kind == Kind::Word || value.text == "none",
            Self::Number => value.kind == Kind::Number,
            Self::Size => value.text.starts_with(|c: char| c.is_ascii_digit()),
            Self::OneOf(words) => words.contains(&value.text),
        }
    }
}

impl Rule {
    /// What to say of a value that is none.
    fn expected(&self, value: Token<'_>) -> String {
        let wanted = match self.argument {
            Argument::OneOf(words) => format!("one of {}", words.join(", ")),
            Argument::Number => "a number".into(),
            Argument::Size => "a number of bytes, perhaps with k, m or g behind it".into(),
            Argument::Word | Argument::WordOrNone | Argument::Block(_) => match value.kind {
                Kind::Keyword => "a word that is no keyword".into(),
                Kind::Number => "a word, not only digits".into(),
                _ => "a word".into(),
            },
        };
        let keyword = self.keyword;
        match value.kind {
            Kind::End => format!("`{keyword}` needs {wanted}, and the file ends here"),
            _ => format!("`{keyword}` needs {wanted}, not `{}`", value.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Word;
    use hast_core::payload::{Checksum, Compression};
    use hast_core::primary::Replication;

    fn accepts(text: &str) -> Result<String, String> {
        let source = Source::new("f".into(), text.into());
        match parse(&source, text.len(), &HAST_CONF) {
            Ok((statements, _)) => Ok(shown(&statements)),
            Err(error) => Err(format!("{}:{} {}", error.line, error.column, error.message)),
        }
    }

    fn shown(statements: &[Statement<'_>]) -> String {
        let one = |s: &Statement<'_>| match &s.body[..] {
            [] => format!("{} {}", s.keyword, s.value.text),
            body => format!("{} {} {{{}}}", s.keyword, s.value.text, shown(body)),
        };
        statements.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// A file in which every statement stands wherever it may.
    const WHOLE: &str = "control /c pidfile /p listen a replication async checksum none compression lzf \
        timeout 1 exec /e metaflush on on n {control /c pidfile /p listen a} \
        resource r {replication memsync checksum sha256 compression hole timeout 2 exec /e metaflush off \
        name n local /l on n {name n local /l remote none source s metaflush on}}";

    #[test]
    fn newlines_mean_nothing() {
        assert_eq!(accepts(WHOLE).unwrap(), WHOLE);
        let lines = WHOLE.replace(' ', " # x\n");
        assert_eq!(accepts(&lines).unwrap(), WHOLE);
        assert_eq!(accepts("").unwrap(), "");
        assert_eq!(accepts("on a { } resource b{}").unwrap(), "on a resource b");
    }

    /// Each statement in each scope: the table of spec/hast-config.md
    /// section 3.
    #[test]
    fn statements_stand_where_they_may_and_nowhere_else() {
        let table = [
            ("control /c", "GN"),
            ("pidfile /p", "GN"),
            ("listen a", "GN"),
            ("replication async", "GR"),
            ("checksum none", "GR"),
            ("compression lzf", "GR"),
            ("timeout 1", "GR"),
            ("exec /e", "GR"),
            ("metaflush on", "GRr"),
            ("name n", "Rr"),
            ("local /l", "Rr"),
            ("remote none", "r"),
            ("remote a", "r"),
            ("source a", "r"),
            ("on n {}", "GR"),
            ("resource r {}", "G"),
        ];
        for (statement, scopes) in table {
            for (scope, before, after) in [
                ('G', "", ""),
                ('N', "on a {", "}"),
                ('R', "resource a {", "}"),
                ('r', "resource a { on a {", "} }"),
            ] {
                let result = accepts(&format!("{before} {statement} {after}"));
                assert_eq!(
                    result.is_ok(),
                    scopes.contains(scope),
                    "{statement} {scope}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn words_of_the_grammar_are_settings() {
        fn same<T: Word + PartialEq>(argument: Argument, count: usize) {
            let Argument::OneOf(words) = argument else {
                panic!("{argument:?}");
            };
            assert_eq!(words.len(), count);
            for word in words {
                assert_eq!(T::from_word(word).unwrap().word(), *word);
            }
        }
        same::<Replication>(REPLICATION, 3);
        same::<Checksum>(CHECKSUM, Checksum::ALL.len());
        same::<Compression>(COMPRESSION, Compression::ALL.len());
    }

    #[test]
    fn errors_have_their_place_and_say_what_to_do() {
        let table = [
            (
                "foo bar",
                "1:1 `foo` is no statement. at the top can stand: control,",
            ),
            (
                "listen\n8457",
                "2:1 `listen` needs a word, not only digits, not `8457`",
            ),
            (
                "on none {",
                "1:4 `on` needs a word that is no keyword, not `none`",
            ),
            (
                "control",
                "1:8 `control` needs a word, and the file ends here",
            ),
            ("control {", "1:9 `control` needs a word, not `{`"),
            ("timeout -5", "1:9 `timeout` needs a number, not `-5`"),
            (
                "checksum md5",
                "1:10 `checksum` needs one of none, crc32, sha256, not `md5`",
            ),
            ("on a\nlisten", "2:1 a `{` must follow `on a`"),
            ("on a {\n\n", "3:1 the `}` is missing for the `{` in line 1"),
            ("on a {}\n }", "2:2 there is no `{` for this `}`: remove it"),
            (
                "exec /my disk",
                "1:10 `disk` does not belong to the value before",
            ),
            (
                "resource a {remote b}",
                "1:13 `remote` cannot stand in `resource`: it belongs in `on` in a resource",
            ),
            (
                "on a {timeout 1}",
                "1:7 `timeout` cannot stand in `on` at the top: it belongs at the top or in `resource`",
            ),
            ("on a {}\n{", "2:1 `{` is no statement"),
        ];
        for (text, expected) in table {
            let error = accepts(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}

//! `CONFIG.ext`: settings that are only ours, beside the file that base's
//! programs read, too. Made of the same words and blocks.
//!
//! ```text
//! node NAME                 # be this node, whatever the host is called
//! controlmode 0660          # of the control socket, octal
//! memory SIZE               # of each worker, for payload
//! resource NAME {
//!     memory SIZE
//!     on-impossible stop    # where the counters are impossible; or base
//! }
//! ```

use super::diagnostic::{Diagnostic, Source, Warnings};
use super::grammar::Scope::{Global, Resource};
use super::grammar::{Argument, Rule, Statement, parse, rule};
use super::identity::Identity;
use super::{Config, DEFAULT_MEMORY, LEAST_MEMORY, MOST_MEMORY};
use hast_core::decision::OnImpossible;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is added to the path of the configuration.
const SUFFIX: &str = ".ext";

static GRAMMAR: [Rule; 5] = [
    rule(&[Global], "node", Argument::Word),
    rule(&[Global], "controlmode", Argument::Number),
    rule(&[Global, Resource], "memory", Argument::Size),
    rule(
        &[Resource],
        "on-impossible",
        Argument::OneOf(&["stop", "base"]),
    ),
    rule(&[Global], "resource", Argument::Block(Resource)),
];

/// Where the second file is.
pub(super) fn path(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// The second file, read.
#[derive(Debug)]
pub(super) struct Extra<'a> {
    source: &'a Source,
    statements: Vec<Statement<'a>>,
    pub(super) warnings: Warnings,
}

impl<'a> Extra<'a> {
    pub(super) fn parse(source: &'a Source) -> Result<Self, Diagnostic> {
        // Nothing forbids this file to end as people think it may.
        let length = source.open_comment().unwrap_or(source.text().len());
        let (statements, warnings) = parse(source, length, &GRAMMAR)?;
        Ok(Self {
            source,
            statements,
            warnings,
        })
    }

    /// The node to be.
    pub(super) fn node(&self) -> Option<Identity> {
        let mut nodes = self.statements.iter().filter(|s| s.keyword == "node");
        nodes
            .next_back()
            .map(|node| Identity::node(node.value.text))
    }

    /// Puts into the configuration what the file says.
    pub(super) fn apply(&mut self, config: &mut Config) -> Result<(), Diagnostic> {
        let statements = std::mem::take(&mut self.statements);
        self.warn_of_repeated(&statements);
        let mut memory = DEFAULT_MEMORY;
        for statement in &statements {
            match statement.keyword {
                "controlmode" => config.control_mode = self.mode(statement)?,
                "memory" => memory = self.size(statement)?,
                _ => {}
            }
        }
        for resource in &mut config.resources {
            resource.memory = memory;
        }
        let indices = config.resources.iter().map(|r| r.name.clone()).zip(0..);
        let indices: HashMap<String, usize> = indices.collect();
        for block in statements.iter().filter(|s| s.keyword == "resource") {
            let name = block.value.text;
            let Some(index) = indices.get(name) else {
                let message =
                    format!("resource {name} is not in the configuration: remove the block");
                return Err(self.error(block, message));
            };
            self.warn_of_repeated(&block.body);
            let resource = &mut config.resources[*index];
            for statement in &block.body {
                match statement.keyword {
                    "memory" => resource.memory = self.size(statement)?,
                    _ => resource.on_impossible = on_impossible(statement.value.text),
                }
            }
        }
        Ok(())
    }

    fn warn_of_repeated(&mut self, statements: &[Statement<'_>]) {
        let mut last: HashMap<_, &Statement<'_>> = HashMap::new();
        for statement in statements {
            let name = (statement.keyword == "resource").then_some(statement.value.text);
            let Some(dropped) = last.insert((statement.keyword, name), statement) else {
                continue;
            };
            let keyword = statement.keyword;
            let line = self.source.line(statement.value.span().start);
            let message = format!("line {line} has `{keyword}` again: the last values count");
            self.warnings
                .add(self.source, dropped.value.span(), message);
        }
    }

    /// Permission bits in octal.
    fn mode(&mut self, statement: &Statement<'_>) -> Result<u32, Diagnostic> {
        let mode = u32::from_str_radix(statement.value.text, 8);
        let Some(mode) = mode.ok().filter(|mode| *mode <= 0o777) else {
            let message = "a mode has octal digits and is at most 0777, like 0660".into();
            return Err(self.error(statement, message));
        };
        if mode & 0o002 != 0 {
            let message = "every user of this machine may then change roles".into();
            self.warnings
                .add(self.source, statement.value.span(), message);
        }
        Ok(mode)
    }

    fn size(&self, statement: &Statement<'_>) -> Result<usize, Diagnostic> {
        let size = size(statement.value.text);
        let possible = size.filter(|size| (LEAST_MEMORY..=MOST_MEMORY).contains(size));
        possible.ok_or_else(|| {
            let (least, most) = (LEAST_MEMORY >> 20, MOST_MEMORY >> 30);
            let message = format!(
                "`memory` is a number of bytes, perhaps with k, m or g behind it, \
                 from {least}m to {most}g"
            );
            self.error(statement, message)
        })
    }

    fn error(&self, statement: &Statement<'_>, message: String) -> Diagnostic {
        self.source.diagnostic(statement.value.span(), message)
    }
}

/// Bytes, with a suffix for powers of 1024.
fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

fn on_impossible(word: &str) -> OnImpossible {
    match word {
        "base" => OnImpossible::Base,
        _ => OnImpossible::Stop,
    }
}

#[cfg(test)]
mod tests;

//! What the statements mean for this node.
//! Facts: spec/hast-config.md sections 3, 4 and 6.
//!
//! Each block is a [`Layer`]; of layers that set the same thing the innermost
//! wins, wherever in the file it stands. Blocks of other nodes are dropped
//! without a look, for the same file lies on all of them.

use super::address::Address;
use super::diagnostic::{Diagnostic, Source, Warnings};
use super::grammar::Statement;
use super::identity::Identity;
use super::resource::{self, Names};
use super::{Config, DEFAULT_CONTROL_MODE};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// Longest value in bytes.
pub(super) const LONGEST_VALUE: usize = 1023;

/// Longest name of a resource or a provider in bytes.
pub(super) const LONGEST_NAME: usize = 254;

const DEFAULT_CONTROL: &str = "/var/run/hastctl";
const DEFAULT_PIDFILE: &str = "/var/run/hastd.pid";

/// Settings of a block, by keyword.
pub(super) type Layer<'s, 'a> = BTreeMap<&'static str, &'s Statement<'a>>;

/// What the first of the layers that knows says.
pub(super) fn find<'s, 'a, const N: usize>(
    keyword: &str,
    layers: [&Layer<'s, 'a>; N],
) -> Option<&'s Statement<'a>> {
    layers
        .into_iter()
        .find_map(|layer| layer.get(keyword))
        .copied()
}

/// The configuration that the statements of a file make; what only CONFIG.ext
/// can set has its defaults, and nothing stands for addresses not given.
pub(super) fn merge(
    source: &Source,
    statements: &[Statement<'_>],
    node: &Identity,
    warnings: &mut Warnings,
) -> Result<Config, Diagnostic> {
    let mut judge = Judge {
        source,
        node,
        warnings,
    };
    let (mut global, mut own) = (Layer::new(), Layer::new());
    let (mut blocks, mut listen) = (Vec::new(), Listen::default());
    for statement in statements {
        match statement.keyword {
            "resource" => blocks.push(statement),
            "on" => node_block(&mut judge, statement, &mut own, &mut listen)?,
            "listen" => listen.add(&mut judge, statement, Block::Global)?,
            _ => judge.set(&mut global, statement)?,
        }
    }
    let mut names = Names::new(listen.places);
    let resources = blocks.into_iter();
    let resources = resources.map(|block| resource::merge(&mut judge, block, &global, &mut names));
    let resources = resources.collect::<Result<_, _>>()?;
    let find = |keyword| find(keyword, [&own, &global]);
    Ok(Config {
        control: control(&judge, find("control"))?,
        control_mode: DEFAULT_CONTROL_MODE,
        pidfile: find("pidfile")
            .map_or(DEFAULT_PIDFILE, |path| path.value.text)
            .into(),
        listen: listen.addresses.into_iter().map(str::to_owned).collect(),
        resources,
    })
}

/// An `on` block at the top.
fn node_block<'s, 'a>(
    judge: &mut Judge<'_>,
    block: &'s Statement<'a>,
    own: &mut Layer<'s, 'a>,
    listen: &mut Listen<'a>,
) -> Result<(), Diagnostic> {
    let is_own = judge.is_own(block);
    for statement in &block.body {
        match statement.keyword {
            "listen" if is_own => listen.add(judge, statement, Block::Own)?,
            // Base looks at this one before it asks whose it is.
            "listen" => judge.check_length(statement, LONGEST_VALUE)?,
            _ if is_own => judge.set(own, statement)?,
            _ => {}
        }
    }
    Ok(())
}

/// Anybody on a network could give orders to a daemon that takes them there.
fn control(judge: &Judge<'_>, statement: Option<&Statement<'_>>) -> Result<PathBuf, Diagnostic> {
    let Some(statement) = statement else {
        return Ok(DEFAULT_CONTROL.into());
    };
    match Address::parse(statement.value.text) {
        Ok(Address::Unix(path)) => Ok(path),
        Ok(Address::Tcp(_)) => Err(judge.error(
            statement,
            "hastd takes orders over a UNIX socket only: give its path, as in uds:///var/run/hastctl"
                .into(),
        )),
        Err(error) => Err(judge.error(statement, error.to_string())),
    }
}

/// Where a statement stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Block {
    Global,
    Own,
}

/// Addresses to listen on: all of them, although base's manual says that the
/// block's replace the global ones.
#[derive(Debug, Default)]
struct Listen<'a> {
    addresses: Vec<&'a str>,
    lines: HashMap<&'a str, usize>,
    /// Lines by where an address is, however it is written.
    places: HashMap<Address, usize>,
    /// Line of the first in each kind of block.
    first: HashMap<Block, usize>,
}

impl<'a> Listen<'a> {
    fn add(
        &mut self,
        judge: &mut Judge<'_>,
        statement: &Statement<'a>,
        block: Block,
    ) -> Result<(), Diagnostic> {
        judge.check_length(statement, LONGEST_VALUE)?;
        judge.check_address(statement);
        let (address, line) = (statement.value.text, judge.line(statement));
        let other = match block {
            Block::Global => Block::Own,
            Block::Own => Block::Global,
        };
        if let Some(line) = self.lines.insert(address, line) {
            let message = format!("the same as in line {line}: base does not start with both");
            judge.warn(statement, message);
        } else if let (Some(line), false) =
            (self.first.get(&other), self.first.contains_key(&block))
        {
            let message = format!("adds to `listen` in line {line} and does not replace it");
            judge.warn(statement, message);
        }
        if let Ok(parsed) = Address::parse(address) {
            self.places.entry(parsed.place()).or_insert(line);
        }
        self.first.entry(block).or_insert(line);
        self.addresses.push(address);
        Ok(())
    }
}

/// Says what is wrong with statements, and whose they are.
#[derive(Debug)]
pub(super) struct Judge<'m> {
    source: &'m Source,
    pub(super) node: &'m Identity,
    warnings: &'m mut Warnings,
}

impl Judge<'_> {
    /// Whether an `on` block is for this node.
    pub(super) fn is_own(&mut self, block: &Statement<'_>) -> bool {
        if self.node.is_but_for_case(block.value.text) {
            let own = &self.node.hostname;
            let message = format!("this node is {own}: the block is ignored, case matters");
            self.warn(block, message);
        }
        self.node.is(block.value.text)
    }

    /// Takes a statement, in place of an earlier one.
    pub(super) fn set<'s, 'a>(
        &mut self,
        layer: &mut Layer<'s, 'a>,
        statement: &'s Statement<'a>,
    ) -> Result<(), Diagnostic> {
        let keyword = statement.keyword;
        self.check_length(statement, LONGEST_VALUE)?;
        match keyword {
            "timeout" => self.check_timeout(statement)?,
            "pidfile" | "exec" | "local" => self.check_path(statement),
            "remote" | "source" => self.check_address(statement),
            _ => {}
        }
        if let Some(dropped) = layer.insert(keyword, statement) {
            let line = self.line(statement);
            let message = format!("has no effect: line {line} sets `{keyword}` again");
            self.warn(dropped, message);
        }
        Ok(())
    }

    pub(super) fn check_length(
        &self,
        statement: &Statement<'_>,
        longest: usize,
    ) -> Result<(), Diagnostic> {
        let (keyword, length) = (statement.keyword, statement.value.text.len());
        if length <= longest {
            return Ok(());
        }
        let message = format!("`{keyword}` has {length} bytes, and {longest} at most are possible");
        Err(self.error(statement, message))
    }

    fn check_timeout(&mut self, statement: &Statement<'_>) -> Result<(), Diagnostic> {
        let text = statement.value.text;
        let seconds = number(text);
        let wrapped = text.parse() != Ok(i64::from(seconds));
        if seconds < 1 {
            let note = if wrapped {
                ", which base takes it for,"
            } else {
                ""
            };
            let message =
                format!("a timeout of {seconds} seconds{note} is impossible: use 1 or more");
            return Err(self.error(statement, message));
        }
        if wrapped {
            let message = format!("too large a number: {seconds} is what is left of it");
            self.warn(statement, message);
        }
        Ok(())
    }

    fn check_path(&mut self, statement: &Statement<'_>) {
        if !statement.value.text.starts_with('/') {
            let message = "begins with no `/`: what it names depends on where programs are started";
            self.warn(statement, message.into());
        }
    }

    /// Base finds out when it uses the address.
    fn check_address(&mut self, statement: &Statement<'_>) {
        let text = statement.value.text;
        if text != "none"
            && let Err(error) = Address::parse(text)
        {
            self.warn(statement, format!("this address will not work: {error}"));
        }
    }

    pub(super) fn line(&self, statement: &Statement<'_>) -> usize {
        self.source.line(statement.value.span().start)
    }

    pub(super) fn warn(&mut self, statement: &Statement<'_>, message: String) {
        self.warnings
            .add(self.source, statement.value.span(), message);
    }

    pub(super) fn error(&self, statement: &Statement<'_>, message: String) -> Diagnostic {
        self.source.diagnostic(statement.value.span(), message)
    }
}

/// Digits as base reads them: what does not fit 64 bits is the largest that
/// does, and of that the lower 32 bits count.
pub(super) fn number(digits: &str) -> i32 {
    let value: i64 = digits.parse().unwrap_or(i64::MAX);
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;

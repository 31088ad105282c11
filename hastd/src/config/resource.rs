//! A resource, merged for this node.
//! Facts: spec/hast-config.md sections 3 and 6.

use super::address::Address;
use super::diagnostic::Diagnostic;
use super::grammar::Statement;
use super::merge::{Judge, LONGEST_NAME, Layer, find, number};
use super::{DEFAULT_MEMORY, Resource, Settings, Word};
use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use std::collections::HashMap;
use std::time::Duration;

const DEFAULT_TIMEOUT: u64 = 20;

/// What each resource should have for itself.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Lines of resources.
    resources: HashMap<String, usize>,
    /// Whose a component is.
    locals: HashMap<String, String>,
    /// Whose a provider is.
    providers: HashMap<String, String>,
    /// Lines of the addresses this node itself listens on.
    listen: HashMap<Address, usize>,
}

impl Names {
    pub(super) fn new(listen: HashMap<Address, usize>) -> Self {
        Self {
            listen,
            ..Self::default()
        }
    }

    /// Warns of a name that means something else, too, and of a remote node
    /// that is none: base starts with both.
    fn examine(&self, judge: &mut Judge<'_>, block: &Statement<'_>, remote: &Statement<'_>) {
        if block.value.text == "all" {
            let message = "hastctl takes `all` for every resource: give it another name";
            judge.warn(block, message.into());
        }
        let place = Address::parse(remote.value.text).map(Address::place);
        if let Some(line) = place.ok().and_then(|place| self.listen.get(&place)) {
            let message = format!(
                "this node listens there itself, by line {line}: give the other node's address"
            );
            judge.warn(remote, message);
        }
    }

    /// Warns of what another resource has, too.
    fn claim(
        &mut self,
        judge: &mut Judge<'_>,
        block: &Statement<'_>,
        local: &Statement<'_>,
        provider: &str,
    ) {
        let name = block.value.text;
        if let Some(other) = self.locals.insert(local.value.text.into(), name.into()) {
            let message =
                format!("the component of resource {other}, too: they destroy each other");
            judge.warn(local, message);
        }
        if let Some(other) = self.providers.insert(provider.into(), name.into()) {
            let message = format!(
                "has the provider hast/{provider}, as resource {other}: only one can be primary"
            );
            judge.warn(block, message);
        }
    }
}

/// Merges what a block says with what is set for all.
pub(super) fn merge<'s, 'a>(
    judge: &mut Judge<'_>,
    block: &'s Statement<'a>,
    global: &Layer<'s, 'a>,
    names: &mut Names,
) -> Result<Resource, Diagnostic> {
    let name = block.value.text;
    judge.check_length(block, LONGEST_NAME)?;
    if let Some(line) = names.resources.insert(name.into(), judge.line(block)) {
        let message = format!("resource {name} is in line {line} already: remove one of them");
        return Err(judge.error(block, message));
    }
    let (common, own) = layers(judge, block)?;
    let missing = |judge: &Judge<'_>, keyword, what| {
        let message = format!("resource {name} has no `{keyword}` ({what}) for this node");
        judge.error(block, message)
    };
    let Some(&remote) = own.get("remote") else {
        let what = "the other node's address, or none";
        return Err(missing(judge, "remote", what));
    };
    let Some(local) = find("local", [&own, &common]) else {
        return Err(missing(judge, "local", "the path of its component"));
    };
    let provider = find("name", [&own, &common]);
    let provider = provider.map_or_else(|| name.into(), |statement| cut(judge, statement));
    names.examine(judge, block, remote);
    names.claim(judge, block, local, &provider);
    let setting = |keyword| find(keyword, [&own, &common, global]);
    let text = |statement: &Statement<'_>| statement.value.text.to_owned();
    Ok(Resource {
        name: name.into(),
        provider,
        local: text(local).into(),
        remote: Some(text(remote)).filter(|address| address != "none"),
        source: own.get("source").map(|source| text(source)),
        exec: setting("exec").map(|path| text(path).into()),
        settings: settings(setting),
        on_impossible: OnImpossible::Stop,
        memory: DEFAULT_MEMORY,
    })
}

/// What the block says for all nodes, and for this one.
fn layers<'s, 'a>(
    judge: &mut Judge<'_>,
    block: &'s Statement<'a>,
) -> Result<(Layer<'s, 'a>, Layer<'s, 'a>), Diagnostic> {
    let (mut common, mut own) = (Layer::new(), Layer::new());
    let mut found = None;
    for statement in &block.body {
        if statement.keyword != "on" {
            judge.set(&mut common, statement)?;
        } else if judge.is_own(statement) {
            if let Some(first) = found.replace(statement) {
                let line = judge.line(first);
                let message =
                    format!("is this node, too, as in line {line}: the last values count");
                judge.warn(statement, message);
            }
            for statement in &statement.body {
                if statement.keyword == "name" {
                    judge.check_length(statement, LONGEST_NAME)?;
                }
                judge.set(&mut own, statement)?;
            }
        }
    }
    if found.is_none() {
        let (name, names) = (block.value.text, judge.node.names());
        let mut nodes = block.body.iter().filter(|s| s.keyword == "on");
        let hint = if nodes.any(|node| judge.node.is_but_for_case(node.value.text)) {
            "write its name in that case"
        } else {
            "add one"
        };
        let message = format!(
            "resource {name} has no `on` block for this node, which goes by {names}: {hint}"
        );
        return Err(judge.error(block, message));
    }
    Ok((common, own))
}

/// Name of the provider. Base cuts one that all nodes share, and refuses one
/// of its own.
fn cut(judge: &mut Judge<'_>, statement: &Statement<'_>) -> String {
    let name = statement.value.text;
    if name.len() > LONGEST_NAME {
        let message = format!("too long: the provider's name is the first {LONGEST_NAME} bytes");
        judge.warn(statement, message);
    }
    name.chars().take(LONGEST_NAME).collect()
}

fn settings<'s>(setting: impl Fn(&'static str) -> Option<&'s Statement<'s>>) -> Settings {
    fn word<T: Word>(statement: Option<&Statement<'_>>, default: T) -> T {
        statement.map_or(default, |statement| {
            T::from_word(statement.value.text).expect("the grammar has no other words")
        })
    }
    let timeout = setting("timeout").map(|seconds| number(seconds.value.text));
    let timeout = timeout.map(|seconds| u64::try_from(seconds).expect("it was checked"));
    Settings {
        replication: word(setting("replication"), Replication::Memsync),
        checksum: word(setting("checksum"), Checksum::None),
        compression: word(setting("compression"), Compression::Hole),
        timeout: Duration::from_secs(timeout.unwrap_or(DEFAULT_TIMEOUT)),
        metaflush: setting("metaflush").is_none_or(|switch| switch.value.text == "on"),
    }
}

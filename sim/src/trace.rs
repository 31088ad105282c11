//! What happens, in words.

use crate::client::describe;
use crate::shell::{Post, Todo};
use hast_core::errno::Errno;
use hast_core::primary::{self, Outgoing};
use hast_core::secondary::{self, Answer, Outcome};
use hast_core::units::Seq;

fn result(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "done".into(),
        Err(error) => format!("failed: {error}"),
    }
}

/// What a shell does.
pub(crate) fn todo(todo: &Todo, fails: bool) -> String {
    let what = match todo {
        Todo::Local(id, op) => format!("disk: {} ({})", describe(*op), id.index()),
        Todo::LocalDone(id, op, end) => {
            format!("disk: {} ({}) {}", describe(*op), id.index(), result(*end))
        }
        Todo::StoreMap => "map: written".into(),
        Todo::MapWritten(_) => "map: flushed".into(),
        Todo::StoreMetadata => "metadata: written".into(),
        Todo::MetadataWritten(_) => "metadata: flushed".into(),
        Todo::ClearMap => "map: cleared".into(),
        Todo::FillMap => "map: filled with ones, flushed".into(),
        Todo::DirectReads(on) => format!("direct reads: {}", if *on { "on" } else { "off" }),
        Todo::Base => "the disk thread of base takes its next request".into(),
        Todo::Complete(_, key, end) => format!("answer {key}: {}", result(*end)),
    };
    format!("{what}{}", if fails { "; FAILS" } else { "" })
}

/// What a node says.
pub(crate) fn post(post: &Post) -> String {
    match post {
        Post::Primary(action) => said_by_primary(action),
        Post::Secondary(action) => said_by_secondary(action),
    }
}

fn said_by_primary(action: &primary::Action) -> String {
    let primary::Action::Send { seq, what, .. } = action else {
        return match action {
            primary::Action::Connect(_) => "step 1: connect".into(),
            primary::Action::Hello(_, hello) => format!(
                "step 2: I have {},{} {:?} {:?}",
                hello.counters.local, hello.counters.remote, hello.consistency, hello.generation
            ),
            primary::Action::Disconnect(_, why) => format!("(hangs up: {why:?})"),
            other => format!("{other:?}"),
        };
    };
    let number = seq.map_or(0, Seq::get);
    match what {
        Outgoing::Request { op, memsync, .. } => {
            let memsync = if *memsync { ", memsync" } else { "" };
            format!("{number}: {}{memsync}", describe(*op))
        }
        Outgoing::Keepalive => format!("{number}: keepalive"),
        Outgoing::State {
            consistency, raise, ..
        } => format!("{number}: you are {consistency:?}, raise {raise:?}"),
    }
}

fn said_by_secondary(action: &secondary::Action) -> String {
    match action {
        secondary::Action::Answer(_, rule, Answer::Accepted { source, map, .. }) => {
            format!("step 2: {}, from {source:?}, map {map:?}", rule.name())
        }
        secondary::Action::Answer(_, rule, Answer::Refused(_)) => {
            format!("step 2: refused, {}", rule.name())
        }
        secondary::Action::Reply(_, seq, outcome) => {
            let outcome = match outcome {
                Outcome::Received => "received".into(),
                Outcome::Done | Outcome::Data(..) => "done".into(),
                Outcome::Failed(error) => format!("failed: {error}"),
            };
            format!("{}: {outcome}", seq.get())
        }
        secondary::Action::Close(_) => "(hangs up)".into(),
        other => format!("{other:?}"),
    }
}

//! `hastctl resolve --discard-local`: ends a split-brain by giving this node's
//! data up. Both maps are kept, so only what differs is copied then.

use super::ask::{Question, ask, ask_first, read, status, told};
use super::failure::Failure;
use super::human::size;
use super::output::print;
use crate::config::Config;
use crate::control::client::explain;
use crate::log;
use crate::status::Report;
use hast_core::message::{Command, ControlReply, ResourceReply};
use std::io::IsTerminal as _;

/// `EX_UNAVAILABLE`: there is nothing to resolve, or the user does not want to.
const NOT_DONE: u8 = 69;

pub(super) fn run(config: &Config, name: &str, yes: bool) -> Result<u8, Failure> {
    let names = [name.to_owned()];
    let question = |command| Question::new(command, &names, true);
    let answer = ask_first(config, question(Command::Status))?;
    let reply = read(&answer)?;
    let Some(resource) = reply.resources.first() else {
        return Err(Failure::Base("resolve"));
    };
    match judge(resource) {
        Ok(report) => print(&stakes(name, &report))?,
        Err(why) => {
            log::error!("[{name}] {why}");
            return Ok(match status(&reply) {
                0 => NOT_DONE,
                status => status,
            });
        }
    }
    if !yes && !consent()? {
        print("Nothing was changed.\n")?;
        return Ok(NOT_DONE);
    }
    let answer = ask(config, question(Command::Resolve))?;
    tell(&read(&answer)?)
}

/// The report of a resource that can be resolved, or why it cannot be.
fn judge(resource: &ResourceReply<'_>) -> Result<Report, String> {
    let name = resource.name;
    if let Some(code) = resource.failure() {
        return Err(format!("{}.", explain(code, resource.reason)));
    }
    let role = resource.role.unwrap_or_default();
    if role.0 != b"secondary" {
        return Err(format!(
            "Its role is {role}. To give this node's data up, make it secondary first \
             (hastctl role secondary {name}); to keep it, resolve on the other node."
        ));
    }
    let Some(told) = told(resource) else {
        return Err(
            "This hastd is FreeBSD's own: on the node whose data is given up, set role \
             init, hastctl create, and role secondary."
                .into(),
        );
    };
    let report = told.status.report;
    match &*report.state {
        "split-brain" | "refused" => Ok(report),
        "discarded" => Err(
            "This node's data was given up already; the primary's is copied when it connects."
                .into(),
        ),
        "waiting" => Err(
            "No primary is connected, so there is no split-brain known to resolve. Is the other \
             node primary?"
                .into(),
        ),
        state => Err(format!(
            "There is no split-brain to resolve: {state}, {}.",
            report.reason
        )),
    }
}

/// What the choice is about.
fn stakes(name: &str, report: &Report) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or("an unknown amount".into(), size);
    format!(
        "{name}: {}.\n  \
         lost:  what was written only on this node, at most {}\n  \
         kept:  what was written only on the other node, at most {}\n\
         When the primary connects, all of that is copied from there to here, and nothing else.\n",
        report.reason,
        bytes(report.dirty_here),
        bytes(report.dirty_there)
    )
}

/// Asks somebody, if there is somebody.
fn consent() -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(
            "There is nobody to ask. To give this node's data up: \
             hastctl resolve --discard-local --yes name"
                .into(),
        ));
    }
    print("Give this node's data up? Type yes to do so: ")?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn tell(reply: &ControlReply<'_>) -> Result<u8, Failure> {
    for resource in &reply.resources {
        let name = resource.name;
        match resource.failure() {
            Some(code) => log::error!(
                "[{name}] This node's data was not given up: {}.",
                explain(code, resource.reason)
            ),
            None => print(&format!(
                "{name}: this node's data is given up. `hastctl status -v {name}` shows what comes of it.\n"
            ))?,
        }
    }
    Ok(status(reply))
}

#[cfg(test)]
mod tests;

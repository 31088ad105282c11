//! `hastctl role` and `hastctl stop`: what hastd is told to do.
//! Facts: spec/hast-behaviour.md section 11.3.

use super::ask::{Question, ask, ask_first, read, status};
use super::failure::Failure;
use super::json;
use crate::config::Config;
use crate::control::client::explain;
use crate::log;
use hast_core::message::{Command, ControlReply, Wishes};
use hast_core::role::Role;

pub(super) fn run(
    config: &Config,
    names: &[String],
    role: Role,
    wishes: Wishes,
    as_json: bool,
) -> Result<u8, Failure> {
    if wishes.wait || wishes.if_closed {
        let option = if wishes.if_closed {
            "--if-closed"
        } else {
            "--wait"
        };
        require_ours(config, names, option)?;
    }
    let question = Question {
        command: Command::SetRole(role),
        names,
        wishes,
    };
    let answer = ask(config, question)?;
    let reply = read(&answer)?;
    tell(&reply, role);
    if as_json {
        json::print_resources(json::of_change(&reply, role))?;
    }
    Ok(status(&reply))
}

/// Base's daemon ignores what it does not know: it would destroy a provider
/// that is open, or not wait. Only ours sends reports.
fn require_ours(config: &Config, names: &[String], option: &'static str) -> Result<(), Failure> {
    let question = Question::new(Command::Status, names, true);
    let answer = ask_first(config, question)?;
    let reply = read(&answer)?;
    let mut known = reply.resources.iter().filter(|one| one.failure().is_none());
    if known.all(|resource| resource.report.is_some()) {
        Ok(())
    } else {
        Err(Failure::Base(option))
    }
}

fn tell(reply: &ControlReply<'_>, role: Role) {
    for resource in &reply.resources {
        let name = resource.name;
        match (resource.failure(), resource.role) {
            (Some(code), _) => log::warning!(
                "[{name}] Received error {} from hastd: {}.",
                code.0,
                explain(code, resource.reason)
            ),
            (None, Some(before)) if before.0 == role.name().as_bytes() => {
                log::debug!(2, "[{name}] Role unchanged ({before}).");
            }
            (None, Some(before)) => {
                log::debug!(1, "[{name}] Role changed from {before} to {role}.");
            }
            (None, None) => {}
        }
    }
}

pub(super) fn stop(config: &Config) -> Result<u8, Failure> {
    let question = Question::new(Command::Stop, &[], true);
    let answer = ask(config, question)?;
    // Ours says that nothing failed. Base's, without a resource to refuse the
    // command for, says nothing at all.
    match read(&answer)?.error {
        Some(_) => Ok(0),
        None => Err(Failure::Base("stop")),
    }
}

//! `hastctl role` and `hastctl stop`. Facts: spec/hast-behaviour.md section
//! 11.3.

use super::ask::{Daemon, status_of};
use super::first;
use crate::config::Config;
use crate::control::client::explain;
use crate::log;
use hast_core::message::{Command, ControlReply, Wishes};
use hast_core::role::Role;

pub(super) fn run(
    config: &Config,
    names: &[String],
    role: Role,
    wait: bool,
    if_closed: bool,
) -> u8 {
    let daemon = match Daemon::reach(config) {
        Ok(daemon) => daemon,
        Err(status) => return status,
    };
    let wishes = Wishes {
        wait,
        if_closed,
        ..Wishes::default()
    };
    daemon.ask(Command::SetRole(role), names, wishes, |reply| {
        report(reply, role)
    })
}

fn report(reply: &ControlReply<'_>, role: Role) -> u8 {
    let mut status = 0;
    for resource in &reply.resources {
        let name = resource.name;
        if let Some(code) = resource.error.filter(|code| code.0 != 0) {
            log::warning!(
                "[{name}] The role was not changed: {}.",
                explain(code, resource.reason)
            );
            status = first(status, status_of(code));
            continue;
        }
        match resource.role {
            Some(before) if before.0 == role.name().as_bytes() => {
                log::debug!(2, "[{name}] Role unchanged ({before}).");
            }
            Some(before) => log::debug!(1, "[{name}] Role changed from {before} to {role}."),
            None => {}
        }
    }
    status
}

pub(super) fn stop(config: &Config) -> u8 {
    match Daemon::reach(config) {
        Ok(daemon) => daemon.ask(Command::Stop, &[], Wishes::default(), |_| 0),
        Err(status) => status,
    }
}

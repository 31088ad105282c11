//! `hastctl resolve --discard-local`: ends a split-brain by giving this node's
//! data up. Only what differs is copied then, since both maps are kept.

use super::ask::{Daemon, status_of};
use super::human::size;
use super::{first, show};
use crate::config::Config;
use crate::control::client::explain;
use crate::log;
use hast_core::message::{Command, ControlReply, ResourceReply, Wishes};
use std::io::{IsTerminal as _, Write as _};

/// `EX_USAGE`: there is nobody to ask.
const USAGE: u8 = 64;

/// `EX_UNAVAILABLE`: there is nothing to resolve.
const NOTHING: u8 = 69;

pub(super) fn run(config: &Config, names: &[String], yes: bool) -> u8 {
    let [asking, telling] = match Daemon::reach_for(config) {
        Ok(daemons) => daemons,
        Err(status) => return status,
    };
    let wishes = Wishes {
        report: true,
        ..Wishes::default()
    };
    let status = asking.ask(Command::Status, names, wishes, |reply| consent(reply, yes));
    if status != 0 {
        return status;
    }
    telling.ask(Command::Resolve, names, Wishes::default(), report)
}

/// Shows what would be lost, and asks.
fn consent(reply: &ControlReply<'_>, yes: bool) -> u8 {
    for resource in &reply.resources {
        if let Err(why) = show_loss(resource) {
            log::error!("[{}] {why}.", resource.name);
            return resource.error.map_or(NOTHING, status_of);
        }
    }
    if yes {
        return 0;
    }
    if !std::io::stdin().is_terminal() {
        log::error!("There is nobody to ask; if this node's data is to be given up, add --yes.");
        return USAGE;
    }
    print!("Give this node's data up? Type yes: ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => 0,
        _ => {
            log::notice!("Nothing was changed.");
            1
        }
    }
}

fn show_loss(resource: &ResourceReply<'_>) -> Result<(), String> {
    let name = resource.name;
    if let Some(code) = resource.error.filter(|code| code.0 != 0) {
        return Err(explain(code, resource.reason));
    }
    if resource.role.is_none_or(|role| role.0 != b"secondary") {
        return Err(format!(
            "its role must be secondary, so that the other node can be primary: hastctl role secondary {name}"
        ));
    }
    let told = show::told(resource).ok_or("this hastd cannot do that")?;
    let report = &told.status.report;
    if report.state != "split-brain" && report.state != "refused" {
        return Err(format!(
            "there is nothing to resolve: {} ({}). If the other node is primary, wait until it has connected",
            report.state, report.reason
        ));
    }
    let bytes = |bytes: Option<u64>| bytes.map_or("an unknown amount".into(), size);
    println!("{name}: {}.", report.reason);
    println!(
        "  given up here: what was written to {} of data while the nodes were apart",
        bytes(report.dirty_here)
    );
    println!(
        "  kept:          the other node's data, of which {} changed",
        bytes(report.dirty_there)
    );
    println!("  When the primary connects, both are copied from there to here, and nothing else.");
    Ok(())
}

fn report(reply: &ControlReply<'_>) -> u8 {
    let mut status = 0;
    for resource in &reply.resources {
        match resource.error.filter(|code| code.0 != 0) {
            Some(code) => {
                let why = explain(code, resource.reason);
                log::error!(
                    "[{}] This node's data was not given up: {why}.",
                    resource.name
                );
                status = first(status, status_of(code));
            }
            None => println!(
                "{}: this node's data is given up as soon as the primary connects.",
                resource.name
            ),
        }
    }
    status
}

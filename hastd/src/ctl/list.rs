//! `hastctl list`, as base prints it. Facts: spec/hast-behaviour.md section
//! 11.4.

use super::ask::{Daemon, status_of};
use super::human::size;
use super::{first, show};
use crate::config::Config;
use hast_core::message::{Command, ResourceReply, StatusReply, Wishes};

pub(super) fn run(config: &Config, names: &[String], json: bool) -> u8 {
    let daemon = match Daemon::reach(config) {
        Ok(daemon) => daemon,
        Err(status) => return status,
    };
    let wishes = Wishes {
        report: json,
        ..Wishes::default()
    };
    daemon.ask(Command::Status, names, wishes, |reply| {
        let codes = reply.resources.iter().filter_map(|resource| resource.error);
        let status = codes.fold(0, |status, code| first(status, status_of(code)));
        if json {
            let resources: Vec<_> = reply.resources.iter().map(show::Resource::of).collect();
            show::print_json(&resources);
        } else {
            for resource in &reply.resources {
                print!("{}", text(resource));
            }
        }
        status
    })
}

fn text(resource: &ResourceReply<'_>) -> String {
    let mut lines = vec![format!("{}:", resource.name)];
    if let Some(code) = resource.error.filter(|code| code.0 != 0) {
        lines.push(format!("  error: {}", code.0));
    } else if let Some(status) = &resource.status {
        let role = resource.role.unwrap_or_default();
        lines.push(format!("  role: {role}"));
        add_status(&mut lines, status);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the daemon did not send reads as 0.
fn add_status(lines: &mut Vec<String>, status: &StatusReply<'_>) {
    let worker = status.worker.unwrap_or_default();
    let mut add = |text: String| lines.push(format!("  {text}"));
    add(format!("provname: {}", status.provname));
    add(format!("localpath: {}", status.localpath));
    let extentsize = worker.extentsize;
    add(format!(
        "extentsize: {extentsize} ({})",
        size(extentsize.into())
    ));
    add(format!("keepdirty: {}", worker.keepdirty));
    add(format!("remoteaddr: {}", status.remoteaddr));
    if let Some(source) = status.sourceaddr {
        add(format!("sourceaddr: {source}"));
    }
    add(format!("replication: {}", status.replication));
    if status.worker.is_some() {
        add(format!("status: {}", worker.status));
    }
    if status.workerpid != 0 {
        add(format!("workerpid: {}", status.workerpid));
    }
    add(format!("dirty: {} ({})", worker.dirty, size(worker.dirty)));
    add("statistics:".into());
    let counted = worker.statistics;
    for (name, number) in [
        ("reads", counted.reads),
        ("writes", counted.writes),
        ("deletes", counted.deletes),
        ("flushes", counted.flushes),
        ("activemap updates", counted.activemap_updates),
    ] {
        add(format!("  {name}: {number}"));
    }
    add(format!(
        "  local errors: read: {}, write: {}, delete: {}, flush: {}",
        counted.read_errors, counted.write_errors, counted.delete_errors, counted.flush_errors
    ));
    add(format!(
        "  queues: local: {}, send: {}, recv: {}, done: {}, idle: {}",
        counted.local_queue,
        counted.send_queue,
        counted.recv_queue,
        counted.done_queue,
        counted.idle_queue
    ));
}

//! `hastctl status`: as base prints it, for people with -v, for programs with
//! --json. Facts: spec/hast-behaviour.md section 11.4.

use super::ask::{Daemon, status_of};
use super::human::{duration, size};
use super::{first, show};
use crate::config::Config;
use crate::control::client::explain;
use crate::status::{Report, Sync};
use hast_core::message::{Command, ResourceReply, Wishes};
use std::fmt::Write as _;

pub(super) fn run(config: &Config, names: &[String], verbose: bool, json: bool) -> u8 {
    let daemon = match Daemon::reach(config) {
        Ok(daemon) => daemon,
        Err(status) => return status,
    };
    let wishes = Wishes {
        report: verbose || json,
        ..Wishes::default()
    };
    daemon.ask(Command::Status, names, wishes, |reply| {
        let resources = &reply.resources;
        if json {
            let resources: Vec<_> = resources.iter().map(show::Resource::of).collect();
            show::print_json(&resources);
        } else if verbose {
            for resource in resources {
                print!("{}", explained(resource));
            }
        } else {
            for (n, resource) in resources.iter().enumerate() {
                if n == 0 {
                    println!("Name\tStatus\t Role\t\tComponents");
                }
                println!("{}", line(resource));
            }
        }
        let codes = resources.iter().filter_map(|resource| resource.error);
        codes.fold(0, |status, code| first(status, status_of(code)))
    })
}

/// Base's line.
fn line(resource: &ResourceReply<'_>) -> String {
    let name = resource.name;
    if let Some(code) = resource.error.filter(|code| code.0 != 0) {
        return format!("{name}\tERR{}", code.0);
    }
    let status = resource.status.unwrap_or_default();
    let worker = status.worker.map_or("-".into(), |w| w.status.to_string());
    let role = resource.role.unwrap_or_default().to_string();
    format!(
        "{name}\t{worker:<9}{role:<15}{}\t{}",
        status.localpath, status.remoteaddr
    )
}

/// A paragraph for people.
fn explained(resource: &ResourceReply<'_>) -> String {
    let name = resource.name;
    if let Some(code) = resource.error.filter(|code| code.0 != 0) {
        return format!("{name}: error: {}\n", explain(code, resource.reason));
    }
    let role = resource.role.unwrap_or_default();
    let status = resource.status.unwrap_or_default();
    let mut text = format!(
        "{name}: {role}, {} with {}\n",
        status.localpath, status.remoteaddr
    );
    let Some(told) = show::told(resource) else {
        let worker = status.worker.map_or("-".into(), |w| w.status.to_string());
        let _ = writeln!(text, "  state:    {worker} (this hastd says no more)");
        return text;
    };
    add_report(&mut text, &told.status.report);
    if told.daemon.role != told.daemon.final_role {
        let _ = writeln!(text, "  becoming: {}", told.daemon.final_role);
    }
    if let Some((how, ago)) = &told.daemon.last_exit {
        let _ = writeln!(text, "  worker:   {how} {} ago", duration(*ago));
    }
    text
}

fn add_report(text: &mut String, report: &Report) {
    if report.state.is_empty() {
        return;
    }
    let since = duration(report.since);
    let _ = writeln!(
        text,
        "  state:    {} for {since}: {}",
        report.state, report.reason
    );
    if let Some(sync) = report
        .sync
        .as_ref()
        .filter(|_| report.state == "synchronizing")
    {
        let _ = writeln!(text, "  progress: {}", progress(sync));
    }
    if !report.next.is_empty() {
        let _ = writeln!(text, "  next:     {}", report.next);
    }
    if report.state == "split-brain" {
        let lost = |bytes: Option<u64>| bytes.map_or("unknown".into(), size);
        let _ = writeln!(
            text,
            "  to lose:  {} here, {} there",
            lost(report.dirty_here),
            lost(report.dirty_there)
        );
    }
    if let Some((error, ago)) = &report.last_error {
        let _ = writeln!(text, "  last error: {error} ({} ago)", duration(*ago));
    }
}

fn progress(sync: &Sync) -> String {
    let all = sync.copied.saturating_add(sync.left).max(1);
    // In 128 bits: a hundred times the largest volume.
    let percent = u128::from(sync.copied) * 100 / u128::from(all);
    let eta = match sync.eta {
        Some(seconds) => format!("{} left", duration(seconds)),
        None => "nothing moves".into(),
    };
    format!(
        "{percent} %, {} of {} copied from the {}, {}/s, {eta}",
        size(sync.copied),
        size(all),
        sync.source,
        size(sync.rate),
    )
}

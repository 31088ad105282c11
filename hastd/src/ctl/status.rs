//! `hastctl status`: as base prints it, for people with `-v`, for programs
//! with `--json`. Facts: spec/hast-behaviour.md section 11.4.

use super::ask::{Question, ask, read, status};
use super::failure::Failure;
use super::output::print;
use super::{json, verbose};
use crate::config::Config;
use crate::control::client::explain;
use crate::log;
use hast_core::message::{Command, ControlReply, ResourceReply};

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// Base's table.
    Base,
    /// A paragraph each.
    Verbose,
    /// For programs.
    Json,
}

pub(super) fn run(config: &Config, names: &[String], style: Style) -> Result<u8, Failure> {
    let question = Question::new(Command::Status, names, style != Style::Base);
    let answer = ask(config, question)?;
    let reply = read(&answer)?;
    match style {
        Style::Base => print(&table(&reply))?,
        Style::Verbose => print(&verbose::paragraphs(&reply))?,
        Style::Json => json::print_resources(json::of_reply(&reply))?,
    }
    complain(&reply);
    Ok(status(&reply))
}

/// Says in words what is a number in what was printed.
pub(super) fn complain(reply: &ControlReply<'_>) {
    for resource in &reply.resources {
        if let Some(code) = resource.failure() {
            let why = explain(code, resource.reason);
            log::error!("[{}] {why}.", resource.name);
        }
    }
}

/// Base's. Nothing without resources, not even a header.
fn table(reply: &ControlReply<'_>) -> String {
    if reply.resources.is_empty() {
        return String::new();
    }
    let lines: String = reply.resources.iter().map(line).collect();
    format!("Name\tStatus\t Role\t\tComponents\n{lines}")
}

fn line(resource: &ResourceReply<'_>) -> String {
    let name = resource.name;
    if let Some(code) = resource.failure() {
        return format!("{name}\tERR{}\n", code.0);
    }
    let status = resource.status.unwrap_or_default();
    let worker = status.worker.map_or("-".into(), |w| w.status.to_string());
    let role = resource.role.unwrap_or_default().to_string();
    format!(
        "{name}\t{worker:<9}{role:<15}{}\t{}\n",
        status.localpath, status.remoteaddr
    )
}

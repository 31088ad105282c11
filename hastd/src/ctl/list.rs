//! `hastctl list`, as base prints it. Facts: spec/hast-behaviour.md section
//! 11.4.

use super::ask::{Question, ask, read, status};
use super::failure::Failure;
use super::human::size;
use super::json;
use super::output::print;
use crate::config::Config;
use hast_core::message::{Command, ResourceReply, StatusReply};
use std::fmt::{self, Write as _};

pub(super) fn run(config: &Config, names: &[String], as_json: bool) -> Result<u8, Failure> {
    let question = Question::new(Command::Status, names, as_json);
    let answer = ask(config, question)?;
    let reply = read(&answer)?;
    if as_json {
        json::print_resources(json::of_reply(&reply))?;
    } else {
        print(&reply.resources.iter().map(text).collect::<String>())?;
    }
    super::status::complain(&reply);
    Ok(status(&reply))
}

fn text(resource: &ResourceReply<'_>) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = write(&mut text, resource);
    text
}

fn write(text: &mut String, resource: &ResourceReply<'_>) -> fmt::Result {
    writeln!(text, "{}:", resource.name)?;
    if let Some(code) = resource.failure() {
        return writeln!(text, "  error: {}", code.0);
    }
    let role = resource.role.unwrap_or_default();
    writeln!(text, "  role: {role}")?;
    write_status(text, &resource.status.unwrap_or_default())
}

/// What the daemon did not send reads as 0.
fn write_status(text: &mut String, status: &StatusReply<'_>) -> fmt::Result {
    let worker = status.worker.unwrap_or_default();
    writeln!(text, "  provname: {}", status.provname)?;
    writeln!(text, "  localpath: {}", status.localpath)?;
    let extentsize = worker.extentsize;
    let human = size(extentsize.into());
    writeln!(text, "  extentsize: {extentsize} ({human})")?;
    writeln!(text, "  keepdirty: {}", worker.keepdirty)?;
    writeln!(text, "  remoteaddr: {}", status.remoteaddr)?;
    if let Some(source) = status.sourceaddr {
        writeln!(text, "  sourceaddr: {source}")?;
    }
    writeln!(text, "  replication: {}", status.replication)?;
    if status.worker.is_some() {
        writeln!(text, "  status: {}", worker.status)?;
    }
    if status.workerpid != 0 {
        writeln!(text, "  workerpid: {}", status.workerpid)?;
    }
    writeln!(text, "  dirty: {} ({})", worker.dirty, size(worker.dirty))?;
    let n = worker.statistics;
    writeln!(text, "  statistics:")?;
    writeln!(text, "    reads: {}", n.reads)?;
    writeln!(text, "    writes: {}", n.writes)?;
    writeln!(text, "    deletes: {}", n.deletes)?;
    writeln!(text, "    flushes: {}", n.flushes)?;
    writeln!(text, "    activemap updates: {}", n.activemap_updates)?;
    writeln!(
        text,
        "    local errors: read: {}, write: {}, delete: {}, flush: {}",
        n.read_errors, n.write_errors, n.delete_errors, n.flush_errors
    )?;
    writeln!(
        text,
        "    queues: local: {}, send: {}, recv: {}, done: {}, idle: {}",
        n.local_queue, n.send_queue, n.recv_queue, n.done_queue, n.idle_queue
    )
}

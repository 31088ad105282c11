//! `hastctl status -v`: how resources are, why, and what comes next, for
//! people.

use super::ask::told;
use super::human::{duration, size};
use crate::control::client::explain;
use crate::status::{Report, Supervision, Sync};
use hast_core::message::{ControlReply, ResourceReply};
use hast_core::nv::Text;
use std::fmt::Write as _;

pub(super) fn paragraphs(reply: &ControlReply<'_>) -> String {
    reply.resources.iter().map(paragraph).collect()
}

fn paragraph(resource: &ResourceReply<'_>) -> String {
    let name = resource.name;
    if let Some(code) = resource.failure() {
        return format!("{name}: error: {}\n", explain(code, resource.reason));
    }
    let role = resource.role.unwrap_or_default();
    let status = resource.status.unwrap_or_default();
    let mut lines = Lines::default();
    if let Some(told) = told(resource) {
        add_report(&mut lines, &told.status.report);
        add_supervision(&mut lines, &told.daemon);
    } else {
        let text = status.worker.map_or(Text::from("unknown"), |w| w.status);
        lines.add("state", format!("{text} (this hastd tells no more)"));
    }
    format!(
        "{name}: {role}, {} with {}\n{}",
        status.localpath, status.remoteaddr, lines.0
    )
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, text: impl AsRef<str>) {
        let text = text.as_ref();
        if !text.is_empty() {
            let what = format!("{what}:");
            // Other programs' words, on a terminal.
            let text = Text::from(text);
            // A String takes everything.
            let _ = writeln!(self.0, "  {what:<12} {text}");
        }
    }

    fn add_event(&mut self, what: &str, event: Option<&(String, u64)>) {
        if let Some((text, ago)) = event {
            self.add(what, format!("{text}, {} ago", duration(*ago)));
        }
    }
}

fn add_report(lines: &mut Lines, report: &Report) {
    let state = match report.since {
        0 => report.state.clone(),
        since => format!("{} for {}", report.state, duration(since)),
    };
    lines.add("state", state);
    lines.add("why", &report.reason);
    if let Some(sync) = &report.sync {
        lines.add("progress", progress(sync));
    }
    lines.add("next", &report.next);
    if matches!(&*report.state, "split-brain" | "refused") {
        let lost = |bytes: Option<u64>| bytes.map_or("an unknown amount".into(), size);
        let (here, there) = (lost(report.dirty_here), lost(report.dirty_there));
        lines.add(
            "at stake",
            format!("at most {here} changed only here, {there} only there"),
        );
    }
    lines.add_event("last error", report.last_error.as_ref());
}

fn add_supervision(lines: &mut Lines, daemon: &Supervision) {
    if daemon.role != daemon.final_role {
        lines.add("becoming", &daemon.final_role);
    }
    if daemon.workerpid != 0 && !daemon.ready {
        lines.add("worker", "starting");
    }
    lines.add_event("worker", daemon.last_exit.as_ref());
    lines.add_event("turned away", daemon.last_refusal.as_ref());
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

#[cfg(test)]
mod tests;

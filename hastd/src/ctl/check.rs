//! `hastctl check`: what is wrong with the configuration and the components,
//! and, if hastd runs, what it finds between the nodes.

use super::ask::{Question, ask, read};
use super::failure::Failure;
use super::output::print;
use super::{BAD_DATA, means_all};
use crate::check::{Finding, Report, check};
use crate::config::Loaded;
use crate::control::client::{ClientError, explain};
use crate::log;
use hast_core::message::{Command, ControlReply};

/// `EX_CONFIG`.
const WRONG: u8 = 78;

pub(super) fn run(loaded: &Loaded, names: &[String], as_json: bool) -> Result<u8, Failure> {
    let (_, unknown) = super::find_or_all(&loaded.config, names);
    if unknown != 0 {
        return Ok(BAD_DATA);
    }
    let mut report = check(loaded);
    if !means_all(names) {
        report.findings.retain(|finding| {
            let resource = finding.resource.as_ref();
            resource.is_none_or(|resource| names.contains(resource))
        });
    }
    ask_the_daemon(loaded, names, &mut report)?;
    let text = if as_json {
        report.to_json() + "\n"
    } else {
        report.to_string()
    };
    print(&text)?;
    Ok(if report.has_errors() { WRONG } else { 0 })
}

/// Without a daemon there is nobody to ask, which is no mistake.
fn ask_the_daemon(loaded: &Loaded, names: &[String], report: &mut Report) -> Result<(), Failure> {
    let question = Question::new(Command::Check, names, true);
    let unchecked = "whether both nodes agree was not checked";
    match ask(&loaded.config, question) {
        Ok(answer) => match read(&answer) {
            Ok(reply) => add(&reply, report),
            Err(Failure::Refused { why, .. }) => log::warning!("hastd: {why}; {unchecked}."),
            Err(failure) => return Err(failure),
        },
        Err(Failure::Client(error @ ClientError::Connect { .. })) => {
            log::debug!(1, "{error}");
            log::warning!("hastd does not run, so {unchecked}.");
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}

fn add(reply: &ControlReply<'_>, report: &mut Report) {
    for resource in &reply.resources {
        let name = resource.name;
        if let Some(code) = resource.failure() {
            let why = explain(code, resource.reason);
            log::warning!("[{name}] hastd did not check it: {why}.");
        }
        match resource
            .report
            .map(|json| serde_json::from_slice::<Vec<Finding>>(json.0))
        {
            Some(Ok(findings)) => report.findings.extend(findings),
            Some(Err(error)) => {
                log::warning!("[{name}] hastd sent findings that cannot be understood: {error}.");
            }
            None => {}
        }
    }
}

//! `hastctl check`: what is wrong with the configuration, the components and,
//! as far as hastd can tell, between the nodes.

use super::ask::Daemon;

use crate::check::{Finding, Report, check};
use crate::config::Loaded;
use crate::log;
use hast_core::message::{Command, Wishes};

/// `EX_CONFIG`.
const WRONG: u8 = 78;

pub(super) fn run(loaded: &Loaded, names: &[String], json: bool) -> u8 {
    let mut report = check(loaded);
    if !super::means_all(names) {
        report.findings.retain(|finding| {
            let resource = finding.resource.as_ref();
            resource.is_none_or(|resource| names.contains(resource))
        });
    }
    ask_the_daemon(loaded, names, &mut report);
    if json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    if report.has_errors() { WRONG } else { 0 }
}

/// Without a daemon there is nobody to ask: that is no mistake.
fn ask_the_daemon(loaded: &Loaded, names: &[String], report: &mut Report) {
    if !loaded.config.control.exists() {
        return log::notice!("hastd does not run; whether both nodes agree was not checked.");
    }
    let Ok(daemon) = Daemon::reach(&loaded.config) else {
        return;
    };
    let wishes = Wishes {
        report: true,
        ..Wishes::default()
    };
    daemon.ask(Command::Check, names, wishes, |reply| {
        for resource in &reply.resources {
            let findings = resource.report.map(|json| serde_json::from_slice(json.0));
            match findings {
                Some(Ok(findings)) => report.findings.extend::<Vec<Finding>>(findings),
                Some(Err(error)) => log::warning!("[{}] {error}", resource.name),
                None => {}
            }
        }
        0
    });
}

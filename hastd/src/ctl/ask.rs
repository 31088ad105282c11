//! Questions to hastd. Like base's hastctl, this one connects, gives its
//! privileges up, and only then reads what the daemon says.

use super::failure::Failure;
use super::{first, means_all};
use crate::config::Config;
use crate::control::client::{Answer, Client, explain};
use crate::log;
use crate::sandbox::{drop_privileges, user};
use crate::status::Told;
use hast_core::message::{
    Command, ControlCode, ControlReply, ControlRequest, Names, ResourceReply, Wishes,
};
use hast_core::nv::Text;

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) command: Command,
    /// None, or `all` in front: all.
    pub(super) names: &'a [String],
    /// To be told why something was refused, ask for reports.
    pub(super) wishes: Wishes,
}

impl<'a> Question<'a> {
    /// Without wishes, but perhaps for a report.
    pub(super) fn new(command: Command, names: &'a [String], report: bool) -> Self {
        let wishes = Wishes {
            report,
            ..Wishes::default()
        };
        Self {
            command,
            names,
            wishes,
        }
    }
}

/// The last question: privileges are gone then, and nothing can be opened or
/// connected to any more.
pub(super) fn ask(config: &Config, question: Question<'_>) -> Result<Answer, Failure> {
    let client = Client::connect(&config.control)?;
    match user()? {
        Some(user) => drop(drop_privileges(&user, "hastctl")?),
        None => log::debug!(1, "Not root: there are no privileges to give up."),
    }
    put(client, question)
}

/// A question before another one.
pub(super) fn ask_first(config: &Config, question: Question<'_>) -> Result<Answer, Failure> {
    put(Client::connect(&config.control)?, question)
}

fn put(client: Client, question: Question<'_>) -> Result<Answer, Failure> {
    let names = question.names;
    let request = ControlRequest {
        command: question.command,
        names: if means_all(names) {
            Names::All
        } else {
            Names::These(names.iter().map(|name| Text(name.as_bytes())).collect())
        },
        wishes: question.wishes,
    };
    let waiting = || log::warning!("Waiting for hastd; interrupting hastctl changes nothing.");
    Ok(client.ask(&request, waiting)?)
}

/// What the answer says, unless that is no to everything.
pub(super) fn read(answer: &Answer) -> Result<ControlReply<'_>, Failure> {
    let reply = answer.read()?;
    match reply.error.filter(|code| *code != ControlCode(0)) {
        None => Ok(reply),
        Some(code) => Err(Failure::Refused {
            code: code.0,
            why: explain(code, reply.reason),
        }),
    }
}

/// The exit status of an answer: the code of the first resource that failed,
/// as in base.
pub(super) fn status(reply: &ControlReply<'_>) -> u8 {
    let codes = reply.resources.iter().filter_map(ResourceReply::failure);
    codes.fold(0, |status, code| first(status, status_of(code)))
}

/// The system keeps the last byte; a failure must not end as 0.
pub(super) fn status_of(code: ControlCode) -> u8 {
    let [low, _] = code.0.to_le_bytes();
    if low == 0 && code.0 != 0 { 1 } else { low }
}

/// What only our daemon says, if it was asked for a report.
pub(super) fn told(resource: &ResourceReply<'_>) -> Option<Told> {
    let json = resource.report?;
    match serde_json::from_slice(json.0) {
        Ok(told) => Some(told),
        Err(error) => {
            log::warning!(
                "[{}] This hastd, of another version, sends a report that cannot be understood: {error}.",
                resource.name
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_never_ends_as_success() {
        for (code, status) in [(0, 0), (1, 1), (45, 45), (255, 255), (256, 1), (-1, 255)] {
            assert_eq!(status_of(ControlCode(code)), status, "{code}");
        }
    }
}

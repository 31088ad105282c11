//! How resources are, as JSON: the same for `hastctl status` and `hastctl
//! list`. Names stay, new ones may come.

use crate::control::client::explain;
use crate::status::Told;
use hast_core::message::{ResourceReply, StatusReply};
use serde::Serialize;

/// One resource, for programs.
#[derive(Serialize)]
pub(super) struct Resource {
    name: String,
    /// Of the daemon, if it has nothing else to say.
    error: Option<Failure>,
    role: Option<String>,
    #[serde(flatten)]
    configured: Option<Configured>,
    /// Process id of the worker, as base tells it: 0 for a secondary without
    /// primary.
    workerpid: i32,
    /// `complete` or `degraded`, as base tells it.
    status: Option<String>,
    /// Everything else, which [`Told`] defines; none from base's daemon.
    #[serde(flatten)]
    told: Option<Told>,
}

#[derive(Serialize)]
struct Failure {
    code: i16,
    reason: String,
}

#[derive(Serialize)]
struct Configured {
    provider: String,
    local: String,
    remote: String,
    source: Option<String>,
    replication: String,
    checksum: String,
    compression: String,
}

impl Resource {
    pub(super) fn of(reply: &ResourceReply<'_>) -> Self {
        let error = reply.error.filter(|code| code.0 != 0);
        Self {
            name: reply.name.to_string(),
            error: error.map(|code| Failure {
                code: code.0,
                reason: explain(code, reply.reason),
            }),
            role: reply.role.map(|role| role.to_string()),
            configured: reply.status.as_ref().map(configured),
            workerpid: reply.status.map_or(0, |status| status.workerpid),
            status: reply
                .status
                .and_then(|status| status.worker)
                .map(|worker| worker.status.to_string()),
            told: told(reply),
        }
    }
}

fn configured(status: &StatusReply<'_>) -> Configured {
    Configured {
        provider: status.provname.to_string(),
        local: status.localpath.to_string(),
        remote: status.remoteaddr.to_string(),
        source: status.sourceaddr.map(|source| source.to_string()),
        replication: status.replication.to_string(),
        checksum: status.checksum.to_string(),
        compression: status.compression.to_string(),
    }
}

/// What only our daemon says.
pub(super) fn told(reply: &ResourceReply<'_>) -> Option<Told> {
    serde_json::from_slice(reply.report?.0).ok()
}

/// Prints a list for programs.
pub(super) fn print_json<T: Serialize>(list: &[T]) {
    match serde_json::to_string_pretty(list) {
        Ok(text) => println!("{text}"),
        Err(error) => crate::log::error!("Cannot write JSON: {error}."),
    }
}

//! What `--json` prints, but for `check`: one schema,
//! documented in `docs/json.md`.
//!
//! Names and meanings stay as they are; new ones may come. What base prints
//! has the name that base prints. What is not known is null.

use super::BAD_DATA;
use super::ask::told;
use super::failure::Failure;
use super::output::print;
use crate::config::{self, Config};
use crate::control::client::explain;
use crate::status::{self, Queues, Statistics, Status, Supervision, Told};
use hast_core::message::{self, ControlReply, ResourceReply, StatusReply, WorkerStatus};
use hast_core::metadata::{Consistency, Metadata};
use hast_core::role::Role;
use hast_core::units::{Generation, ResUid};
use serde::Serialize;
use std::error::Error;
use std::io;
use std::path::Path;

#[derive(Serialize)]
struct Document {
    resources: Vec<Resource>,
}

/// What is known about a resource.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Resource {
    /// Nothing.
    Failed { name: String, error: Problem },
    /// How hastd serves it: `list` and `status`.
    Served(Box<Served>),
    /// What became of its role: `role`.
    Changed {
        name: String,
        role: &'static str,
        /// The role before.
        before: Option<String>,
    },
    /// What its component says: `create` and `dump`.
    Component { name: String, metadata: Block },
}

#[derive(Serialize)]
pub(super) struct Problem {
    code: i16,
    text: String,
}

#[derive(Serialize)]
pub(super) struct Served {
    name: String,
    role: String,
    /// The role it will have, if that was ordered and is not done.
    becoming: Option<String>,
    provname: String,
    localpath: String,
    remoteaddr: String,
    sourceaddr: Option<String>,
    replication: String,
    checksum: String,
    compression: String,
    /// As base has it: null for a secondary without primary.
    status: Option<String>,
    workerpid: Option<u32>,
    /// The worker has its component and its provider.
    ready: Option<bool>,
    extentsize: Option<u32>,
    keepdirty: Option<u32>,
    dirty: Option<u64>,
    statistics: Option<Statistics>,
    queues: Option<Queues>,
    report: Option<Report>,
    /// Workers that were started because the one before had ended by itself.
    restarts: Option<u64>,
    last_exit: Option<Event>,
    last_refusal: Option<Event>,
}

/// What goes on.
#[derive(Serialize)]
struct Report {
    state: String,
    reason: String,
    since: u64,
    next: String,
    dirty_here: Option<u64>,
    dirty_there: Option<u64>,
    sync: Option<status::Sync>,
    last_error: Option<Event>,
}

/// Something that happened `ago` seconds ago.
#[derive(Serialize)]
struct Event {
    text: String,
    ago: u64,
}

#[derive(Serialize)]
pub(super) struct Block {
    localpath: String,
    datasize: u64,
    extentsize: u32,
    keepdirty: u32,
    localoff: u64,
    /// Text: few readers of JSON have integers of 64 bits.
    resuid: String,
    localcnt: u64,
    remotecnt: u64,
    prevrole: &'static str,
    generation: Option<String>,
    consistent: bool,
    discard: bool,
}

pub(super) fn print_resources(resources: Vec<Resource>) -> Result<(), Failure> {
    print(&document(resources)?)
}

fn document(resources: Vec<Resource>) -> io::Result<String> {
    let document = Document { resources };
    let mut text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
    text.push('\n');
    Ok(text)
}

/// The resources of an answer about their status.
pub(super) fn of_reply(reply: &ControlReply<'_>) -> Vec<Resource> {
    reply.resources.iter().map(Resource::of_reply).collect()
}

/// Those that the configuration does not have.
pub(super) fn unknown(config: &Config, names: &[String]) -> Vec<Resource> {
    let is_unknown = |name: &&String| !config.resources.iter().any(|r| r.name == **name);
    let unknown = |name: &String| Resource::Failed {
        name: name.clone(),
        error: Problem {
            code: BAD_DATA.into(),
            text: format!("Unknown resource {name}."),
        },
    };
    names.iter().filter(is_unknown).map(unknown).collect()
}

/// The resources of an answer about their new role.
pub(super) fn of_change(reply: &ControlReply<'_>, role: Role) -> Vec<Resource> {
    let change = |reply: &ResourceReply<'_>| {
        Resource::failed(reply).unwrap_or_else(|| Resource::Changed {
            name: reply.name.to_string(),
            role: role.name(),
            before: reply.role.map(|role| role.to_string()),
        })
    };
    reply.resources.iter().map(change).collect()
}

impl Resource {
    fn of_reply(reply: &ResourceReply<'_>) -> Self {
        Self::failed(reply).unwrap_or_else(|| {
            let name = reply.name.to_string();
            Self::Served(Box::new(Served::of(name, reply)))
        })
    }

    fn failed(reply: &ResourceReply<'_>) -> Option<Self> {
        let code = reply.failure()?;
        Some(Self::Failed {
            name: reply.name.to_string(),
            error: Problem {
                code: code.0,
                text: explain(code, reply.reason),
            },
        })
    }

    pub(super) fn of_component(resource: &config::Resource, metadata: &Metadata) -> Self {
        Self::Component {
            name: resource.name.clone(),
            metadata: Block::of(&resource.local, metadata),
        }
    }

    pub(super) fn of_failure(resource: &config::Resource, code: i16, error: &dyn Error) -> Self {
        Self::Failed {
            name: resource.name.clone(),
            error: Problem {
                code,
                text: error.to_string(),
            },
        }
    }
}

impl Served {
    fn of(name: String, reply: &ResourceReply<'_>) -> Self {
        let status = reply.status.unwrap_or_default();
        let told = told(reply);
        let counted = told.as_ref().and_then(counted_by_ours);
        let counted = counted.or_else(|| status.worker.as_ref().map(counted_by_base));
        let (counts, queues) = counted.as_ref().map(|s| (s.statistics, s.queues)).unzip();
        let daemon = told.as_ref().map(|told| &told.daemon);
        let event = |which: fn(&Supervision) -> &Option<(String, u64)>| {
            daemon
                .and_then(|daemon| which(daemon).as_ref())
                .map(Event::of)
        };
        Self {
            name,
            role: reply.role.unwrap_or_default().to_string(),
            becoming: daemon
                .filter(|daemon| daemon.final_role != daemon.role)
                .map(|daemon| daemon.final_role.clone()),
            provname: status.provname.to_string(),
            localpath: status.localpath.to_string(),
            remoteaddr: status.remoteaddr.to_string(),
            sourceaddr: status.sourceaddr.map(|source| source.to_string()),
            replication: status.replication.to_string(),
            checksum: status.checksum.to_string(),
            compression: status.compression.to_string(),
            status: status.worker.map(|worker| worker.status.to_string()),
            workerpid: workerpid(&status, daemon),
            ready: daemon.map(|daemon| daemon.ready),
            extentsize: counted.as_ref().map(|counted| counted.extentsize),
            keepdirty: counted.as_ref().map(|counted| counted.keepdirty),
            dirty: counted.as_ref().map(|counted| counted.dirty),
            statistics: counts,
            queues,
            restarts: daemon.map(|daemon| daemon.restarts),
            last_exit: event(|daemon| &daemon.last_exit),
            last_refusal: event(|daemon| &daemon.last_refusal),
            report: told.as_ref().map(|told| Report::of(&told.status.report)),
        }
    }
}

/// Base tells of no worker while a secondary waits for its primary.
fn workerpid(status: &StatusReply<'_>, daemon: Option<&Supervision>) -> Option<u32> {
    let pid = match daemon {
        Some(daemon) => daemon.workerpid,
        None => u32::try_from(status.workerpid).unwrap_or(0),
    };
    Some(pid).filter(|&pid| pid != 0)
}

/// Without a worker there is nobody who counts.
fn counted_by_ours(told: &Told) -> Option<Status> {
    (told.daemon.workerpid != 0).then(|| told.status.clone())
}

fn counted_by_base(worker: &WorkerStatus<'_>) -> Status {
    let message::Statistics {
        reads,
        writes,
        deletes,
        flushes,
        activemap_updates,
        read_errors,
        write_errors,
        delete_errors,
        flush_errors,
        idle_queue: idle,
        local_queue: local,
        send_queue: send,
        recv_queue: recv,
        done_queue: done,
    } = worker.statistics;
    Status {
        dirty: worker.dirty,
        extentsize: worker.extentsize,
        keepdirty: worker.keepdirty,
        statistics: Statistics {
            reads,
            writes,
            deletes,
            flushes,
            activemap_updates,
            read_errors,
            write_errors,
            delete_errors,
            flush_errors,
        },
        queues: Queues {
            idle,
            local,
            send,
            recv,
            done,
        },
        ..Status::default()
    }
}

impl Report {
    fn of(report: &status::Report) -> Self {
        Self {
            state: report.state.clone(),
            reason: report.reason.clone(),
            since: report.since,
            next: report.next.clone(),
            dirty_here: report.dirty_here,
            dirty_there: report.dirty_there,
            sync: report.sync.clone(),
            last_error: report.last_error.as_ref().map(Event::of),
        }
    }
}

impl Event {
    fn of((text, ago): &(String, u64)) -> Self {
        Self {
            text: text.clone(),
            ago: *ago,
        }
    }
}

impl Block {
    fn of(local: &Path, metadata: &Metadata) -> Self {
        Self {
            localpath: local.display().to_string(),
            datasize: metadata.datasize,
            extentsize: metadata.extentsize,
            keepdirty: metadata.keepdirty,
            localoff: metadata.localoff,
            resuid: metadata.resuid.map_or(0, ResUid::get).to_string(),
            localcnt: metadata.counters.local,
            remotecnt: metadata.counters.remote,
            prevrole: metadata.prevrole.name(),
            generation: metadata.generation.as_ref().map(Generation::to_string),
            consistent: metadata.consistency == Consistency::Consistent,
            discard: metadata.discard,
        }
    }
}

#[cfg(test)]
mod tests;

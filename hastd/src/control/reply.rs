//! An answer of the daemon, collected piece by piece: workers and changes of
//! roles take their time.

use crate::config::Word as _;
use crate::daemon::resource::Refusal;
use crate::{config, status};
use hast_core::frame;
use hast_core::message::{
    ControlCode, ControlReply, ResourceReply, Statistics, StatusReply, WorkerStatus,
};
use hast_core::nv::Text;
use hast_core::role::Role;
use std::os::unix::ffi::OsStrExt as _;

/// What the answer says about one resource.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The role before the change.
    Role(Role),
    /// How it is.
    Status(Box<StatusAnswer>),
    /// JSON.
    Report(String),
    /// It was done, and there is nothing to say.
    Done,
    /// It was not done.
    Refused(Refusal),
}

/// How a resource is.
#[derive(Debug)]
pub(crate) struct StatusAnswer {
    pub(crate) config: config::Resource,
    pub(crate) role: Role,
    /// 0 where base has no worker.
    pub(crate) workerpid: i32,
    pub(crate) worker: Option<status::Status>,
    /// What is ours, as JSON.
    pub(crate) report: Option<String>,
}

/// An answer, complete when each resource has its part.
#[derive(Debug)]
pub(crate) struct Reply {
    error: Option<Refusal>,
    names: Vec<Vec<u8>>,
    answers: Vec<Option<Answer>>,
    missing: usize,
    /// The client knows what is ours.
    pub(crate) extended: bool,
}

impl Reply {
    /// To be filled, one answer for each name.
    pub(crate) fn new(names: Vec<Vec<u8>>, extended: bool) -> Self {
        Self {
            error: None,
            answers: names.iter().map(|_| None).collect(),
            missing: names.len(),
            names,
            extended,
        }
    }

    /// The whole request failed.
    pub(crate) fn failed(refusal: Refusal, extended: bool) -> Self {
        Self {
            error: Some(refusal),
            ..Self::new(Vec::new(), extended)
        }
    }

    /// The first answer counts.
    pub(crate) fn fill(&mut self, place: usize, answer: Answer) {
        if let Some(empty @ None) = self.answers.get_mut(place) {
            *empty = Some(answer);
            self.missing -= 1;
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let reply = self.reply();
        let mut buffer = Vec::new();
        let needed = match reply.encode(&mut buffer) {
            Ok(length) => length,
            Err(full) => full.needed,
        };
        let limit = frame::HEADER + usize::try_from(frame::CONTROL_LIMIT).unwrap_or(usize::MAX);
        if needed > limit {
            let reason = "the answer is too long; ask for fewer resources at once";
            let refusal = Refusal::new(ControlCode::NO_MEMORY, reason);
            return Self::failed(refusal, self.extended).encode();
        }
        buffer.resize(needed, 0);
        // It fits now.
        let length = reply.encode(&mut buffer).unwrap_or(0);
        buffer.truncate(length);
        buffer
    }

    fn reply(&self) -> ControlReply<'_> {
        let parts = self.names.iter().zip(&self.answers);
        ControlReply {
            // An empty message makes base's hastctl abort.
            error: match &self.error {
                Some(refusal) => Some(refusal.code),
                None => self.names.is_empty().then_some(ControlCode(0)),
            },
            reason: self.reason(self.error.as_ref()),
            resources: parts
                .map(|(name, answer)| self.part(name, answer.as_ref()))
                .collect(),
        }
    }

    /// In words, for who asked for them.
    fn reason<'a>(&self, refusal: Option<&'a Refusal>) -> Option<Text<'a>> {
        let refusal = refusal.filter(|_| self.extended)?;
        Some(Text::from(refusal.reason.as_str()))
    }

    fn part<'a>(&'a self, name: &'a [u8], answer: Option<&'a Answer>) -> ResourceReply<'a> {
        let mut part = ResourceReply {
            name: Text(name),
            ..ResourceReply::default()
        };
        match answer {
            Some(Answer::Role(role)) => part.role = Some(role.name().into()),
            Some(Answer::Status(status)) => {
                part.role = Some(status.role.name().into());
                part.status = Some(status.reply());
                part.report = status.report.as_deref().map(Text::from);
            }
            Some(Answer::Report(json)) => part.report = Some(json.as_str().into()),
            Some(Answer::Refused(refusal)) => {
                part.error = Some(refusal.code);
                part.reason = self.reason(Some(refusal));
            }
            Some(Answer::Done) | None => {}
        }
        part
    }
}

impl StatusAnswer {
    fn reply(&self) -> StatusReply<'_> {
        let config = &self.config;
        StatusReply {
            provname: config.provider.as_str().into(),
            localpath: Text(config.local.as_os_str().as_bytes()),
            remoteaddr: config.remote.as_deref().unwrap_or("none").into(),
            sourceaddr: config.source.as_deref().map(Text::from),
            replication: config.settings.replication.word().into(),
            checksum: config.settings.checksum.word().into(),
            compression: config.settings.compression.word().into(),
            workerpid: self.workerpid,
            worker: self.worker.as_ref().map(worker_status),
        }
    }
}

fn worker_status(status: &status::Status) -> WorkerStatus<'static> {
    let (done, queues) = (&status.statistics, &status.queues);
    WorkerStatus {
        status: if status.complete {
            "complete"
        } else {
            "degraded"
        }
        .into(),
        dirty: status.dirty,
        extentsize: status.extentsize,
        keepdirty: status.keepdirty,
        statistics: Statistics {
            reads: done.reads,
            writes: done.writes,
            deletes: done.deletes,
            flushes: done.flushes,
            activemap_updates: done.activemap_updates,
            read_errors: done.read_errors,
            write_errors: done.write_errors,
            delete_errors: done.delete_errors,
            flush_errors: done.flush_errors,
            idle_queue: queues.idle,
            local_queue: queues.local,
            send_queue: queues.send,
            recv_queue: queues.recv,
            done_queue: queues.done,
        },
    }
}

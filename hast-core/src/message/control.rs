//! What hastctl and hastd say to each other.
//! Facts: spec/hast-wire.md section 10.
//!
//! One request, one reply, then the daemon closes. Names with a number behind
//! them (`resource0`, `role0`) belong to the resource of that number; numbers
//! start at 0 and have no gaps.
//!
//! What is ours is added so that base's programs are served as base serves
//! them: entries that were not asked for are not sent, and the numbers of our
//! commands are far from base's, whose daemon answers
//! [`ControlCode::UNKNOWN_COMMAND`].

use super::MessageError;
use crate::errno::Errno;
use crate::frame;
use crate::nv::{
    Data, Entries, Field, FieldError, Full, Numbered, Text, Value, Wanted, Writer, pick,
};
use crate::role::Role;
use crate::units::Version;
use alloc::vec;
use alloc::vec::Vec;

const SET_ROLE: u8 = 1;
const STATUS: u8 = 2;

/// Commands of ours. Base counts from 1, and may add some.
const STOP: u8 = 128;
const CHECK: u8 = 129;
const RESOLVE: u8 = 130;

/// Entries of ours, `docs/extensions.md`.
const WAIT: &str = "hg_wait";
const IF_CLOSED: &str = "hg_if_closed";
const REPORT: &str = "hg_report";
const REASON: &str = "hg_reason";

/// Most resources in one message: far beyond any machine's providers, and
/// what bounds the memory a message can ask for.
const MAX_RESOURCES: usize = 4096;

/// The resource name that means all of them.
const ALL: Text<'static> = Text(b"all");

/// What the daemon is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Change the role of the resources.
    SetRole(Role),
    /// Tell how they are.
    Status,
    /// Ours: end, as at SIGTERM. Concerns the daemon; answered before it ends.
    Stop,
    /// Ours: ask the other node whether it agrees about the resources.
    Check,
    /// Ours: give up this node's data of the resources, to end a split-brain.
    Resolve,
}

/// How a command is to be carried out; all of it ours.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wishes {
    /// Answer a change of role not before the worker of the new role is
    /// ready, or has failed.
    pub wait: bool,
    /// Change no role of a primary whose provider somebody has open.
    pub if_closed: bool,
    /// Send [`ResourceReply::report`], and reasons.
    pub report: bool,
}

/// The resources a request is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Names<'a> {
    /// All that are configured.
    All,
    /// These, in this order; at least one.
    These(Vec<Text<'a>>),
}

/// A request of hastctl or of bsnmpd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlRequest<'a> {
    /// What to do.
    pub command: Command,
    /// With which resources.
    pub names: Names<'a>,
    /// In which way.
    pub wishes: Wishes,
}

/// A code in `error` and in `errorN`. Not an error number, although base
/// sends those too when a worker cannot be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ControlCode(pub i16);

impl ControlCode {
    /// No such resource.
    pub const NO_RESOURCE: Self = Self(1);
    /// The request makes no sense.
    pub const INVALID: Self = Self(2);
    /// No memory.
    pub const NO_MEMORY: Self = Self(3);
    /// No such command.
    pub const UNKNOWN_COMMAND: Self = Self(4);
}

impl From<Errno> for ControlCode {
    fn from(errno: Errno) -> Self {
        // Errno never exceeds an int16.
        Self(i16::try_from(errno.get()).unwrap_or(i16::MAX))
    }
}

impl<'a> ControlRequest<'a> {
    /// Reads the message. The inner error is the daemon's answer; the outer
    /// one closes the connection without any, as base does without a command.
    pub fn decode(entries: &'a [u8]) -> Result<Result<Self, ControlCode>, MessageError> {
        let [cmd, role, wait, if_closed, report] =
            pick(entries, ["cmd", "role", WAIT, IF_CLOSED, REPORT])?;
        let command = match cmd.get::<u8>()? {
            0 => return Err(MessageError::Value("cmd")),
            SET_ROLE => match role.get().ok().and_then(Role::from_byte) {
                Some(role) => Ok(Command::SetRole(role)),
                None => Err(ControlCode::INVALID),
            },
            STATUS => Ok(Command::Status),
            STOP => Ok(Command::Stop),
            CHECK => Ok(Command::Check),
            RESOLVE => Ok(Command::Resolve),
            _ => Err(ControlCode::UNKNOWN_COMMAND),
        };
        let names = names(entries)?;
        let names = match names.first() {
            None => return Ok(Err(ControlCode::INVALID)),
            Some(first) if *first == ALL => Names::All,
            Some(_) => Names::These(names),
        };
        Ok(command.map(|command| Self {
            command,
            names,
            wishes: Wishes {
                wait: wait.is_present(),
                if_closed: if_closed.is_present(),
                report: report.is_present(),
            },
        }))
    }

    /// Writes the message.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, Version::MAX, |w| {
            match self.command {
                Command::SetRole(role) => {
                    put_command(w, SET_ROLE);
                    w.put("role", role.to_byte());
                }
                Command::Status => put_command(w, STATUS),
                Command::Stop => put_command(w, STOP),
                Command::Check => put_command(w, CHECK),
                Command::Resolve => put_command(w, RESOLVE),
            }
            match &self.names {
                Names::All => put(w, "resource", 0, ALL),
                Names::These(names) => {
                    for (n, name) in (0..).zip(names) {
                        put(w, "resource", n, *name);
                    }
                }
            }
            w.put_some(WAIT, self.wishes.wait.then_some(1i8));
            w.put_some(IF_CLOSED, self.wishes.if_closed.then_some(1i8));
            w.put_some(REPORT, self.wishes.report.then_some(1i8));
        })
    }
}

fn put_command(w: &mut Writer<'_>, command: u8) {
    w.put("cmd", command);
}

/// The daemon's answer.
#[derive(Clone, PartialEq, Debug)]
pub struct ControlReply<'a> {
    /// The whole request failed. Some(0) says that it did not, which base
    /// leaves out and which keeps an answer without resources from being an
    /// empty message, on which base's hastctl aborts.
    pub error: Option<ControlCode>,
    /// Ours: why, in words.
    pub reason: Option<Text<'a>>,
    /// The resources, in the order of the request.
    pub resources: Vec<ResourceReply<'a>>,
}

/// The answer for one resource.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ResourceReply<'a> {
    /// Its name, as it was asked for.
    pub name: Text<'a>,
    /// It failed; base then sends nothing more about it.
    pub error: Option<ControlCode>,
    /// The role: before the change, or now. Text, since hastctl prints what
    /// the daemon said.
    pub role: Option<Text<'a>>,
    /// How it is, if that was asked.
    pub status: Option<StatusReply<'a>>,
    /// Ours: more about it, as JSON, if that was asked.
    pub report: Option<Text<'a>>,
    /// Ours: why there is an error, in words.
    pub reason: Option<Text<'a>>,
}

/// How a resource is.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct StatusReply<'a> {
    /// Name of the provider, without `hast/`.
    pub provname: Text<'a>,
    /// Path of the component.
    pub localpath: Text<'a>,
    /// Address of the peer, as configured.
    pub remoteaddr: Text<'a>,
    /// Our own address, if configured.
    pub sourceaddr: Option<Text<'a>>,
    /// Replication mode, as configured.
    pub replication: Text<'a>,
    /// Checksum, as configured.
    pub checksum: Text<'a>,
    /// Compression, as configured.
    pub compression: Text<'a>,
    /// Process id of the worker; 0 without one.
    pub workerpid: i32,
    /// What the worker says, if there is one.
    pub worker: Option<WorkerStatus<'a>>,
}

/// What a worker says.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct WorkerStatus<'a> {
    /// `complete` with a peer, `degraded` without.
    pub status: Text<'a>,
    /// Bytes in extents that are being written or are to be synchronised.
    pub dirty: u64,
    /// Bytes of an extent.
    pub extentsize: u32,
    /// Number of extents kept dirty; 0 on a secondary.
    pub keepdirty: u32,
    /// Everything that is counted.
    pub statistics: Statistics,
}

macro_rules! statistics {
    ($($name:ident, $entry:literal, $doc:literal;)*) => {
        /// What a worker counts, in the order it is sent.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Statistics {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Statistics {
            const NAMES: [&str; 14] = [$($entry),*];

            fn read(fields: &[Field<'_>; 14]) -> Result<Self, FieldError> {
                let [$($name),*] = fields;
                Ok(Self { $($name: $name.optional()?.unwrap_or_default(),)* })
            }

            fn write(&self, w: &mut Writer<'_>, n: u32) {
                $(put(w, $entry, n, self.$name);)*
            }
        }
    };
}

statistics! {
    reads, "stat_read", "Reads taken from the provider.";
    writes, "stat_write", "Writes.";
    deletes, "stat_delete", "Deletes.";
    flushes, "stat_flush", "Flushes.";
    activemap_updates, "stat_activemap_update", "Stores of the map.";
    read_errors, "stat_read_error", "Reads that failed locally.";
    write_errors, "stat_write_error", "Writes and stores of the map that failed locally.";
    delete_errors, "stat_delete_error", "Deletes that failed locally.";
    flush_errors, "stat_flush_error", "Flushes that failed locally, those of the map included.";
    idle_queue, "idle_queue_size", "Requests that could still be taken.";
    local_queue, "local_queue_size", "Requests waiting for the component.";
    send_queue, "send_queue_size", "Requests waiting to be sent.";
    recv_queue, "recv_queue_size", "Requests waiting for the peer's reply.";
    done_queue, "done_queue_size", "Requests waiting to be answered.";
}

impl<'a> ControlReply<'a> {
    /// Reads the message. What the daemon left out reads as 0 and as empty
    /// text, as it does in base's hastctl.
    pub fn decode(entries: &'a [u8]) -> Result<Self, MessageError> {
        let [error, reason] = pick(entries, ["error", REASON])?;
        let names = names(entries)?;
        let mut wanted = vec![(Wanted::new(RESOURCE), Wanted::new(Statistics::NAMES)); names.len()];
        for entry in Entries::new(entries) {
            let entry = entry?;
            if let Some((stem, n)) = split(entry.name())
                && let Some((fields, statistics)) = wanted.get_mut(n)
            {
                fields.offer(stem, entry);
                statistics.offer(stem, entry);
            }
        }
        let resources = names
            .into_iter()
            .zip(&wanted)
            .map(|(name, (fields, statistics))| {
                ResourceReply::read(name, &fields.fields, &statistics.fields)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            error: error.optional()?.map(ControlCode),
            reason: reason.optional()?,
            resources,
        })
    }

    /// Writes the message, entries in base's order.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        frame::write(buffer, Version::MAX, |w| {
            w.put_some("error", self.error.map(|code| code.0));
            w.put_some(REASON, self.reason);
            for (n, reply) in (0..).zip(&self.resources) {
                put(w, "resource", n, reply.name);
                if let Some(status) = &reply.status {
                    status.write(w, n);
                }
                put_some(w, "role", n, reply.role);
                if let Some(status) = &reply.status {
                    status.write_worker(w, n);
                }
                put_some(w, "error", n, reply.error.map(|code| code.0));
                put_some(w, REASON, n, reply.reason);
                put_some(w, REPORT, n, reply.report);
            }
        })
    }
}

impl StatusReply<'_> {
    fn write(&self, w: &mut Writer<'_>, n: u32) {
        put(w, "provname", n, self.provname);
        put(w, "localpath", n, self.localpath);
        put(w, "remoteaddr", n, self.remoteaddr);
        put_some(w, "sourceaddr", n, self.sourceaddr);
        put(w, "replication", n, self.replication);
        put(w, "checksum", n, self.checksum);
        put(w, "compression", n, self.compression);
    }

    fn write_worker(&self, w: &mut Writer<'_>, n: u32) {
        put(w, "workerpid", n, self.workerpid);
        if let Some(worker) = &self.worker {
            put(w, "status", n, worker.status);
            put(w, "dirty", n, worker.dirty);
            put(w, "extentsize", n, worker.extentsize);
            put(w, "keepdirty", n, worker.keepdirty);
            worker.statistics.write(w, n);
        }
    }
}

/// The entries of a resource, but for what is counted.
const RESOURCE: [&str; 16] = [
    "error",
    "role",
    "provname",
    "localpath",
    "remoteaddr",
    "sourceaddr",
    "replication",
    "checksum",
    "compression",
    "workerpid",
    "status",
    "dirty",
    "extentsize",
    "keepdirty",
    REASON,
    REPORT,
];

impl<'a> ResourceReply<'a> {
    /// The error, if it is one: 0 says that all is well.
    #[must_use]
    pub fn failure(&self) -> Option<ControlCode> {
        self.error.filter(|code| *code != ControlCode(0))
    }

    fn read(
        name: Text<'a>,
        fields: &[Field<'a>; 16],
        statistics: &[Field<'a>; 14],
    ) -> Result<Self, FieldError> {
        let [
            error,
            role,
            provname,
            localpath,
            remoteaddr,
            sourceaddr,
            replication,
            checksum,
            compression,
            workerpid,
            status,
            dirty,
            extentsize,
            keepdirty,
            reason,
            report,
        ] = fields;
        let worker = match status.optional()? {
            None => None,
            Some(status) => Some(WorkerStatus {
                status,
                dirty: dirty.optional()?.unwrap_or_default(),
                extentsize: extentsize.optional()?.unwrap_or_default(),
                keepdirty: keepdirty.optional()?.unwrap_or_default(),
                statistics: Statistics::read(statistics)?,
            }),
        };
        let status = match provname.optional()? {
            None => None,
            Some(provname) => Some(StatusReply {
                provname,
                localpath: localpath.optional()?.unwrap_or_default(),
                remoteaddr: remoteaddr.optional()?.unwrap_or_default(),
                sourceaddr: sourceaddr.optional()?,
                replication: replication.optional()?.unwrap_or_default(),
                checksum: checksum.optional()?.unwrap_or_default(),
                compression: compression.optional()?.unwrap_or_default(),
                workerpid: workerpid.optional()?.unwrap_or_default(),
                worker,
            }),
        };
        Ok(Self {
            name,
            error: error.optional()?.map(ControlCode),
            role: role.optional()?,
            status,
            report: report.optional()?,
            reason: reason.optional()?,
        })
    }
}

/// `resource0`, `resource1` and so on, up to the first that is missing.
fn names(entries: &[u8]) -> Result<Vec<Text<'_>>, MessageError> {
    let mut names: Vec<Option<Text<'_>>> = Vec::new();
    for entry in Entries::new(entries) {
        let entry = entry?;
        let Some((b"resource", n)) = split(entry.name()) else {
            continue;
        };
        if n >= MAX_RESOURCES {
            return Err(MessageError::Value("resource"));
        }
        if names.len() <= n {
            names.resize(n + 1, None);
        }
        if names[n].is_none() {
            let name = Text::read(&entry).ok_or(FieldError::WrongType("resource"))?;
            names[n] = Some(name);
        }
    }
    Ok(names.into_iter().map_while(|name| name).collect())
}

/// A name into its stem and its number, written as the sender writes it.
fn split(name: &[u8]) -> Option<(&[u8], usize)> {
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (stem, number) = name.split_at(name.len() - digits);
    if number.len() > 1 && number.starts_with(b"0") {
        return None;
    }
    let number = core::str::from_utf8(number).ok()?.parse().ok()?;
    Some((stem, number))
}

fn put(w: &mut Writer<'_>, stem: &str, n: u32, value: impl Data) {
    w.put(Numbered::new(stem, n).as_str(), value);
}

fn put_some(w: &mut Writer<'_>, stem: &str, n: u32, value: Option<impl Data>) {
    if let Some(value) = value {
        put(w, stem, n, value);
    }
}

#[cfg(test)]
mod tests;

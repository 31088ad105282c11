//! What both roles tell in the same way.

use crate::status::{Queues, Statistics};
use hast_core::errno::Errno;
use hast_core::message;
use hast_core::primary::{Millis, Op};

/// Whole seconds since then.
pub(super) const fn ago(then: Millis, now: Millis) -> u64 {
    now.0.saturating_sub(then.0) / 1000
}

/// Which request failed where.
pub(super) fn error_text(whose: &str, op: Op, error: Errno) -> String {
    let (what, range) = match op {
        Op::Read(range) => ("READ", Some(range)),
        Op::Write(range) => ("WRITE", Some(range)),
        Op::Delete(range) => ("DELETE", Some(range)),
        Op::Flush => ("FLUSH", None),
    };
    match range {
        Some(range) => format!("{whose}: {what} of {range}: {error}"),
        None => format!("{whose}: {what}: {error}"),
    }
}

pub(super) fn statistics(counted: &message::Statistics) -> (Statistics, Queues) {
    let statistics = Statistics {
        reads: counted.reads,
        writes: counted.writes,
        deletes: counted.deletes,
        flushes: counted.flushes,
        activemap_updates: counted.activemap_updates,
        read_errors: counted.read_errors,
        write_errors: counted.write_errors,
        delete_errors: counted.delete_errors,
        flush_errors: counted.flush_errors,
    };
    let queues = Queues {
        idle: counted.idle_queue,
        local: counted.local_queue,
        send: counted.send_queue,
        recv: counted.recv_queue,
        done: counted.done_queue,
    };
    (statistics, queues)
}

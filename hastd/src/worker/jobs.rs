//! Requests to the component.
//!
//! A component that answers from memory does so on the thread that asks, and
//! what it has done may make the machine ask for the next of the requests
//! that waited for the same blocks: hundreds of them, each inside the
//! completion of the one before. So a thread that is asking already notes what
//! else is to be asked for, and does that when it has come back.

use super::buffers::{Buffers, Payload};
use ggate::buffer::Buf;
use ggate::disk::{Disk, Job, Op as DiskOp};
use ggate::range::ByteRange as MediaRange;
use hast_core::primary::Op;
use hast_core::slab::RequestId;
use hast_core::units::ByteRange;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
    /// There is one component per process.
    static LATER: RefCell<VecDeque<Job<RequestId, Payload>>> = const { RefCell::new(VecDeque::new()) };
}

/// Makes the component do something, sooner or later. `own` gets the buffer of
/// a READ.
pub(super) fn submit(
    disk: &Disk<RequestId, Payload>,
    buffers: &Arc<Buffers>,
    id: RequestId,
    op: Op,
    own: impl FnOnce(ByteRange) -> Option<Buf>,
) {
    let whole = |range: ByteRange| MediaRange::new(range.offset(), range.length());
    let (op, range, data) = match op {
        Op::Read(range) => {
            let data = own(range).map_or(Payload::Nothing, Payload::Own);
            (DiskOp::Read, whole(range), data)
        }
        Op::Write(range) => {
            let data = Payload::Shared(Arc::clone(buffers), id, range);
            (DiskOp::Write, whole(range), data)
        }
        Op::Delete(range) => (DiskOp::Delete, whole(range), Payload::Nothing),
        Op::Flush => (DiskOp::Flush, MediaRange::default(), Payload::Nothing),
    };
    let mut next = Some(Job {
        tag: id,
        op,
        range,
        data,
    });
    if ASKING.replace(true) {
        return LATER.with_borrow_mut(|later| later.extend(next));
    }
    while let Some(job) = next {
        disk.submit(job);
        next = LATER.with_borrow_mut(VecDeque::pop_front);
    }
    ASKING.set(false);
}

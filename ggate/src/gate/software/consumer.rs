//! Using a gate from within the process, as GEOM uses one in the kernel.

use super::gate::Gate;
use super::queue::{Completion, Origin, Payload};
use crate::gate::{Access, Command};
use crate::range::ByteRange;
use nix::errno::Errno;
use std::sync::Arc;

/// What a consumer opens a gate for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// For READ.
    pub read: bool,
    /// For WRITE, DELETE and FLUSH.
    pub write: bool,
}

/// An open gate; closed by dropping it.
#[derive(Debug)]
pub struct Consumer {
    gate: Arc<Gate>,
    open: Open,
}

impl Consumer {
    /// EPERM when a write-only gate is opened for reading. A read-only one may
    /// be opened for writing, as in the kernel.
    pub(super) fn new(gate: Arc<Gate>, open: Open) -> nix::Result<Self> {
        if open.read && gate.properties.access == Access::WriteOnly {
            return Err(Errno::EPERM);
        }
        let mut mode = gate.consumers().lock();
        mode.read += u32::from(open.read);
        mode.write += u32::from(open.write);
        drop(mode);
        Ok(Self { gate, open })
    }

    /// Queues a request. `data` is a WRITE's payload, of the range's length, and
    /// empty otherwise. `completion` is called once, by the thread that calls
    /// DONE or ends the request otherwise; it must not destroy the gate.
    ///
    /// ENOMEM while the queue limit is reached: try again, as GEOM does. ENXIO
    /// once the gate is gone, EPERM for what its access forbids, EINVAL for a
    /// range that is not on it; then `completion` is not called.
    pub fn submit(
        &self,
        command: Command,
        range: ByteRange,
        data: Arc<[u8]>,
        completion: Completion,
    ) -> nix::Result<()> {
        let gate = &self.gate;
        let reads = command == Command::Read;
        let opened = if reads {
            self.open.read
        } else {
            self.open.write
        };
        if !opened || (!reads && gate.properties.access == Access::ReadOnly) {
            return Err(Errno::EPERM);
        }
        let range = match command {
            Command::Flush => gate.flush_range(),
            Command::Speedup | Command::Other(_) => range,
            Command::Read | Command::Write | Command::Delete => {
                gate.geometry().check(range).map_err(|_| Errno::EINVAL)?;
                range
            }
        };
        let payload = match command {
            Command::Write if u64::try_from(data.len()) == Ok(range.length) => Payload::Kept(data),
            Command::Write => return Err(Errno::EINVAL),
            _ => Payload::None,
        };
        if gate.has_ended() {
            return Err(Errno::ENXIO);
        }
        if !gate.has_room() {
            return Err(Errno::ENOMEM);
        }
        gate.enqueue(command, range, payload, Origin::Consumer(completion))
            .map_err(|_| Errno::ENXIO)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut mode = self.gate.consumers().lock();
        mode.read -= u32::from(self.open.read);
        mode.write -= u32::from(self.open.write);
    }
}

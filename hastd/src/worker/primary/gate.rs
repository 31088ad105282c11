//! Requests of the provider's clients: taken from the gate, given to the
//! machine, answered.

use super::{Deferred, Shell, list};
use crate::worker::buffers::to_usize;
use crate::worker::output::batch_on_this_thread;
use ggate::buffer::{Buf, Pool};
use ggate::errno::WireErrno;
use ggate::gate::handle::Handle;
use ggate::gate::serve::{self, Ended, Handler, Payload};
use ggate::gate::{Command, Outcome, Request};
use hast_core::errno::Errno;
use hast_core::primary::{CLIENT_REQUESTS, Full, LONGEST_REQUEST, Op};
use hast_core::units::ByteRange;
use nix::errno::Errno as HostErrno;
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a thread that waits for room asks whether there still is a gate.
const GATE_CHECK: Duration = Duration::from_secs(1);

/// A request that must be answered.
#[derive(Clone)]
pub(super) enum Client {
    /// As the gate gave it.
    Whole(Request),
    /// Longer than the machine takes (`kern.maxphys` was raised): it got
    /// several, and this is the one from this byte on.
    Piece(Arc<Pieces>, usize),
}

/// A request in pieces.
pub(super) struct Pieces {
    request: Request,
    state: Mutex<Assembly>,
}

struct Assembly {
    /// The data of a READ.
    data: Option<Buf>,
    left: usize,
    error: Option<Errno>,
}

impl Client {
    pub(super) fn reads(&self) -> bool {
        let request = match self {
            Self::Whole(request) => request,
            Self::Piece(pieces, _) => &pieces.request,
        };
        request.command == Command::Read
    }

    fn answer<'a>(
        &self,
        data: Option<&'a Buf>,
        result: Result<(), Errno>,
    ) -> Option<(Request, Outcome<'a>)> {
        match self {
            Self::Whole(request) => Some((*request, outcome(data.map(|data| &data[..]), result))),
            Self::Piece(..) => None,
        }
    }
}

impl Pieces {
    /// A piece was done; the last one answers.
    fn done(&self, begin: usize, data: Option<&Buf>, result: Result<(), Errno>, gate: &Handle) {
        let mut state = self.state.lock();
        state.error = state.error.or(result.err());
        state.left -= 1;
        if let (Some(whole), Some(data)) = (state.data.as_mut(), data) {
            whole[begin..][..data.len()].copy_from_slice(data);
        }
        if state.left == 0 {
            let result = state.error.map_or(Ok(()), Err);
            gate.done(&self.request, outcome(state.data.as_deref(), result));
        }
    }
}

fn outcome(data: Option<&[u8]>, result: Result<(), Errno>) -> Outcome<'_> {
    match (result, data) {
        (Ok(()), Some(data)) => Outcome::Data(data),
        (Ok(()), None) => Outcome::Done,
        (Err(errno), _) => {
            let error = WireErrno::new(errno.get()).unwrap_or(WireErrno::EIO);
            Outcome::Error(error.for_gate())
        }
    }
}

impl Shell {
    /// Serves the provider until it is gone.
    pub(super) fn serve(&self) -> io::Result<Ended> {
        serve::serve(&self.gate, &self.pool, self, "ggatetd")
    }

    /// Answers the clients whose requests are completed in the list.
    pub(super) fn answer(&self, deferred: &[Deferred]) {
        let whole = |later| match later {
            &Deferred::Complete(ref client, ref data, result) => {
                client.answer(data.as_ref(), result)
            }
            _ => None,
        };
        let mut completed = deferred.iter().filter_map(whole).peekable();
        let at_once = self.gate.ctl.done_at_once().max(1);
        if at_once == 1 && completed.peek().is_some() {
            // DONE may hold this thread.
            self.output.send(self);
        }
        while completed.peek().is_some() {
            self.gate.done_all(completed.by_ref().take(at_once));
        }
        for later in deferred {
            if let Deferred::Complete(Client::Piece(pieces, begin), data, result) = later {
                pieces.done(*begin, data.as_ref(), *result, &self.gate);
            }
        }
    }

    /// Gives the machine a request with its buffer.
    fn submit(&self, client: &Client, op: Op, data: Option<Buf>) {
        let mut data = data;
        loop {
            let mut deferred = list();
            if self.try_submit(client, op, &mut data, &mut deferred) {
                // The peer works on what it gets now, while this node does.
                let length = op.range().map_or(0, ByteRange::length);
                self.output.send_about(length, self);
                return self.perform(deferred);
            }
            self.perform(deferred);
            if !self.wait_for_room() {
                return;
            }
        }
    }

    fn try_submit(
        &self,
        client: &Client,
        op: Op,
        data: &mut Option<Buf>,
        deferred: &mut Vec<Deferred>,
    ) -> bool {
        let state = &mut *self.state.lock();
        let taken = state.machine.request(0, op, &mut state.actions);
        if let Ok(id) = taken {
            // Before anybody can look for it: what is to be sent enters its
            // queue below.
            state.clients[id.index()] = Some(client.clone());
            state.in_use += 1;
            if let Some(data) = data.take() {
                let start = op.range().map_or(0, ByteRange::offset);
                self.buffers.put(id, start, data);
            }
        }
        self.take_down(state, deferred);
        taken != Err(Full)
    }

    /// Waits until one more request can be taken; false when the gate is gone
    /// or this worker stops.
    fn wait_for_room(&self) -> bool {
        let mut state = self.state.lock();
        if state.in_use >= CLIENT_REQUESTS {
            // What was put together may be what makes room.
            MutexGuard::unlocked(&mut state, || self.output.send(self));
        }
        while state.in_use >= CLIENT_REQUESTS {
            state.waiting_for_room = true;
            if self.room.wait_for(&mut state, GATE_CHECK).timed_out() {
                drop(state);
                if self.draining.load(Ordering::SeqCst) || !self.gate.exists() {
                    return false;
                }
                state = self.state.lock();
            }
        }
        true
    }

    fn take(&self, request: &Request, payload: Payload<'_>) -> Result<(), HostErrno> {
        let range = ByteRange::new(request.range.offset, request.range.length);
        let op = match (request.command, range) {
            (Command::Flush, _) => Op::Flush,
            (Command::Speedup | Command::Other(_), _) => return Err(HostErrno::EOPNOTSUPP),
            (Command::Delete, _) if !self.deletes => return Err(HostErrno::EOPNOTSUPP),
            (Command::Read, Some(range)) => Op::Read(range),
            (Command::Write, Some(range)) => Op::Write(range),
            (Command::Delete, Some(range)) => Op::Delete(range),
            (_, None) => return Err(HostErrno::EINVAL),
        };
        let longest = u64::from(LONGEST_REQUEST);
        match op {
            Op::Read(range) | Op::Write(range) if range.length() > longest => {
                self.take_in_pieces(request, range, payload.bytes())?;
            }
            Op::Read(range) => {
                let length = usize::try_from(range.length()).map_err(|_| HostErrno::EINVAL)?;
                let data = self.buffer(&self.pool, length);
                self.submit(&Client::Whole(*request), op, Some(data));
            }
            Op::Write(_) => {
                let data = payload.detach_with(|pool, length| self.buffer(pool, length));
                self.submit(&Client::Whole(*request), op, Some(data));
            }
            Op::Delete(_) | Op::Flush => self.submit(&Client::Whole(*request), op, None),
        }
        Ok(())
    }

    /// A buffer. What was put together goes before that is waited for: it may
    /// be what others wait for who hold the memory.
    fn buffer(&self, pool: &Pool, length: usize) -> Buf {
        pool.try_get(length).unwrap_or_else(|| {
            self.output.send(self);
            pool.get(length)
        })
    }

    /// A request that is longer than the machine takes.
    fn take_in_pieces(
        &self,
        request: &Request,
        range: ByteRange,
        payload: &[u8],
    ) -> Result<(), HostErrno> {
        let reads = request.command == Command::Read;
        let length = usize::try_from(range.length()).map_err(|_| HostErrno::EINVAL)?;
        let longest = usize::try_from(LONGEST_REQUEST).map_err(|_| HostErrno::EINVAL)?;
        let pieces = Arc::new(Pieces {
            request: *request,
            state: Mutex::new(Assembly {
                data: reads.then(|| self.buffer(&self.long_pool, length)),
                left: length.div_ceil(longest),
                error: None,
            }),
        });
        for begin in (0..length).step_by(longest) {
            let part = longest.min(length - begin);
            let mut data = self.buffer(&self.pool, part);
            let piece = ByteRange::new(range.offset() + begin as u64, part as u64);
            let piece = piece.ok_or(HostErrno::EINVAL)?;
            let op = if reads {
                Op::Read(piece)
            } else {
                data.copy_from_slice(&payload[begin..][..part]);
                Op::Write(piece)
            };
            self.submit(&Client::Piece(Arc::clone(&pieces), begin), op, Some(data));
        }
        Ok(())
    }
}

impl Handler for Shell {
    fn reserve(&self) -> bool {
        self.wait_for_room()
    }

    fn handle(&self, request: &Request, payload: Payload<'_>) {
        // A kernel hands out one request at a time: nothing to wait for.
        if self.gate.ctl.done_at_once() > 1 {
            batch_on_this_thread();
        }
        if self.draining.load(Ordering::SeqCst) {
            return;
        }
        if let Err(errno) = self.take(request, payload) {
            // DONE may hold this thread; what was taken before must not wait.
            self.output.send(self);
            self.gate.done(request, Outcome::Error(errno));
        }
    }

    fn long_buffer(&self, pool: &Pool, length: usize) -> Buf {
        if length > to_usize(LONGEST_REQUEST.into()) {
            self.long_pool.get(length)
        } else {
            pool.get(length)
        }
    }

    fn idle(&self) {
        self.output.send(self);
    }
}

//! The serve loop above both gates.
//!
//! START, the ENOMEM hand-shake for large writes, both kernels' ways to say
//! that a wait was interrupted, and the end of the gate are handled here once;
//! a [`Handler`] sees only requests. The loop runs on two threads of which one
//! works (see [`super::role`]): kernel document 7.7, rule 2.

use super::role::{Actor, Role};
use super::{Command, Ggctl, Request, Started, Unit};
use crate::buffer::{Buf, Pool};
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use parking_lot::Mutex;
use std::io;
use std::ops::ControlFlow;
use std::thread;

/// What a thread in START offers for the payload of a WRITE, in bytes: the
/// largest request of kernels before 14. Larger ones cost one more START.
pub const START_BUFFER: usize = 128 * 1024;

/// Payloads up to this size, in bytes, are copied out of the START buffer;
/// beyond it taking the buffer along is cheaper than the copy.
pub const COPY_LIMIT: usize = 16 * 1024;

/// What is done with the requests of a gate.
pub trait Handler: Sync {
    /// Waits until whatever one more request needs until its completion is
    /// there. False ends the serving.
    fn reserve(&self) -> bool;

    /// Takes charge of one request. It must be completed some time, by this
    /// or any other thread.
    fn handle(&self, request: &Request, payload: Payload<'_>);

    /// Called after `handle` when no further request is known to wait: what
    /// was put together for one system call should go now.
    fn idle(&self);
}

/// The payload of a WRITE, in the START buffer; empty for other requests.
#[derive(Debug)]
pub struct Payload<'a> {
    buffer: &'a mut Buf,
    length: usize,
    pool: &'a Pool,
}

impl Payload<'_> {
    /// The bytes where they are.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// The whole START buffer, for who answers a READ at once from it. Its
    /// length is that of the request at least.
    pub fn scratch(&mut self, length: usize) -> &mut [u8] {
        if self.buffer.len() < length {
            *self.buffer = self.pool.get(length);
        }
        &mut self.buffer[..length]
    }

    /// The bytes in a buffer of their own, to be kept until completion.
    #[must_use]
    pub fn detach(self) -> Buf {
        if self.length <= COPY_LIMIT {
            let mut copy = self.pool.get(self.length);
            copy.copy_from_slice(self.bytes());
            return copy;
        }
        let mut taken = std::mem::replace(self.buffer, self.pool.get(START_BUFFER));
        taken.truncate(self.length);
        taken
    }
}

/// Why serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The gate was destroyed.
    Destroyed,
    /// [`Handler::reserve`] said so.
    Stopped,
    /// START failed: there is no such gate, or something is badly wrong.
    Failed(Errno),
}

/// Serves a gate until it ends, on two threads called `name` of which one works
/// and one stands by. Fails only when there are no threads to be had.
pub fn serve(
    gate: &dyn Ggctl,
    unit: Unit,
    pool: &Pool,
    handler: &dyn Handler,
    name: &str,
) -> io::Result<Ended> {
    let ended = Mutex::new(Ended::Stopped);
    let role = Role::new(());
    let server = || Server {
        gate,
        unit,
        pool,
        handler,
        ended: &ended,
        buffer: pool.get(START_BUFFER),
    };
    // Kernels before 14 end START for any signal, and then it looks as if the
    // gate were being destroyed.
    let undisturbed = |work: &dyn Fn()| -> io::Result<()> {
        SigSet::all().thread_block()?;
        work();
        Ok(())
    };
    let thread = || thread::Builder::new().name(name.into());
    thread::scope(|scope| {
        let holder = thread().spawn_scoped(scope, || undisturbed(&|| role.hold(&mut server())))?;
        thread().spawn_scoped(scope, || undisturbed(&|| role.stand_by(&mut server())))?;
        holder.join().expect("a panic ends the process")
    })?;
    Ok(ended.into_inner())
}

/// One of the threads.
struct Server<'a> {
    gate: &'a dyn Ggctl,
    unit: Unit,
    pool: &'a Pool,
    handler: &'a dyn Handler,
    ended: &'a Mutex<Ended>,
    buffer: Buf,
}

impl Server<'_> {
    fn end<T>(&self, why: Ended) -> ControlFlow<(), T> {
        *self.ended.lock() = why;
        ControlFlow::Break(())
    }
}

impl Actor<()> for Server<'_> {
    type Work = Request;

    fn take(&mut self, (): &mut ()) -> ControlFlow<(), Request> {
        if !self.handler.reserve() {
            return self.end(Ended::Stopped);
        }
        // Kernels before 14 report an interrupted wait as they report the end
        // of the gate; only what the next START says tells one from the other.
        let mut canceled = false;
        loop {
            match self.gate.start(self.unit, &mut self.buffer) {
                Ok(Started::Request(request)) => return ControlFlow::Continue(request),
                Ok(Started::NeedBuffer(length)) => self.buffer = self.pool.get(length),
                Ok(Started::Canceled) | Err(Errno::ENXIO) if canceled => {
                    return self.end(Ended::Destroyed);
                }
                Ok(Started::Canceled) => canceled = true,
                Err(Errno::EINTR) => {}
                Err(errno) => return self.end(Ended::Failed(errno)),
            }
        }
    }

    fn finish(&mut self, request: Request) {
        let length = match request.command {
            Command::Write => {
                usize::try_from(request.range.length).expect("START put it into the buffer")
            }
            _ => 0,
        };
        let payload = Payload {
            length,
            buffer: &mut self.buffer,
            pool: self.pool,
        };
        self.handler.handle(&request, payload);
        if !self.gate.ready(self.unit) {
            self.handler.idle();
        }
        // One large request must not keep its memory for ever.
        if self.buffer.len() > START_BUFFER {
            self.buffer = self.pool.get(START_BUFFER);
        }
    }
}

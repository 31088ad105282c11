//! The serve loop above both gates.
//!
//! START, the ENOMEM hand-shake for large writes, both kernels' ways to say
//! that a wait was interrupted, and the end of the gate are handled here once;
//! a [`Handler`] sees only requests. The loop runs on two threads of which one
//! works (see [`super::role`]): kernel document 7.7, rule 2.

use super::handle::Handle;
use super::role::{Actor, Role};
use super::{Command, Request, Started};
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
    /// there; before that, sends what was put together, which may be what makes
    /// room. False ends the serving.
    fn reserve(&self) -> bool;

    /// Takes charge of one request. It must be completed some time, by this
    /// or any other thread.
    fn handle(&self, request: &Request, payload: Payload<'_>);

    /// A buffer for a WRITE of more than [`START_BUFFER`] bytes.
    fn long_buffer(&self, pool: &Pool, length: usize) -> Buf {
        pool.get(length)
    }

    /// Called before there may be a wait, for the next request or for memory:
    /// what was put together for one system call should go now. Must not wait.
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

    /// The bytes in a buffer of their own, to be kept until completion.
    #[must_use]
    pub fn detach(self) -> Buf {
        self.detach_with(Pool::get)
    }

    /// The same for who has something to do before the pool is waited for:
    /// `get` gets a buffer of a length from it.
    #[must_use]
    pub fn detach_with(self, get: impl FnOnce(&Pool, usize) -> Buf) -> Buf {
        if self.length <= COPY_LIMIT {
            let mut copy = get(self.pool, self.length);
            copy.copy_from_slice(self.bytes());
            return copy;
        }
        let mut taken = std::mem::replace(self.buffer, get(self.pool, START_BUFFER));
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
    /// START failed: something is badly wrong.
    Failed(Errno),
}

/// Serves a gate until it ends, on two threads called `name` of which one works
/// and one stands by. Fails only when there are no threads to be had.
pub fn serve(gate: &Handle, pool: &Pool, handler: &dyn Handler, name: &str) -> io::Result<Ended> {
    let ended = Mutex::new(Ended::Stopped);
    let role = Role::new(());
    let server = || Server {
        gate,
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
    gate: &'a Handle,
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
            let (gate, handler) = (self.gate, self.handler);
            let started = gate
                .ctl
                .start_after(gate.unit, &mut self.buffer, &mut || handler.idle());
            match started {
                Ok(Started::Request(request)) => return ControlFlow::Continue(request),
                Ok(Started::NeedBuffer(length)) => {
                    // The replies to what waits to be sent may have to make room.
                    self.handler.idle();
                    self.buffer = self.handler.long_buffer(self.pool, length);
                }
                Ok(Started::Canceled) if !canceled => canceled = true,
                // Under load the gate ends while nobody is in START: then the
                // first that is heard of it is that it is not there.
                Ok(Started::Canceled) | Err(Errno::ENXIO) => return self.end(Ended::Destroyed),
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
        // One large request must not keep its memory for ever.
        if self.buffer.len() > START_BUFFER {
            self.handler.idle();
            self.buffer = self.pool.get(START_BUFFER);
        }
    }

    fn dismissed(&mut self) {
        self.handler.idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Cancel, Create, GateId, Ggctl, Modify, Outcome, Seq, Unit};
    use crate::range::ByteRange;
    use std::collections::VecDeque;
    use std::sync::Arc;

    /// A gate whose START says what a kernel said.
    struct Script {
        answers: Mutex<VecDeque<nix::Result<Started>>>,
        /// How large the buffer was in each START.
        buffers: Mutex<Vec<usize>>,
    }

    impl Ggctl for Arc<Script> {
        fn create(&self, _: &Create) -> nix::Result<Unit> {
            unreachable!()
        }
        fn modify(&self, _: Unit, _: &Modify) -> nix::Result<()> {
            unreachable!()
        }
        fn destroy(&self, _: &GateId, _: bool) -> nix::Result<()> {
            unreachable!()
        }
        fn cancel(&self, _: &GateId, _: Cancel) -> nix::Result<Unit> {
            unreachable!()
        }
        fn start_after(
            &self,
            _: Unit,
            payload: &mut [u8],
            before_waiting: &mut dyn FnMut(),
        ) -> nix::Result<Started> {
            before_waiting();
            self.buffers.lock().push(payload.len());
            payload.fill(0x5a);
            let next = self.answers.lock().pop_front();
            next.unwrap_or(Err(Errno::ENXIO))
        }
        fn done(&self, _: Unit, _: &Request, _: Outcome<'_>) -> nix::Result<()> {
            Ok(())
        }
    }

    /// Notes what it is given.
    #[derive(Default)]
    struct Notes {
        handled: Mutex<Vec<(Request, Buf)>>,
        idle: Mutex<u32>,
    }

    /// Puts together what it would send.
    #[derive(Default)]
    struct Lazy {
        unsent: Mutex<bool>,
    }

    impl Handler for Lazy {
        fn reserve(&self) -> bool {
            true
        }
        fn handle(&self, _: &Request, payload: Payload<'_>) {
            // The payload is used where it is, so that its buffer stays.
            assert!(payload.bytes().len() > START_BUFFER);
            *self.unsent.lock() = true;
        }
        fn idle(&self) {
            *self.unsent.lock() = false;
        }
    }

    impl Handler for Notes {
        fn reserve(&self) -> bool {
            self.handled.lock().len() < 10
        }
        fn handle(&self, request: &Request, payload: Payload<'_>) {
            self.handled.lock().push((*request, payload.detach()));
        }
        fn idle(&self) {
            *self.idle.lock() += 1;
        }
    }

    fn run(answers: Vec<nix::Result<Started>>) -> (Ended, Vec<(Request, Buf)>, Vec<usize>) {
        let script = Arc::new(Script {
            answers: Mutex::new(answers.into()),
            buffers: Mutex::default(),
        });
        let gate = Handle {
            ctl: Box::new(Arc::clone(&script)),
            unit: Unit(0),
        };
        let notes = Notes::default();
        let pool = Pool::new(16 << 20);
        let ended = serve(&gate, &pool, &notes, "sendtd").unwrap();
        let handled = notes.handled.into_inner();
        assert!(*notes.idle.lock() >= u32::try_from(handled.len()).unwrap());
        let buffers = script.buffers.lock().clone();
        (ended, handled, buffers)
    }

    fn request(seq: u64, command: Command, length: u64) -> Request {
        Request {
            seq: Seq(seq),
            command,
            range: ByteRange::new(0, length),
        }
    }

    fn taken(request: Request) -> Started {
        Started::Request(request)
    }

    #[test]
    fn a_signal_does_not_end_serving_on_new_kernels() {
        let read = request(1, Command::Read, 512);
        let (ended, handled, _) = run(vec![
            Err(Errno::EINTR),
            Err(Errno::EINTR),
            Ok(taken(read)),
            Ok(Started::Canceled),
        ]);
        assert_eq!(ended, Ended::Destroyed);
        assert_eq!(handled[0].0, read);
    }

    /// FreeBSD 13 and older answer ECANCELED to a signal and to destruction.
    #[test]
    fn a_signal_does_not_end_serving_on_old_kernels() {
        let read = request(1, Command::Read, 512);
        let (ended, handled, _) = run(vec![
            Ok(Started::Canceled),
            Ok(taken(read)),
            Ok(Started::Canceled),
            Ok(Started::Canceled),
        ]);
        assert_eq!(ended, Ended::Destroyed);
        assert_eq!(handled.len(), 1);
    }

    #[test]
    fn a_gate_that_went_between_two_calls_was_destroyed() {
        assert_eq!(run(vec![]).0, Ended::Destroyed);
        assert_eq!(run(vec![Ok(Started::Canceled)]).0, Ended::Destroyed);
        let read = request(1, Command::Read, 512);
        assert_eq!(run(vec![Ok(taken(read))]).0, Ended::Destroyed);
    }

    #[test]
    fn what_start_should_never_say_is_a_failure() {
        assert_eq!(
            run(vec![Err(Errno::EFAULT)]).0,
            Ended::Failed(Errno::EFAULT)
        );
    }

    #[test]
    fn a_write_beyond_the_buffer_is_taken_with_a_larger_one_which_is_not_kept() {
        let large = request(1, Command::Write, 1 << 20);
        let small = request(2, Command::Write, 4096);
        let (ended, handled, buffers) = run(vec![
            Ok(Started::NeedBuffer(1 << 20)),
            Ok(taken(large)),
            Ok(taken(small)),
            Ok(Started::Canceled),
        ]);
        assert_eq!(ended, Ended::Destroyed);
        assert_eq!(buffers[0], START_BUFFER);
        assert_eq!(buffers[1], 1 << 20);
        assert_eq!(buffers[2], START_BUFFER);
        for ((request, payload), expected) in handled.iter().zip([large, small]) {
            assert_eq!(*request, expected);
            assert_eq!(payload.len() as u64, expected.range.length);
            assert!(payload.iter().all(|&b| b == 0x5a));
        }
    }

    #[test]
    fn what_was_put_together_goes_before_memory_may_be_waited_for() {
        let large = request(1, Command::Write, 1 << 20);
        let answers = [Ok(Started::NeedBuffer(1 << 20)), Ok(taken(large))];
        let gate = Handle {
            ctl: Box::new(Arc::new(Script {
                answers: Mutex::new(answers.into()),
                buffers: Mutex::default(),
            })),
            unit: Unit(0),
        };
        let pool = Pool::new(16 << 20);
        let lazy = Lazy::default();
        let mut server = Server {
            gate: &gate,
            pool: &pool,
            handler: &lazy,
            ended: &Mutex::new(Ended::Stopped),
            buffer: pool.get(START_BUFFER),
        };
        assert_eq!(server.take(&mut ()), ControlFlow::Continue(large));
        server.finish(large);
        assert_eq!(server.buffer.len(), START_BUFFER);
        assert!(!*lazy.unsent.lock());
    }

    #[test]
    fn what_later_kernels_invent_reaches_the_handler() {
        for command in [Command::Speedup, Command::Other(77), Command::Delete] {
            let odd = request(1, command, 1 << 30);
            let (_, handled, _) = run(vec![Ok(taken(odd)), Ok(Started::Canceled)]);
            assert_eq!(handled[0].0, odd);
            assert!(handled[0].1.is_empty());
        }
    }

    #[test]
    fn a_handler_without_room_ends_it_before_a_request_is_taken() {
        let requests = (1..=11).map(|seq| Ok(taken(request(seq, Command::Flush, 0))));
        let (ended, handled, buffers) = run(requests.collect());
        assert_eq!(ended, Ended::Stopped);
        assert_eq!((handled.len(), buffers.len()), (10, 10));
    }
}

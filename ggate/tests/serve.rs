//! The serve loop over the gate in software: what may happen while its threads
//! are in START or in DONE.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use ggate::buffer::Pool;
use ggate::gate::handle::Handle;
use ggate::gate::role::PATIENCE;
use ggate::gate::serve::{self, Ended, Handler, Payload};
use ggate::gate::software::{Consumer, Open, Software};
use ggate::gate::{
    Access, Cancel, Command, Create, GateId, Ggctl, Modify, NewName, Outcome, Request, Started,
    Unit,
};
use ggate::range::{ByteRange, Geometry};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const UNIT: Unit = Unit(0);
const SIZE: u64 = 1 << 20;

/// Only failing tests wait so long.
const LONG: Duration = Duration::from_secs(30);

/// A gate, its server's inbox, and a consumer.
struct Bench {
    gates: Arc<Software>,
    taken: Receiver<Request>,
    serving: thread::JoinHandle<Ended>,
    consumer: Consumer,
    _rundir: tempfile::TempDir,
}

/// The calls for the server.
struct Calls(Arc<Software>);

impl Ggctl for Calls {
    fn create(&self, create: &Create) -> nix::Result<Unit> {
        self.0.create(create)
    }
    fn modify(&self, unit: Unit, change: &Modify) -> nix::Result<()> {
        self.0.modify(unit, change)
    }
    fn destroy(&self, gate: &GateId, force: bool) -> nix::Result<()> {
        self.0.destroy(gate, force)
    }
    fn cancel(&self, gate: &GateId, which: Cancel) -> nix::Result<Unit> {
        self.0.cancel(gate, which)
    }
    fn start_after(
        &self,
        unit: Unit,
        payload: &mut [u8],
        before_waiting: &mut dyn FnMut(),
    ) -> nix::Result<Started> {
        self.0.start_after(unit, payload, before_waiting)
    }
    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) -> nix::Result<()> {
        self.0.done(unit, request, outcome)
    }
}

/// Tells of each request; completes it at once if it is to.
struct Server {
    gate: Handle,
    taken: Sender<Request>,
    completes: bool,
}

impl Handler for Server {
    fn reserve(&self) -> bool {
        true
    }
    fn handle(&self, request: &Request, _: Payload<'_>) {
        // A test that has seen enough looks no more.
        let _ = self.taken.send(*request);
        if self.completes {
            self.gate.done(request, Outcome::Done);
        }
    }
    fn idle(&self) {}
}

impl Bench {
    fn new(completes: bool) -> Self {
        let rundir = tempfile::tempdir().unwrap();
        let gates = Arc::new(Software::new(rundir.path()).unwrap());
        let create = Create {
            geometry: Geometry {
                media_size: SIZE,
                sector_size: 512,
            },
            access: Access::ReadWrite,
            queue_limit: 0,
            timeout: 0,
            name: NewName::Unit(UNIT),
            info: String::new(),
        };
        gates.create(&create).unwrap();
        let both = Open {
            read: true,
            write: true,
        };
        let consumer = gates.consumer(UNIT, both).unwrap();
        let (tell, taken) = channel();
        let calls = Calls(Arc::clone(&gates));
        let serving = thread::spawn(move || {
            let server = Server {
                gate: Handle {
                    ctl: Box::new(calls),
                    unit: UNIT,
                },
                taken: tell,
                completes,
            };
            serve::serve(&server.gate, &Pool::new(16 << 20), &server, "servtd").unwrap()
        });
        Self {
            gates,
            taken,
            serving,
            consumer,
            _rundir: rundir,
        }
    }

    /// A FLUSH; what comes out is sent by the thread that completes it, after
    /// `held` let it.
    fn flush_held(&self, held: Option<Receiver<()>>) -> Receiver<nix::Result<()>> {
        let (tell, ended) = channel();
        let completion = move |result: nix::Result<&[u8]>| {
            if let Some(held) = held {
                // Dropping the sender is the word.
                let _ = held.recv();
            }
            let _ = tell.send(result.map(drop));
        };
        let none = ByteRange::default();
        let completion = Box::new(completion);
        self.consumer
            .submit(Command::Flush, none, Arc::default(), completion)
            .unwrap();
        ended
    }

    fn flush(&self) -> Receiver<nix::Result<()>> {
        self.flush_held(None)
    }

    fn take(&self) -> Request {
        self.taken.recv_timeout(LONG).unwrap()
    }

    fn destroy(self) -> Ended {
        self.gates.destroy(&GateId::Unit(UNIT), true).unwrap();
        self.serving.join().unwrap()
    }
}

/// CANCEL wakes nobody; what it gave back comes with the next request, before
/// it, under its old number, and is answered once.
#[test]
fn what_is_cancelled_while_the_threads_sleep_in_start_comes_again_once() {
    let bench = Bench::new(false);
    let first = bench.flush();
    let taken = bench.take();
    // The thread that took it is on its way into START, or there.
    bench
        .gates
        .cancel(&GateId::Unit(UNIT), Cancel::All)
        .unwrap();
    let second = bench.flush();
    let mut again = [bench.take(), bench.take()];
    again.sort_by_key(|request| request.seq);
    assert_eq!(again[0], taken);
    for request in again {
        bench.gates.done(UNIT, &request, Outcome::Done).unwrap();
        // The first holder's answer comes late, and to nobody.
        bench.gates.done(UNIT, &taken, Outcome::Done).unwrap();
    }
    for ended in [first, second] {
        assert_eq!(ended.recv_timeout(LONG), Ok(Ok(())));
        assert!(ended.recv_timeout(LONG).is_err(), "answered twice");
    }
    assert_eq!(bench.destroy(), Ended::Destroyed);
}

/// The kernel may run anybody's completion code in DONE.
#[test]
fn a_done_that_is_held_for_seconds_stops_nobody() {
    let bench = Bench::new(true);
    let (release, held) = channel();
    let slow = bench.flush_held(Some(held));
    bench.take();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(bench.flush().recv_timeout(LONG), Ok(Ok(())));
        let took = asked.elapsed();
        assert!(took < 20 * PATIENCE, "it took {took:?}");
    }
    assert!(slow.try_recv().is_err());
    drop(release);
    assert_eq!(slow.recv_timeout(LONG), Ok(Ok(())));
    assert_eq!(bench.flush().recv_timeout(LONG), Ok(Ok(())));
    assert_eq!(bench.destroy(), Ended::Destroyed);
}

/// Both threads may be held; the requests behind them wait, and none is lost.
#[test]
fn with_both_threads_held_requests_wait_and_then_go_on() {
    let bench = Bench::new(true);
    let mut words = Vec::new();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let (release, held) = channel();
        slow.push(bench.flush_held(Some(held)));
        words.push(release);
        bench.take();
    }
    let waiting = bench.flush();
    assert!(waiting.recv_timeout(4 * PATIENCE).is_err());
    drop(words);
    for ended in slow.into_iter().chain([waiting]) {
        assert_eq!(ended.recv_timeout(LONG), Ok(Ok(())));
    }
    assert_eq!(bench.destroy(), Ended::Destroyed);
}

/// In whichever call the threads are, they learn of the end, and every request
/// ends once.
#[test]
fn destroy_under_load_ends_the_loop_and_every_request() {
    for round in 0..30 {
        let bench = Bench::new(true);
        let flushes: Vec<_> = (0..round * 7).map(|_| bench.flush()).collect();
        assert_eq!(bench.destroy(), Ended::Destroyed);
        for ended in flushes {
            assert!(ended.recv_timeout(LONG).is_ok(), "lost");
            assert!(ended.try_recv().is_err(), "answered twice");
        }
    }
}

//! Each rule of spec/geom-gate-kernel.md sections 4 and 5, over requests from
//! within the process. What a client sees is in `tests/software_nbd.rs`.

use super::*;
use crate::gate::{Access, Command, Seq};
use crate::range::ByteRange;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const SECTOR: usize = 512;
const MEDIA: u64 = 1 << 20;
const BOTH: Open = Open {
    read: true,
    write: true,
};

struct Bench {
    gates: Software,
    // Behind the gates, which are dropped first.
    dir: tempfile::TempDir,
}

type Result = nix::Result<Vec<u8>>;

fn plan() -> Create {
    Create {
        geometry: Geometry {
            media_size: MEDIA,
            sector_size: 512,
        },
        access: Access::ReadWrite,
        queue_limit: 0,
        timeout: 0,
        name: NewName::NextFree,
        info: "test".into(),
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gates = Software::new(dir.path().join("run")).unwrap();
        Self { gates, dir }
    }

    /// Another process, as far as the run directory goes.
    fn another(&self) -> Software {
        Software::new(self.dir.path().join("run")).unwrap()
    }

    fn gate() -> (Self, Unit) {
        let bench = Self::new();
        let unit = bench.gates.create(&plan()).unwrap();
        (bench, unit)
    }

    fn with(change: impl FnOnce(&mut Create)) -> (Self, Unit) {
        let bench = Self::new();
        let mut create = plan();
        change(&mut create);
        let unit = bench.gates.create(&create).unwrap();
        (bench, unit)
    }

    fn consumer(&self, unit: Unit) -> Consumer {
        self.gates.consumer(unit, BOTH).unwrap()
    }

    fn start(&self, unit: Unit) -> Request {
        self.start_into(unit, &mut [0; SECTOR])
    }

    fn start_into(&self, unit: Unit, buffer: &mut [u8]) -> Request {
        match self.gates.start(unit, buffer).unwrap() {
            Started::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn done(&self, unit: Unit, request: &Request, outcome: Outcome<'_>) {
        self.gates.done(unit, request, outcome).unwrap();
    }
}

fn submit(
    consumer: &Consumer,
    command: Command,
    sector: u64,
    data: &[u8],
) -> nix::Result<Receiver<Result>> {
    let (sender, receiver) = channel();
    let range = ByteRange::new(sector * 512, 512);
    let completion: Completion = Box::new(move |result| {
        // The test may have ended.
        let _ = sender.send(result.map(<[u8]>::to_vec));
    });
    consumer.submit(command, range, data.into(), completion)?;
    Ok(receiver)
}

fn ended(receiver: &Receiver<Result>) -> Result {
    receiver.recv_timeout(Duration::from_secs(10)).unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a thread sleeps in START.
fn until_somebody_starts(gates: &Software) {
    until("nobody came to START", || {
        gates.list().unwrap()[0].config.as_ref().unwrap().references == 2
    });
}

#[test]
fn create_refuses_sizes_that_make_no_sense() {
    let bench = Bench::new();
    for (media_size, sector_size) in [
        (0, 512),
        (MEDIA, 0),
        (MEDIA, 513),
        (MEDIA + 1, 512),
        (1 << 63, 512),
    ] {
        let create = Create {
            geometry: Geometry {
                media_size,
                sector_size,
            },
            ..plan()
        };
        assert_eq!(bench.gates.create(&create), Err(Errno::EINVAL));
    }
    let odd = Create {
        geometry: Geometry {
            media_size: 3,
            sector_size: 1,
        },
        ..plan()
    };
    assert_eq!(bench.gates.create(&odd), Ok(Unit(0)));
}

#[test]
fn create_takes_the_lowest_free_unit() {
    let (bench, _) = Bench::gate();
    assert_eq!(bench.gates.create(&plan()), Ok(Unit(1)));
    assert_eq!(bench.gates.create(&plan()), Ok(Unit(2)));
    bench.gates.destroy(&GateId::Unit(Unit(1)), false).unwrap();
    assert_eq!(bench.gates.create(&plan()), Ok(Unit(1)));
}

#[test]
fn create_refuses_a_unit_that_is_taken_or_too_large() {
    let (bench, unit) = Bench::gate();
    let by_unit = |unit| Create {
        name: NewName::Unit(unit),
        ..plan()
    };
    assert_eq!(bench.gates.create(&by_unit(unit)), Err(Errno::EEXIST));
    assert_eq!(bench.gates.create(&by_unit(Unit(256))), Err(Errno::EINVAL));
    assert_eq!(bench.gates.create(&by_unit(Unit(255))), Ok(Unit(255)));
}

#[test]
fn create_without_a_free_unit_is_enfile() {
    let bench = Bench::new();
    for unit in 0..MAX_UNITS {
        let record = bench.dir.path().join(format!("run/.units/{unit}"));
        std::fs::write(record, "whatever").unwrap();
    }
    assert_eq!(bench.gates.create(&plan()), Err(Errno::ENFILE));
    // A record that cannot be read keeps its unit until it is destroyed.
    bench.gates.destroy(&GateId::Unit(Unit(7)), false).unwrap();
    assert_eq!(bench.gates.create(&plan()), Ok(Unit(7)));
}

#[test]
fn create_compares_names_with_all_gates() {
    let bench = Bench::new();
    let named = |name: &str| Create {
        name: NewName::Named(name.into()),
        ..plan()
    };
    assert_eq!(bench.gates.create(&named("hast/data")), Ok(Unit(0)));
    assert_eq!(bench.gates.create(&named("ggate1")), Ok(Unit(1)));
    assert_eq!(bench.gates.create(&named("hast/data")), Err(Errno::EEXIST));
    let two = Create {
        name: NewName::Unit(Unit(2)),
        ..plan()
    };
    assert_eq!(bench.gates.create(&two), Ok(Unit(2)));
    assert_eq!(bench.gates.create(&named("ggate2")), Err(Errno::EEXIST));
    for bad in ["", "../x", "hast/../x", "/hast", "hast/"] {
        assert_eq!(bench.gates.create(&named(bad)), Err(Errno::EINVAL), "{bad}");
    }
    let too_long = "n".repeat(200);
    assert_eq!(bench.gates.create(&named(&too_long)), Err(Errno::EINVAL));
    assert_eq!(bench.gates.list().unwrap().len(), 3);
}

#[test]
fn a_name_cannot_be_a_directory_of_another() {
    let bench = Bench::new();
    let named = |name: &str| Create {
        name: NewName::Named(name.into()),
        ..plan()
    };
    bench.gates.create(&named("hast/data")).unwrap();
    bench.gates.create(&named("hast/data/x")).unwrap_err();
    bench.gates.create(&named("hast")).unwrap_err();
    assert_eq!(bench.gates.list().unwrap().len(), 1);
    // The failures left nothing behind.
    let units = std::fs::read_dir(bench.dir.path().join("run/.units")).unwrap();
    let mut units: Vec<_> = units.map(|unit| unit.unwrap().file_name()).collect();
    units.sort();
    assert_eq!(units, ["0", "0.ctl"]);
}

#[test]
fn the_queue_limit_is_clamped_and_info_cut() {
    let (bench, _) = Bench::with(|create| {
        create.queue_limit = 10_000;
        create.info = "ä".repeat(1500);
    });
    let config = bench.gates.list().unwrap()[0].config.clone().unwrap();
    assert_eq!(config.queue_size, 4096);
    assert_eq!(config.info.len(), 2046);
}

#[test]
fn requests_are_numbered_from_one_and_come_in_order() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    for sector in 0..3 {
        submit(&consumer, Command::Read, sector, &[]).unwrap();
    }
    for sector in 0..3 {
        let request = bench.start(unit);
        assert_eq!(request.seq, Seq(sector + 1));
        assert_eq!(request.range, ByteRange::new(sector * 512, 512));
    }
}

#[test]
fn a_write_that_does_not_fit_the_buffer_stays_first() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let write = submit(&consumer, Command::Write, 1, &[7; SECTOR]).unwrap();
    let started = bench.gates.start(unit, &mut [0; 100]);
    assert_eq!(started, Ok(Started::NeedBuffer(SECTOR)));
    let mut buffer = [0; 600];
    let request = bench.start_into(unit, &mut buffer);
    assert_eq!((request.seq, request.command), (Seq(1), Command::Write));
    assert_eq!(buffer[..SECTOR], [7; SECTOR]);
    assert_eq!(buffer[SECTOR..], [0; 88]);
    bench.done(unit, &request, Outcome::Done);
    assert_eq!(ended(&write), Ok(vec![]));
}

#[test]
fn a_read_needs_exactly_its_bytes() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    for (outcome, result) in [
        (Outcome::Data(&[9; SECTOR]), Ok(vec![9; SECTOR])),
        (Outcome::Data(&[9; SECTOR - 1]), Err(Errno::EIO)),
        (Outcome::Data(&[9; SECTOR + 1]), Err(Errno::EIO)),
        (Outcome::Done, Err(Errno::EIO)),
        (Outcome::Error(Errno::EACCES), Err(Errno::EACCES)),
        // GEOM retries this one; the gate does not.
        (Outcome::Error(Errno::ENOMEM), Err(Errno::ENOMEM)),
    ] {
        let read = submit(&consumer, Command::Read, 0, &[]).unwrap();
        let request = bench.start(unit);
        bench.done(unit, &request, outcome);
        assert_eq!(ended(&read), result);
    }
}

#[test]
fn a_flush_carries_the_media_size() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Flush, 0, &[]).unwrap();
    let request = bench.start(unit);
    assert_eq!(request.command, Command::Flush);
    assert_eq!(request.range, ByteRange::new(MEDIA, 0));
}

#[test]
fn done_for_what_is_not_outstanding_is_silently_nothing() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let write = submit(&consumer, Command::Write, 0, &[1; SECTOR]).unwrap();
    let request = bench.start(unit);
    bench.done(unit, &request, Outcome::Done);
    bench.done(unit, &request, Outcome::Error(Errno::EIO));
    assert_eq!(ended(&write), Ok(vec![]));
    assert!(write.recv_timeout(Duration::ZERO).is_err());
    let nowhere = Unit(9);
    assert_eq!(
        bench.gates.done(nowhere, &request, Outcome::Done),
        Err(Errno::ENOENT)
    );
    assert_eq!(bench.gates.start(nowhere, &mut []), Err(Errno::ENXIO));
}

#[test]
fn eagain_hands_a_request_back_to_the_front_with_its_number_and_data() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Write, 0, &[1; SECTOR]).unwrap();
    submit(&consumer, Command::Read, 1, &[]).unwrap();
    let first = bench.start(unit);
    bench.done(unit, &first, Outcome::Error(Errno::EAGAIN));
    let mut buffer = [0; SECTOR];
    assert_eq!(bench.start_into(unit, &mut buffer), first);
    assert_eq!(buffer, [1; SECTOR]);
    assert_eq!(bench.start(unit).seq, Seq(2));
}

#[test]
fn eagain_wakes_a_sleeper_in_start() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    let first = bench.start(unit);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| bench.start(unit));
        until_somebody_starts(&bench.gates);
        bench.done(unit, &first, Outcome::Error(Errno::EAGAIN));
        assert_eq!(sleeper.join().unwrap(), first);
    });
}

#[test]
fn one_more_than_the_limit_fits_and_the_next_is_enomem() {
    let (bench, unit) = Bench::with(|create| create.queue_limit = 2);
    let consumer = bench.consumer(unit);
    for sector in 0..3 {
        submit(&consumer, Command::Read, sector, &[]).unwrap();
    }
    let refused = submit(&consumer, Command::Read, 3, &[]);
    assert_eq!(refused.err(), Some(Errno::ENOMEM));
    // Taking one does not make room, finishing it does.
    let request = bench.start(unit);
    let refused = submit(&consumer, Command::Read, 3, &[]);
    assert_eq!(refused.err(), Some(Errno::ENOMEM));
    bench.done(unit, &request, Outcome::Data(&[0; SECTOR]));
    submit(&consumer, Command::Read, 3, &[]).unwrap();
}

#[test]
fn cancel_returns_requests_to_the_front_in_their_order_with_their_data() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let data: Vec<_> = (1..=4u8)
        .map(|n| submit(&consumer, Command::Write, n.into(), &[n; SECTOR]).unwrap())
        .collect();
    for _ in 0..3 {
        bench.start(unit);
    }
    let all = bench.gates.cancel(&GateId::Unit(unit), Cancel::All);
    assert_eq!(all, Ok(unit));
    for n in 1..=4u8 {
        let mut buffer = [0; SECTOR];
        let request = bench.start_into(unit, &mut buffer);
        assert_eq!(request.seq, Seq(n.into()));
        assert_eq!(buffer, [n; SECTOR]);
        bench.done(unit, &request, Outcome::Done);
    }
    assert!(data.iter().all(|write| ended(write).is_ok()));
}

#[test]
fn cancel_of_one_leaves_the_others_outstanding() {
    let (bench, unit) = Bench::with(|create| create.name = NewName::Named("hast/data".into()));
    let consumer = bench.consumer(unit);
    let reads: Vec<_> = (0..3)
        .map(|sector| submit(&consumer, Command::Read, sector, &[]).unwrap())
        .collect();
    let requests: Vec<_> = (0..3).map(|_| bench.start(unit)).collect();
    let name = GateId::Named("hast/data".into());
    assert_eq!(bench.gates.cancel(&name, Cancel::One(Seq(2))), Ok(unit));
    assert_eq!(bench.gates.cancel(&name, Cancel::One(Seq(99))), Ok(unit));
    assert_eq!(bench.start(unit), requests[1]);
    for request in &requests {
        bench.done(unit, request, Outcome::Data(&[0; SECTOR]));
    }
    assert!(reads.iter().all(|read| ended(read).is_ok()));
    for nobody in [GateId::Unit(Unit(5)), GateId::Named("x".into())] {
        assert_eq!(bench.gates.cancel(&nobody, Cancel::All), Err(Errno::ENXIO));
    }
}

#[test]
fn cancel_wakes_nobody_but_the_next_request_does_and_comes_second() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    let first = bench.start(unit);
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        let bench = &bench;
        scope.spawn(move || sender.send(bench.start(unit)).unwrap());
        until_somebody_starts(&bench.gates);
        // References count a thread that is about to sleep.
        thread::sleep(Duration::from_millis(50));
        bench
            .gates
            .cancel(&GateId::Unit(unit), Cancel::All)
            .unwrap();
        // Not a wait for something to happen: nothing must.
        let woken = receiver.recv_timeout(Duration::from_millis(100));
        assert!(woken.is_err());
        submit(&consumer, Command::Read, 1, &[]).unwrap();
        let woken = receiver.recv_timeout(Duration::from_secs(10));
        assert_eq!(woken, Ok(first));
    });
    assert_eq!(bench.start(unit).seq, Seq(2));
}

#[test]
fn a_fresh_start_finds_cancelled_requests_beside_a_sleeper() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    let first = bench.start(unit);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| bench.gates.start(unit, &mut []));
        until_somebody_starts(&bench.gates);
        thread::sleep(Duration::from_millis(50));
        bench
            .gates
            .cancel(&GateId::Unit(unit), Cancel::All)
            .unwrap();
        assert_eq!(bench.start(unit), first);
        bench.gates.destroy(&GateId::Unit(unit), true).unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(Started::Canceled));
    });
}

#[test]
fn each_request_goes_to_exactly_one_of_many_threads() {
    const REQUESTS: u64 = 2000;
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let mut seen: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = vec![];
                    let mut buffer = [0; SECTOR];
                    while let Ok(Started::Request(request)) = bench.gates.start(unit, &mut buffer) {
                        seen.push(request.seq.0);
                        bench.done(unit, &request, Outcome::Data(&[0; SECTOR]));
                    }
                    seen
                })
            })
            .collect();
        let reads: Vec<_> = (0..REQUESTS)
            .map(|n| submit(&consumer, Command::Read, n % 100, &[]).unwrap())
            .collect();
        assert!(reads.iter().all(|read| ended(read).is_ok()));
        bench.gates.destroy(&GateId::Unit(unit), true).unwrap();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    seen.sort_unstable();
    assert_eq!(seen, (1..=REQUESTS).collect::<Vec<_>>());
}

#[test]
fn the_timeout_fails_what_is_five_seconds_old_wherever_it_is() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let outstanding = submit(&consumer, Command::Read, 0, &[]).unwrap();
    let waiting = submit(&consumer, Command::Read, 1, &[]).unwrap();
    let request = bench.start(unit);
    let gate = bench.gates.host.gate(unit).unwrap();
    let born = Instant::now();
    gate.expire(born + Duration::from_secs(4));
    assert_eq!(gate.queue_count(), 2);
    gate.expire(born + Duration::from_secs(5));
    assert_eq!(ended(&outstanding), Err(Errno::EIO));
    assert_eq!(ended(&waiting), Err(Errno::EIO));
    assert_eq!(gate.queue_count(), 0);
    // Too late.
    bench.done(unit, &request, Outcome::Data(&[0; SECTOR]));
    assert!(outstanding.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn the_timeout_is_looked_at_every_t_seconds_from_creation_on() {
    let (bench, unit) = Bench::with(|create| create.timeout = 1000);
    let consumer = bench.consumer(unit);
    let created = Instant::now();
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    let gate = bench.gates.host.gate(unit).unwrap();
    gate.housekeeping(created + Duration::from_secs(900));
    assert_eq!(gate.queue_count(), 1);
    gate.housekeeping(created + Duration::from_secs(1001));
    assert_eq!(gate.queue_count(), 0);
}

#[test]
fn destroy_refuses_an_open_gate_unless_forced() {
    let (bench, unit) = Bench::gate();
    let id = GateId::Unit(unit);
    let consumer = bench.consumer(unit);
    assert_eq!(bench.gates.destroy(&id, false), Err(Errno::EBUSY));
    drop(consumer);
    assert_eq!(bench.gates.destroy(&id, false), Ok(()));
    assert_eq!(bench.gates.destroy(&id, false), Err(Errno::ENXIO));
    assert_eq!(bench.gates.list().unwrap(), []);
}

#[test]
fn forced_destroy_fails_all_requests_and_ends_start_and_done() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let outstanding = submit(&consumer, Command::Read, 0, &[]).unwrap();
    let request = bench.start(unit);
    let buffer_too_small = submit(&consumer, Command::Write, 0, &[1; SECTOR]).unwrap();
    bench.gates.destroy(&GateId::Unit(unit), true).unwrap();
    assert_eq!(ended(&outstanding), Err(Errno::ENXIO));
    assert_eq!(ended(&buffer_too_small), Err(Errno::ENXIO));
    assert_eq!(bench.gates.start(unit, &mut []), Err(Errno::ENXIO));
    let late = bench.gates.done(unit, &request, Outcome::Done);
    assert_eq!(late, Err(Errno::ENOENT));
    let refused = submit(&consumer, Command::Read, 0, &[]);
    assert_eq!(refused.err(), Some(Errno::ENXIO));
}

#[test]
fn destroy_wakes_all_sleepers_and_waits_for_them() {
    let (bench, unit) = Bench::gate();
    thread::scope(|scope| {
        let sleepers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| bench.gates.start(unit, &mut [])))
            .collect();
        until("three threads in START", || {
            bench.gates.host.gate(unit).unwrap().references() == 4
        });
        bench.gates.destroy(&GateId::Unit(unit), false).unwrap();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), Ok(Started::Canceled));
        }
    });
}

#[test]
fn modify_changes_size_and_info_and_knows_no_read_provider() {
    let (bench, unit) = Bench::gate();
    let modify = |change| bench.gates.modify(unit, &change);
    assert_eq!(modify(Modify::MediaSize(2 * MEDIA)), Ok(()));
    assert_eq!(modify(Modify::MediaSize(0)), Err(Errno::EINVAL));
    assert_eq!(modify(Modify::MediaSize(1000)), Err(Errno::EINVAL));
    assert_eq!(modify(Modify::Info("other".into())), Ok(()));
    assert_eq!(modify(Modify::NoReadProvider), Ok(()));
    let provider = Modify::ReadProvider {
        name: "md0".into(),
        offset: 0,
        size: MEDIA,
        gate: plan().geometry,
    };
    assert_eq!(modify(provider.clone()), Err(Errno::EINVAL));
    assert_eq!(bench.gates.modify(Unit(9), &provider), Err(Errno::ENXIO));
    let info = &bench.another().list().unwrap()[0];
    assert_eq!(info.media_size, 2 * MEDIA);
    assert_eq!(info.config.as_ref().unwrap().info, "other");
    assert_eq!(bench.gates.geometry(unit).unwrap().media_size, 2 * MEDIA);
}

#[test]
fn a_read_only_gate_opens_for_writing_but_takes_no_writes() {
    let (bench, unit) = Bench::with(|create| create.access = Access::ReadOnly);
    let consumer = bench.consumer(unit);
    for command in [
        Command::Write,
        Command::Delete,
        Command::Flush,
        Command::Speedup,
    ] {
        let refused = submit(&consumer, command, 0, &[0; SECTOR]);
        assert_eq!(refused.err(), Some(Errno::EPERM), "{command:?}");
    }
    submit(&consumer, Command::Read, 0, &[]).unwrap();
}

#[test]
fn a_write_only_gate_does_not_open_for_reading() {
    let (bench, unit) = Bench::with(|create| create.access = Access::WriteOnly);
    let refused = bench.gates.consumer(unit, BOTH);
    assert_eq!(refused.err(), Some(Errno::EPERM));
    let open = Open {
        read: false,
        write: true,
    };
    let consumer = bench.gates.consumer(unit, open).unwrap();
    submit(&consumer, Command::Write, 0, &[0; SECTOR]).unwrap();
    assert_eq!(bench.gates.list().unwrap()[0].mode.to_string(), "r0w1e0");
}

#[test]
fn start_tells_before_it_waits_and_not_while_requests_wait() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    submit(&consumer, Command::Read, 1, &[]).unwrap();
    let mut waits = 0;
    for _ in 0..2 {
        let started = bench.gates.start_after(unit, &mut [], &mut || waits += 1);
        assert!(matches!(started, Ok(Started::Request(_))));
    }
    assert_eq!(waits, 0);
    let started = bench.gates.start_after(unit, &mut [], &mut || {
        submit(&consumer, Command::Read, 2, &[]).unwrap();
    });
    assert!(matches!(started, Ok(Started::Request(_))));
}

#[test]
fn other_processes_list_and_destroy() {
    let (bench, unit) = Bench::gate();
    let other = bench.another();
    let consumer = bench.consumer(unit);
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    let info = &other.list().unwrap()[0];
    assert_eq!(info, &bench.gates.list().unwrap()[0]);
    assert_eq!(info.pid, Some(std::process::id()));
    assert_eq!(info.mode.to_string(), "r1w1e0");
    assert_eq!(info.config.as_ref().unwrap().queue_count, 1);
    let id = GateId::Unit(unit);
    assert_eq!(other.start(unit, &mut []), Err(Errno::ENXIO));
    assert_eq!(other.create(&plan()), Ok(Unit(1)));
    assert_eq!(other.destroy(&id, false), Err(Errno::EBUSY));
    assert_eq!(other.destroy(&id, true), Ok(()));
    assert_eq!(bench.gates.start(unit, &mut []), Err(Errno::ENXIO));
    assert_eq!(bench.gates.create(&plan()), Ok(unit));
}

/// Who finds all commands taken, or is hung up on, must not take the gate for
/// an orphan: it would remove it, or serve it a second time.
#[test]
fn a_busy_process_is_not_taken_for_a_dead_one() {
    let (bench, unit) = Bench::gate();
    let id = GateId::Unit(unit);
    let control = bench.gates.host.rundir.control_path(unit);
    let _open = bench.consumer(unit);
    let silent: Vec<_> = (0..20)
        .map(|_| std::os::unix::net::UnixStream::connect(&control).unwrap())
        .collect();
    let other = bench.another();
    thread::scope(|scope| {
        let destroyed = scope.spawn(|| other.destroy(&id, false));
        thread::sleep(Duration::from_millis(200));
        drop(silent);
        assert_eq!(destroyed.join().unwrap(), Err(Errno::EBUSY));
    });
    assert_eq!(other.list().unwrap(), bench.gates.list().unwrap());
}

#[test]
fn one_that_hangs_up_is_alive_and_one_that_has_gone_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.ctl");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let hanging_up = thread::spawn(move || {
        for _ in 0..3 {
            drop(listener.accept().unwrap());
        }
    });
    assert_eq!(control::ask(&path, Ask::State), Err(Errno::EBUSY));
    hanging_up.join().unwrap();
    assert_eq!(control::ask(&path, Ask::State), Ok(None));
}

#[test]
fn a_gate_without_a_process_is_listed_and_can_be_destroyed_or_taken_over() {
    let (bench, unit) = Bench::with(|create| {
        create.name = NewName::Named("hast/data".into());
        create.info = "left behind".into();
    });
    let Bench { gates, dir } = bench;
    drop(gates);
    let next = Software::new(dir.path().join("run")).unwrap();
    let info = &next.list().unwrap()[0];
    assert_eq!((info.name.as_str(), info.pid), ("hast/data", None));
    assert_eq!(info.config.as_ref().unwrap().references, 1);
    let same = Create {
        name: NewName::Named("hast/data".into()),
        ..plan()
    };
    assert_eq!(next.create(&same), Err(Errno::EEXIST));
    let id = GateId::Named("hast/data".into());
    assert_eq!(next.cancel(&id, Cancel::All), Ok(unit));
    assert_eq!(next.geometry(unit), Some(plan().geometry));
    let info = &next.list().unwrap()[0];
    assert_eq!(info.pid, Some(std::process::id()));
    assert_eq!(info.config.as_ref().unwrap().info, "left behind");
    drop(next);
    let last = Software::new(dir.path().join("run")).unwrap();
    assert_eq!(last.destroy(&id, false), Ok(()));
    assert_eq!(last.list().unwrap(), []);
    assert!(!dir.path().join("run/hast").exists());
}

#[test]
fn a_live_process_steps_down_for_who_takes_over() {
    let (bench, unit) = Bench::gate();
    let consumer = bench.consumer(unit);
    let lost = submit(&consumer, Command::Read, 0, &[]).unwrap();
    bench.start(unit);
    let other = bench.another();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| bench.gates.start(unit, &mut []));
        until_somebody_starts(&bench.gates);
        assert_eq!(other.cancel(&GateId::Unit(unit), Cancel::All), Ok(unit));
        assert_eq!(sleeper.join().unwrap(), Ok(Started::Canceled));
    });
    assert_eq!(ended(&lost), Err(Errno::ENXIO));
    assert_eq!(bench.gates.start(unit, &mut []), Err(Errno::ENXIO));
    let consumer = other.consumer(unit, BOTH).unwrap();
    submit(&consumer, Command::Read, 0, &[]).unwrap();
    assert!(matches!(
        other.start(unit, &mut []),
        Ok(Started::Request(_))
    ));
}

#[test]
fn processes_that_create_at_the_same_time_get_different_units() {
    let bench = Bench::new();
    let others: Vec<_> = (0..4).map(|_| bench.another()).collect();
    let mut units: Vec<Unit> = thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .map(|gates| {
                scope.spawn(|| {
                    (0..8)
                        .map(|_| gates.create(&plan()).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    units.sort_unstable();
    assert_eq!(units, (0..32).map(Unit).collect::<Vec<_>>());
}

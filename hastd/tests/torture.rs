//! Two nodes, of which everything fails at random times, while clients write
//! and check every block they read: no error, nothing lost, nothing stale, and
//! nobody waits for longer than the configured timeout. In the end both
//! components are the same.
//!
//! A minute of it is part of `make test`; `make torture` goes on for ten, with
//! fio beside it. The environment decides: `TORTURE_SECONDS`, `TORTURE_FIO=1`,
//! and `TORTURE_SEED` to repeat the faults of a run that failed (it prints its
//! seed).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::hast::{Pair, Side};
use testkit::load::{self, Load};
use testkit::noise::Noise;
use testkit::process::{Running, wait_for};
use testkit::proxy::{Direction, End};

const NAME: &str = "data";

/// `timeout` of the configuration, in seconds.
const TIMEOUT: u64 = 3;

/// Longest time from the end of a fault to the next completed requests: the
/// timeout, a second for whoever looks for it, and what a busy machine needs.
const RECOVERY: Duration = Duration::from_secs(TIMEOUT + 7);

/// How long a pair may take to be in sync when nothing fails any more: a retry
/// every ten seconds, and little to copy.
const SYNC: Duration = Duration::from_secs(60);

const LOADS: u64 = 3;

/// What a process may have in the end, whatever it went through: descriptors,
/// and KiB of resident memory.
const MOST_DESCRIPTORS: usize = 40;
const MOST_MEMORY: u64 = 64 << 10;

/// What fio uses of the provider, behind what the loads use.
const FIO_REGION: u64 = 32 << 20;

const SECONDS: u64 = 60;

const BOTH: [Direction; 2] = [Direction::ToTarget, Direction::ToClient];

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

struct Tormentor {
    random: Noise,
    pair: Pair,
    primary: Side,
    loads: Vec<Load>,
    /// Names the provider of the present primary.
    link: PathBuf,
}

impl Tormentor {
    fn millis(&mut self, from: usize, to: usize) -> Duration {
        let millis = from + self.random.below(to - from);
        Duration::from_millis(u64::try_from(millis).unwrap())
    }

    fn direction(&mut self) -> Direction {
        BOTH[self.random.below(2)]
    }

    fn end(&mut self) -> End {
        [End::Cut, End::Reset][self.random.below(2)]
    }

    /// Longest time until each load has made progress.
    fn progress(&self) -> Duration {
        let times = self.loads.iter().map(Load::progress);
        times.max().unwrap()
    }

    /// One fault, from its begin to its end; what it was.
    fn strike(&mut self) -> String {
        match self.random.below(16) {
            0..=7 => self.strike_link(),
            8 => self.kill_worker(self.primary.other()),
            9 => self.kill_daemon(self.primary.other(), "secondary"),
            10 | 11 => self.kill_node(self.primary.other(), "secondary"),
            12 => self.kill_worker(self.primary),
            13 => self.kill_daemon(self.primary, "primary"),
            14 => self.fail_over(),
            _ => self.switch_over(),
        }
    }

    fn strike_link(&mut self) -> String {
        // A primary looks for its peer every ten seconds: without this most
        // faults would meet no link.
        if self.random.below(2) == 0 {
            self.pair.wait_for_sync(self.primary, NAME, SYNC);
        }
        let (direction, end) = (self.direction(), self.end());
        let proxy = self.primary as usize;
        match self.random.below(7) {
            0 => {
                self.pair.proxies[proxy].end_all(end);
                format!("{end:?}")
            }
            1 => {
                let bytes = 1 + self.random.below(100_000);
                self.pair.proxies[proxy].end_after(direction, bytes, end);
                thread::sleep(Duration::from_millis(300));
                format!("{end:?} after {bytes} bytes {direction:?}")
            }
            2 => {
                let time = self.millis(50, 5000);
                self.pair.proxies[proxy].stall(direction, true);
                thread::sleep(time);
                self.pair.proxies[proxy].stall(direction, false);
                format!("stalled {direction:?} for {time:?}")
            }
            3 => {
                let time = self.millis(50, 1000);
                self.pair.proxies[proxy].byte_by_byte(direction, true);
                thread::sleep(time);
                self.pair.proxies[proxy].byte_by_byte(direction, false);
                format!("byte by byte {direction:?} for {time:?}")
            }
            4 => {
                let time = self.millis(100, 5000);
                self.half_open(time);
                format!("half-open for {time:?}")
            }
            5 => {
                let time = self.millis(50, 3000);
                self.pair.proxies[proxy].refuse(true);
                self.pair.proxies[proxy].end_all(end);
                thread::sleep(time);
                self.pair.proxies[proxy].refuse(false);
                format!("{end:?}, and refused for {time:?}")
            }
            _ => {
                let delay = [1, 20, 200][self.random.below(3)];
                let time = self.millis(200, 2000);
                let delay = Duration::from_millis(delay);
                self.pair.proxies[proxy].delay(direction, delay);
                thread::sleep(time);
                self.pair.proxies[proxy].delay(direction, Duration::ZERO);
                format!("{delay:?} later {direction:?} for {time:?}")
            }
        }
    }

    /// All bytes vanish and nobody closes anything.
    fn half_open(&self, time: Duration) {
        let proxy = &self.pair.proxies[self.primary as usize];
        for direction in BOTH {
            proxy.black_hole(direction, true);
        }
        thread::sleep(time);
        for direction in BOTH {
            proxy.stall(direction, true);
            proxy.black_hole(direction, false);
        }
        proxy.end_all(End::Cut);
        for direction in BOTH {
            proxy.stall(direction, false);
        }
    }

    /// The daemon starts another one.
    fn kill_worker(&mut self, side: Side) -> String {
        let worker = self.pair.worker(side, NAME);
        if let Some(pid) = worker {
            nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).unwrap();
            wait_for("another worker", || {
                let now = self.pair.worker(side, NAME)?;
                (now != pid).then_some(())
            });
        }
        format!("worker of {side:?} killed")
    }

    fn kill_daemon(&mut self, side: Side, role: &str) -> String {
        let time = self.millis(0, 2000);
        self.pair.kill_daemon(side);
        thread::sleep(time);
        self.pair.start(side);
        self.pair.role(side, role);
        format!("daemon of {side:?}, {role}, killed for {time:?}")
    }

    fn kill_node(&mut self, side: Side, role: &str) -> String {
        let time = self.millis(0, 2000);
        self.pair.kill_node(side);
        thread::sleep(time);
        self.pair.start(side);
        self.pair.role(side, role);
        format!("node {side:?}, {role}, killed for {time:?}")
    }

    /// The primary dies and the secondary takes over.
    fn fail_over(&mut self) -> String {
        let (old, new) = (self.primary, self.primary.other());
        self.pair.wait_for_sync(old, NAME, SYNC);
        self.pair.kill_node(old);
        self.pair.role(new, "primary");
        self.now_serves(new);
        self.pair.start(old);
        self.pair.role(old, "secondary");
        format!("{old:?} killed, {new:?} took over")
    }

    /// The roles change in order, with nothing under way.
    fn switch_over(&mut self) -> String {
        let (old, new) = (self.primary, self.primary.other());
        self.pair.wait_for_sync(old, NAME, SYNC);
        self.loads.iter().for_each(Load::pause);
        self.pair.role(old, "secondary");
        self.pair.role(new, "primary");
        self.now_serves(new);
        self.loads.iter().for_each(Load::resume);
        format!("switched from {old:?} to {new:?}")
    }

    fn now_serves(&mut self, side: Side) {
        self.primary = side;
        let socket = self.pair.wait_for_provider(side, NAME);
        point(&self.link, &socket);
    }
}

/// Makes `link` name `socket`, at once.
fn point(link: &Path, socket: &Path) {
    let new = link.with_extension("new");
    symlink(socket, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

/// Resident memory in KiB.
fn memory(pid: nix::unistd::Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

fn descriptors(pid: nix::unistd::Pid) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// fio behind somebody who reconnects.
fn fio(tormentor: &Tormentor, seconds: u64) -> [Running; 2] {
    let sandbox = &tormentor.pair.sandbox;
    let front = sandbox.file("front");
    let nbdkit = sandbox.spawn(
        "/usr/bin/nbdkit",
        [
            "-f".as_ref(),
            "--filter=retry".as_ref(),
            "-U".as_ref(),
            front.as_os_str(),
            "nbd".as_ref(),
            std::ffi::OsString::from(format!("socket={}", tormentor.link.display())).as_os_str(),
            "retry=20".as_ref(),
            "retries=30".as_ref(),
            "retry-delay=1".as_ref(),
            "retry-exponential=no".as_ref(),
        ],
    );
    testkit::process::wait_for_file(&front);
    let fio = sandbox.spawn(
        "/usr/bin/fio",
        [
            "--name=torture",
            "--ioengine=nbd",
            &format!("--uri=nbd+unix:///?socket={}", front.display()),
            "--rw=randwrite",
            "--bs=16k",
            "--iodepth=16",
            "--rate=8m",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_backlog=64",
            &format!("--offset={}", LOADS * load::REGION),
            &format!("--size={FIO_REGION}"),
            "--time_based",
            &format!("--runtime={seconds}"),
        ],
    );
    [nbdkit, fio]
}

#[test]
fn everything_fails_and_nothing_is_lost() {
    let seconds = variable("TORTURE_SECONDS").unwrap_or(SECONDS);
    let seed = variable("TORTURE_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(now.unwrap().subsec_nanos())
    });
    println!("TORTURE_SEED={seed}");
    let mode = ["fullsync", "memsync"][usize::try_from(seed % 2).unwrap()];
    let size = LOADS * load::REGION + FIO_REGION + (16 << 20);
    let settings = format!("replication {mode}\ntimeout {TIMEOUT}\n");
    let mut pair = Pair::new(&[NAME], size, &settings);
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    pair.wait_for_sync(Side::A, NAME, SYNC);
    let link = pair.sandbox.file("provider");
    point(&link, &pair.wait_for_provider(Side::A, NAME));
    let loads = (0..LOADS).map(|n| Load::reconnecting(&link, n * load::REGION));
    let mut tormentor = Tormentor {
        random: Noise::new(seed),
        primary: Side::A,
        loads: loads.collect(),
        pair,
        link,
    };
    let fio = variable("TORTURE_FIO").map(|_| fio(&tormentor, seconds));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut faults, mut longest) = (0, Duration::ZERO);
    while Instant::now() < deadline {
        let fault = tormentor.strike();
        let took = tormentor.progress();
        println!("{fault}: {took:?}");
        assert!(took < RECOVERY, "{fault}: took {took:?}");
        longest = longest.max(took);
        faults += 1;
    }
    println!("{faults} faults in mode {mode}, longest recovery {longest:?}");
    if let Some([_nbdkit, fio]) = fio {
        let done = fio.finish_within(Duration::from_secs(120));
        assert_eq!(done.code(), 0, "{done:?}");
    }
    finish(tormentor);
}

/// Nothing fails any more: both nodes get the same data, and leave nothing
/// behind.
fn finish(tormentor: Tormentor) {
    let Tormentor {
        mut pair,
        primary,
        loads,
        ..
    } = tormentor;
    loads.iter().for_each(Load::pause);
    pair.wait_for_sync(primary, NAME, SYNC);
    for side in [Side::A, Side::B] {
        let worker = pair.worker(side, NAME).unwrap();
        for (what, pid) in [("daemon", pair.daemon(side).pid()), ("worker", worker)] {
            let (open, kib) = (descriptors(pid), memory(pid));
            println!("{what} of {side:?}: {open} descriptors, {kib} KiB");
            assert!(open < MOST_DESCRIPTORS && kib < MOST_MEMORY);
        }
        pair.role(side, "init");
        assert_eq!(pair.worker(side, NAME), None, "{side:?}");
    }
    let (a, b) = (pair.data(Side::A, NAME), pair.data(Side::B, NAME));
    for load in loads {
        load.verify_in(&[&a, &b]);
    }
    assert!(a == b, "the components differ");
    for side in [Side::A, Side::B] {
        pair.stop(side).expect_code(0);
    }
    let left = pair.sandbox.processes();
    assert!(left.is_empty(), "still running: {left:?}");
}

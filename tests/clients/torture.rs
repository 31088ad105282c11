//! The link between ggatec and ggated fails in every way, at random times, while
//! fio writes and verifies and another client checks every block it reads: no
//! error, nothing lost, nothing stale, and no fault outlives its cause for long.
//!
//! Half a minute of it is part of `make test-clients`; `make torture-ggate` goes
//! on for ten. The environment decides: `TORTURE_SECONDS`, and `TORTURE_SEED`
//! to repeat the faults of a run that failed (it prints its seed).

use crate::provider::Provider;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::load::{self, Load};
use testkit::proxy::{Direction, End, Proxy};

/// What fio uses of the provider; the other client's region follows.
const FIO_REGION: u64 = 32 << 20;

/// Longest time from the end of a fault to the next completed requests.
const RECOVERY: Duration = Duration::from_secs(5);

/// How long fio may take to verify what it wrote last.
const VERIFY_TIME: Duration = Duration::from_secs(60);

const SECONDS: u64 = 30;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Steele and others, "Fast splittable pseudorandom number generators"
/// (splitmix64): enough for a schedule, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn direction(&mut self) -> Direction {
        [Direction::ToTarget, Direction::ToClient][usize::from(self.below(2) == 0)]
    }

    fn end(&mut self) -> End {
        [End::Cut, End::Reset][usize::from(self.below(2) == 0)]
    }
}

struct Tormentor {
    random: Random,
    proxy: Proxy,
    provider: Provider,
    load: Load,
}

impl Tormentor {
    /// One fault, from its begin to its end; what it was.
    fn strike(&mut self) -> String {
        let random = &mut self.random;
        let proxy = &mut self.proxy;
        let (direction, end) = (random.direction(), random.end());
        match random.below(9) {
            0 => {
                proxy.end_all(end);
                format!("{end:?}")
            }
            1 | 2 => {
                let bytes = usize::try_from(1 + random.below(100_000)).expect("a small number");
                proxy.end_after(direction, bytes, end);
                thread::sleep(Duration::from_millis(300));
                format!("{end:?} after {bytes} bytes {direction:?}")
            }
            3 => {
                let time = random.millis(50, 6000);
                proxy.stall(direction, true);
                thread::sleep(time);
                proxy.stall(direction, false);
                format!("stalled {direction:?} for {time:?}")
            }
            4 => {
                let time = random.millis(50, 1500);
                proxy.byte_by_byte(direction, true);
                thread::sleep(time);
                proxy.byte_by_byte(direction, false);
                format!("byte by byte {direction:?} for {time:?}")
            }
            5 => {
                let time = random.millis(100, 6000);
                half_open(proxy, time);
                format!("half-open for {time:?}")
            }
            6 => {
                let time = random.millis(50, 4000);
                proxy.refuse(true);
                proxy.end_all(end);
                thread::sleep(time);
                proxy.refuse(false);
                format!("{end:?}, and refused for {time:?}")
            }
            7 => {
                let (delay, time) = (random.millis(1, 50), random.millis(200, 1000));
                proxy.delay(direction, delay);
                thread::sleep(time);
                proxy.delay(direction, Duration::ZERO);
                format!("{delay:?} later {direction:?} for {time:?}")
            }
            _ => {
                let time = random.millis(0, 2000);
                self.provider.chain.kill_server();
                thread::sleep(time);
                self.provider.chain.start_server();
                format!("ggated killed for {time:?}")
            }
        }
    }
}

/// All bytes vanish and nobody closes anything. When the link is back, the old
/// connections stay dead: TCP does not go on after a gap.
fn half_open(proxy: &Proxy, time: Duration) {
    let both = [Direction::ToTarget, Direction::ToClient];
    for direction in both {
        proxy.black_hole(direction, true);
    }
    thread::sleep(time);
    for direction in both {
        proxy.stall(direction, true);
        proxy.black_hole(direction, false);
    }
    proxy.end_all(End::Cut);
    for direction in both {
        proxy.stall(direction, false);
    }
}

#[test]
fn a_link_that_fails_in_every_way() {
    let seconds = variable("TORTURE_SECONDS").unwrap_or(SECONDS);
    let seed = variable("TORTURE_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(now.expect("a clock").subsec_nanos())
    });
    println!("TORTURE_SEED={seed}");
    let mut proxy = None;
    let provider = Provider::via(FIO_REGION + load::REGION, |server| {
        let started = Proxy::start(server).expect("a proxy");
        let port = started.address().port();
        proxy = Some(started);
        port
    });
    let socket = provider.chain.socket("ggate0");
    let fio = provider.chain.sandbox.spawn(
        "/usr/bin/fio",
        [
            "--name=torture",
            "--ioengine=nbd",
            &format!("--uri={}", provider.uri()),
            "--rw=randwrite",
            "--bs=16k",
            "--iodepth=16",
            "--rate=8m",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_backlog=64",
            &format!("--size={FIO_REGION}"),
            "--time_based",
            &format!("--runtime={seconds}"),
        ],
    );
    let mut tormentor = Tormentor {
        random: Random(seed),
        proxy: proxy.expect("it was started"),
        load: Load::start(&socket, FIO_REGION),
        provider,
    };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut faults, mut longest) = (0, Duration::ZERO);
    while Instant::now() < deadline {
        tormentor.load.progress();
        let fault = tormentor.strike();
        let took = tormentor.load.progress();
        println!("{fault}: {took:?}");
        assert!(took < RECOVERY, "{fault}: took {took:?}");
        longest = longest.max(took);
        faults += 1;
    }
    println!("{faults} faults, longest recovery {longest:?}");
    let done = fio.finish_within(VERIFY_TIME);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("err= 0"), "{}", done.stdout);
    tormentor.load.verify(&tormentor.provider.chain.image);
}

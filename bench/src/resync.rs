//! How fast a secondary that missed everything catches up, idle and beside
//! clients.
//!
//! Time is taken on one pair. For each measurement its secondary is stopped,
//! the whole provider is written, and both are started again: from the
//! connection until the primary says that both nodes have the same.

use crate::Options;
use crate::figures::{Bound, Cost, Figures, Goal};
use crate::foreground::Foreground;
use crate::limits::{copy, mb_per_second};
use crate::process::Used;
use crate::stats::Latency;
use crate::systems::{self, NAME};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use testkit::hast::{Pair, Side};
use testkit::nbd::Client;
use testkit::proxy::Proxy;

/// MiB of the resource, and with `--quick`.
const SIZE: u32 = 2048;
const QUICK_SIZE: u32 = 256;

/// MiB that metadata and map take of a component.
const OVERHEAD: u32 = 1;

/// How long a synchronisation may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) const GOALS: [Goal; 5] = [
    goal("random", "copy loop", Bound::Least(0.6)),
    goal("crc32", "random", Bound::Least(0.9)),
    goal("zeros", "random", Bound::Least(2.0)),
    goal("under load", "random", Bound::Least(0.2)),
    goal("clients' p99 in resync", "clients' p99", Bound::Most(2.0)),
];

const fn goal(figure: &'static str, by: &'static str, bound: Bound) -> Goal {
    Goal {
        figure,
        by: Some(by),
        bound,
    }
}

/// What is copied, and how.
pub(crate) struct Case {
    name: &'static str,
    settings: &'static str,
    zeros: bool,
    /// Whether clients write meanwhile.
    load: bool,
}

/// What does not get smaller on its way.
pub(crate) const RANDOM: Case = case("random", "", false, false);

const CASES: [Case; 4] = [
    RANDOM,
    case("crc32", "checksum crc32", false, false),
    case("zeros", "", true, false),
    case("under load", "", false, true),
];

const fn case(name: &'static str, settings: &'static str, zeros: bool, load: bool) -> Case {
    Case {
        name,
        settings,
        zeros,
        load,
    }
}

/// All cases beside the raw copy loop, by round.
pub(crate) fn measure(options: &Options) -> Figures {
    let mut bench = Bench::new(if options.quick { QUICK_SIZE } else { SIZE }, false);
    let mut figures = Figures::default();
    // The first has to allocate the files.
    bench.resync(&RANDOM);
    bench.copy();
    for round in 0..options.runs {
        let copied = mb_per_second(bench.size, bench.copy());
        figures.add("copy loop", "MB/s", copied);
        for step in 0..CASES.len() {
            let case = &CASES[(round + step) % CASES.len()];
            if case.load {
                bench.measure_under_load(case, options.seconds, &mut figures);
            } else {
                bench.measure(case, case.name, &mut figures);
            }
        }
    }
    figures
}

/// A pair whose secondary misses everything, time and again.
pub(crate) struct Bench {
    pair: Pair,
    /// Whether the nodes reach one another through the pair's proxies.
    proxied: bool,
    /// MiB of the resource.
    size: u32,
    /// What does not get smaller on its way, 1 MiB.
    random: Vec<u8>,
    /// Where the copy loop copies to.
    copied: PathBuf,
}

impl Bench {
    /// A pair of so many MiB without a secondary.
    pub(crate) fn new(size: u32, proxied: bool) -> Self {
        let component = u64::from(size + OVERHEAD) << 20;
        let mut pair = Pair::new(&[NAME], component, "");
        pair.start(Side::A);
        pair.start(Side::B);
        let copied = pair.sandbox.write("copied", "");
        let mut random = vec![0; 1 << 20];
        let source = File::open("/dev/urandom");
        let filled = source.and_then(|mut source| source.read_exact(&mut random));
        filled.expect("random data");
        Self {
            pair,
            proxied,
            size,
            random,
            copied,
        }
    }

    /// The link between the nodes, if they are proxied.
    pub(crate) fn link(&self) -> &Proxy {
        &self.pair.proxies[Side::A as usize]
    }

    /// As much as a synchronisation copies, from the same file.
    fn copy(&self) -> Duration {
        copy(&self.pair.image(Side::A, NAME), &self.copied, self.size)
    }

    /// Writes everything while the secondary is away.
    fn diverge(&mut self, case: &Case) {
        self.pair.stop(Side::B);
        self.pair.stop(Side::A);
        if !self.proxied {
            self.pair.configure_without_proxies(case.settings);
        }
        let socket = self.start_primary();
        let zeros = vec![0; self.random.len()];
        let data = if case.zeros { &zeros } else { &self.random };
        let mut client = Client::connect(&socket).expect("a provider");
        for n in 0..self.size {
            let error = client.write(u64::from(n) << 20, data);
            let error = error.expect("a provider");
            assert_eq!(error, 0, "a write without a secondary");
        }
    }

    /// Lets the secondary come back. A primary looks for it every ten seconds;
    /// one that has just been started does so at once.
    fn meet(&mut self) -> PathBuf {
        self.pair.stop(Side::A);
        self.pair.start(Side::B);
        self.pair.role(Side::B, "secondary");
        self.start_primary()
    }

    fn start_primary(&mut self) -> PathBuf {
        self.pair.start(Side::A);
        self.pair.role(Side::A, "primary");
        self.pair.wait_for_provider(Side::A, NAME)
    }

    /// From when until when the secondary was behind, and what the workers
    /// have used meanwhile, for clients, too, where there are.
    fn converge(&self) -> (Range<Instant>, Used) {
        let connected = self.told("Connected to ");
        let workers = systems::workers(&self.pair);
        let (complete, used) = Used::during(&workers, || self.told("Synchronization complete"));
        (connected..complete, used)
    }

    /// Waits until the primary's daemon says something.
    fn told(&self, what: &str) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        let primary = self.pair.daemon(Side::A);
        while !primary.stdout().contains(what) {
            assert!(Instant::now() < deadline, "no {what:?}: {primary:?}");
            thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    }

    /// Lets the secondary catch up; what [`Self::converge`] says.
    pub(crate) fn resync(&mut self, case: &Case) -> (Range<Instant>, Used) {
        self.diverge(case);
        self.meet();
        self.converge()
    }

    /// The same, as a figure.
    pub(crate) fn measure(&mut self, case: &Case, figure: &str, figures: &mut Figures) {
        let (during, used) = self.resync(case);
        self.add(figure, &during, used, None, figures);
    }

    /// The same beside clients, and how much longer than afterwards they have
    /// to wait.
    fn measure_under_load(&mut self, case: &Case, seconds: u32, figures: &mut Figures) {
        self.diverge(case);
        let socket = self.meet();
        let foreground = Foreground::start(&socket);
        let (during, used) = self.converge();
        thread::sleep(Duration::from_secs(seconds.into()));
        let after = during.end..Instant::now();
        let writes = foreground.end();
        let latency = writes.latency(&during);
        self.add(case.name, &during, used, Some(latency), figures);
        figures.add("clients' p99 in resync", "us", latency.p99);
        figures.add("clients' p99", "us", writes.latency(&after).p99);
    }

    fn add(
        &self,
        figure: &str,
        during: &Range<Instant>,
        used: Used,
        latency: Option<Latency>,
        figures: &mut Figures,
    ) {
        let speed = mb_per_second(self.size, during.end - during.start);
        let used = Some(Used {
            cpu: used.cpu / f64::from(self.size) * 1024.0,
            ..used
        });
        figures.add_throughput(figure, "MB/s", speed, Cost { latency, used });
    }
}

//! What the daemons need of memory: the most at once while they are busy, and
//! what idle ones keep. Proportional set size, so that what many share counts
//! once.

use crate::Options;
use crate::figures::{Bound, Figures, Goal};
use crate::fio;
use crate::process::{Daemon, Used};
use crate::rows::{self, Row};
use crate::sample::Sample;
use crate::systems::{self, System};
use std::thread;
use std::time::Duration;
use testkit::hast::{Pair, Side};

/// What keeps them busy.
const BUSY: [Row; 2] = [
    rows::row("reads", "read", 1 << 20, 32, &[]),
    rows::row("writes", "write", 1 << 20, 32, &[]),
];

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(5);

/// Idle resources.
const RESOURCES: usize = 64;

/// Bytes of an idle one, sparse: all that may grow with it is the map.
const IDLE_SIZE: u64 = 8 << 40;

/// How long the last of the idle ones may take to find its peer.
const PATIENCE: Duration = Duration::from_secs(60);

const IDLE: &str = "idle worker";

pub(crate) const GOALS: [Goal; 9] = [
    busy("ggate ggatec"),
    busy("ggate ggated"),
    busy("fullsync primary"),
    busy("fullsync secondary"),
    busy("memsync primary"),
    busy("memsync secondary"),
    busy("async primary"),
    busy("async secondary"),
    Goal {
        figure: IDLE,
        by: None,
        bound: Bound::Most(8.0),
    },
];

const fn busy(figure: &'static str) -> Goal {
    Goal {
        figure,
        by: None,
        bound: Bound::Most(64.0),
    }
}

pub(crate) fn measure(options: &Options) -> Figures {
    let mut figures = Figures::default();
    let systems = [
        systems::ggate_alone as fn() -> System,
        || systems::hast("fullsync", "replication fullsync"),
        || systems::hast("memsync", "replication memsync"),
        || systems::hast("async", "replication async"),
    ];
    for start in systems {
        let system = start();
        for _ in 0..options.runs {
            let mut most = vec![0.0; system.daemons.len()];
            for row in &BUSY {
                let (sample, peaks) = peaks(&system, row, options.seconds);
                figures.add_sample(&format!("{} {}", system.name, row.name), row, &sample);
                for (most, peak) in most.iter_mut().zip(peaks) {
                    *most = peak.max(*most);
                }
            }
            for (daemon, peak) in system.daemons.iter().zip(most) {
                figures.add(&format!("{} {}", system.name, daemon.name), "MiB", peak);
            }
        }
    }
    figures.add(IDLE, "MiB", idle());
    figures
}

/// What fio did, and the most that each daemon had meanwhile.
fn peaks(system: &System, row: &Row, seconds: u32) -> (Sample, Vec<f64>) {
    let now = || system.daemons.iter().map(Daemon::pss);
    let mut peaks: Vec<f64> = now().collect();
    let uri = system.uri.as_str();
    let run = || {
        thread::scope(|scope| {
            let client = scope.spawn(move || fio::run(uri, row, seconds));
            while !client.is_finished() {
                for (peak, now) in peaks.iter_mut().zip(now()) {
                    *peak = peak.max(now);
                }
                thread::sleep(INTERVAL);
            }
            client.join().expect("what fio did")
        })
    };
    let (fio, used) = Used::during(&system.daemons, run);
    (Sample { fio, used }, peaks)
}

/// What the largest of the workers of many idle pairs has.
fn idle() -> f64 {
    let names: Vec<String> = (0..RESOURCES).map(|n| format!("idle{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pair = Pair::new(&names, IDLE_SIZE, "");
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    for name in &names {
        pair.wait_for_sync(Side::A, name, PATIENCE);
    }
    let worker = |side, name| {
        let pid = pair.worker(side, name).expect("a worker");
        Daemon::new(IDLE, pid).pss()
    };
    let sides = [Side::A, Side::B].into_iter();
    let workers = sides.flat_map(|side| names.iter().map(move |name| (side, name)));
    workers
        .map(|(side, name)| worker(side, name))
        .fold(0.0, f64::max)
}

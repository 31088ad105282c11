//! What a process has used, as Linux tells it.

use nix::unistd::Pid;
use std::fs;

/// Ticks per second in which `/proc` counts processor time; the same on every
/// Linux.
const TICKS: f64 = 100.0;

/// What daemons took for something.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    /// Seconds of processor time of all of them.
    pub(crate) cpu: f64,
    /// Most resident memory of each in MiB.
    pub(crate) peaks: Vec<f64>,
}

impl Used {
    /// Runs something, and what daemons use meanwhile.
    pub(crate) fn during<T>(daemons: &[Daemon], run: impl FnOnce() -> T) -> (T, Self) {
        for daemon in daemons {
            daemon.forget_peak();
        }
        let before = Self::so_far(daemons);
        let result = run();
        let after = Self::so_far(daemons);
        let used = Self {
            cpu: after.cpu - before.cpu,
            ..after
        };
        (result, used)
    }

    fn so_far(daemons: &[Daemon]) -> Self {
        Self {
            cpu: daemons.iter().map(Daemon::cpu).sum(),
            peaks: daemons.iter().map(Daemon::peak).collect(),
        }
    }
}

/// A program under measurement.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pid: Pid,
}

impl Daemon {
    pub(crate) fn new(name: &'static str, pid: Pid) -> Self {
        Self { name, pid }
    }

    fn read(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {path}: {error}", self.name))
    }

    /// Seconds of processor time so far, of the program and of the kernel on
    /// its behalf.
    fn cpu(&self) -> f64 {
        let stat = self.read("stat");
        // Behind the name, which may hold anything: state is the first.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = |index: usize| -> f64 {
            let field = fields.split(' ').nth(index);
            field.and_then(|field| field.parse().ok()).unwrap_or(0.0)
        };
        (ticks(11) + ticks(12)) / TICKS
    }

    /// Begins anew to measure [`Self::peak`].
    fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.pid);
        fs::write(&path, "5").unwrap_or_else(|error| panic!("{}: {path}: {error}", self.name));
    }

    /// The most memory that was resident, in MiB.
    fn peak(&self) -> f64 {
        self.mib("status", "VmHWM:")
    }

    /// What is resident now, with its share of what it has in common with
    /// others, in MiB.
    pub(crate) fn pss(&self) -> f64 {
        self.mib("smaps_rollup", "Pss:")
    }

    fn mib(&self, file: &str, line: &str) -> f64 {
        let text = self.read(file);
        let rest = text.lines().find_map(|of| of.strip_prefix(line));
        let number = rest.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kib = number.and_then(|number| number.parse::<f64>().ok());
        kib.expect("a number in kB") / 1024.0
    }
}

//! The table and the JSON file.

use crate::figures::{Bound, Figure, Figures};
use crate::fio::Done;
use crate::rows::{Aspect, Row, Target};
use crate::stats::{Spread, median};
use crate::systems::System;
use crate::trials::Trial;
use std::fmt::Write;

/// One measurement.
pub(crate) struct Sample {
    pub(crate) fio: Done,
    /// Seconds of processor time of all daemons.
    pub(crate) cpu: f64,
    /// Most resident memory of each daemon in MiB.
    pub(crate) peaks: Vec<f64>,
}

/// A row's measurements, by system and round.
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) samples: Vec<Vec<Sample>>,
    /// Seconds of processor time that a SHA-256 of a request's data takes, by
    /// round, where a target is told in it.
    pub(crate) digests: Vec<f64>,
}

impl Measured {
    fn median(&self, system: usize, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples[system].iter().map(figure))
    }

    /// Where a target's system is, by round.
    fn standing(&self, target: &Target, system: usize, by: usize) -> Spread {
        let figure = |sample: &Sample| match target.aspect {
            Aspect::Throughput => sample.fio.iops,
            Aspect::P99 => sample.fio.p99,
            Aspect::Cpu | Aspect::Digests => sample.cpu / sample.fio.requests,
        };
        let rounds = |system: usize| self.samples[system].iter().map(figure);
        let theirs: Vec<f64> = rounds(by).collect();
        if target.aspect == Aspect::Digests {
            let beyond: Vec<f64> = rounds(system).zip(theirs).map(|(a, b)| a - b).collect();
            Spread::of_ratio(&beyond, &self.digests)
        } else {
            let ours: Vec<f64> = rounds(system).collect();
            Spread::of_ratio(&ours, &theirs)
        }
    }

    /// Seconds of processor time per 100,000 requests, or per GiB.
    fn cost(&self, sample: &Sample) -> f64 {
        let requests = sample.fio.requests;
        let units = if self.row.is_sequential() {
            requests * f64::from(self.row.block) / f64::from(1 << 30)
        } else {
            requests / 100_000.0
        };
        sample.cpu / units
    }

    /// Requests per second, or MB/s.
    fn throughput(&self, sample: &Sample) -> f64 {
        if self.row.is_sequential() {
            sample.fio.iops * f64::from(self.row.block) / 1e6
        } else {
            sample.fio.iops
        }
    }

    fn peaks(&self, system: usize) -> Vec<f64> {
        let samples = &self.samples[system];
        let most = |daemon: usize| samples.iter().map(|s| s.peaks[daemon]).fold(0.0, f64::max);
        (0..samples[0].peaks.len()).map(most).collect()
    }
}

/// For people.
pub(crate) fn table(measured: &[Measured], systems: &[System]) -> String {
    let mut table = String::from(
        "
Requests/s, MB/s where sequential. Latency in microseconds. CPU: seconds of all
daemons per 100,000 requests, per GiB where sequential. RSS: peaks in MiB.

row                system        throughput   mean us  p99 us    CPU s  RSS
",
    );
    for m in measured {
        for (n, system) in systems.iter().enumerate() {
            let peaks: Vec<String> = m.peaks(n).iter().map(|mib| format!("{mib:.0}")).collect();
            let _ = writeln!(
                table,
                "{:18} {:12} {:11.0} {:9.0} {:7.0} {:8.2}  {}",
                m.row.name,
                system.name,
                m.median(n, |s| m.throughput(s)),
                m.median(n, |s| s.fio.mean),
                m.median(n, |s| s.fio.p99),
                m.median(n, |s| m.cost(s)),
                peaks.join("+"),
            );
        }
    }
    table.push_str(VERDICTS);
    for m in measured {
        for target in m.row.targets {
            let at = |name| systems.iter().position(|system| system.name == name);
            let (Some(system), Some(by)) = (at(target.system), at(target.by)) else {
                continue;
            };
            let aspect = target.aspect.name();
            let what = format!("{} / {}{aspect}", target.system, target.by);
            let standing = m.standing(target, system, by);
            table.push_str(&verdict(m.row.name, &what, standing, target.bound));
        }
    }
    table
}

/// The same of a trial.
pub(crate) fn figures_table(trial: Trial, figures: &Figures) -> String {
    let mut table = String::from(
        "
group              figure                      median    lowest   highest
",
    );
    for figure in &figures.0 {
        let spread = Spread::of(&figure.rounds);
        let _ = writeln!(
            table,
            "{:18} {:24} {:9.1} {:9.1} {:9.1} {}",
            trial.name(),
            figure.name,
            spread.median,
            spread.lowest,
            spread.highest,
            figure.unit,
        );
    }
    if !trial.goals().is_empty() {
        table.push_str(VERDICTS);
    }
    for goal in trial.goals() {
        let by = goal.by.map(|by| format!(" / {by}")).unwrap_or_default();
        let what = format!("{}{by}", goal.figure);
        let standing = figures.standing(goal);
        table.push_str(&verdict(trial.name(), &what, standing, goal.bound));
    }
    table
}

/// What is above lines of [`verdict`].
const VERDICTS: &str = "
                   ratio of medians (lowest and highest of one round)         target
";

fn verdict(row: &str, what: &str, standing: Spread, bound: Bound) -> String {
    let Spread {
        median,
        lowest,
        highest,
    } = standing;
    let missed = if bound.is_met(median) { "" } else { "  missed" };
    let spread = format!("({lowest:.2}-{highest:.2})");
    format!("{row:18} {what:38} {median:5.2} {spread:14} {bound}{missed}\n")
}

/// For programs: all figures of all rounds. No string in it needs escaping.
pub(crate) fn json(measured: &[Measured], systems: &[System]) -> Vec<String> {
    let mut rows = Vec::new();
    for m in measured {
        for (system, samples) in systems.iter().zip(&m.samples) {
            let samples: Vec<String> = samples.iter().map(sample_json).collect();
            let names: Vec<String> = system.daemons.iter().map(|d| quoted(d.name)).collect();
            rows.push(format!(
                "{{\"row\":{},\"system\":{},\"daemons\":[{}],\"digests_s\":[{}],\"rounds\":[{}]}}",
                quoted(m.row.name),
                quoted(system.name),
                names.join(","),
                numbers(&m.digests),
                samples.join(","),
            ));
        }
    }
    rows
}

/// The same of a trial.
pub(crate) fn figures_json(trial: Trial, figures: &Figures) -> Vec<String> {
    let figure_json = |figure: &Figure| {
        format!(
            "{{\"group\":{},\"figure\":{},\"unit\":{},\"rounds\":[{}]}}",
            quoted(trial.name()),
            quoted(&figure.name),
            quoted(figure.unit),
            numbers(&figure.rounds),
        )
    };
    figures.0.iter().map(figure_json).collect()
}

fn numbers(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(f64::to_string).collect();
    values.join(",")
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn sample_json(sample: &Sample) -> String {
    let Done {
        requests,
        iops,
        mean,
        p99,
    } = sample.fio;
    format!(
        "{{\"requests\":{requests},\"iops\":{iops},\"mean_us\":{mean},\"p99_us\":{p99},\
         \"cpu_s\":{:.2},\"peak_rss_mib\":[{}]}}",
        sample.cpu,
        numbers(&sample.peaks),
    )
}

//! The table and the JSON file.

use crate::figures::{Bound, Cost, Figure, Figures};
use crate::fio::Done;
use crate::process::Used;
use crate::rows::{Aspect, Row, Target};
use crate::sample::Sample;
use crate::stats::{Latency, Spread, median};
use crate::systems::System;
use crate::trials::Trial;
use std::fmt::Write;

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
            Aspect::P99 => sample.fio.latency.p99,
            Aspect::Cpu | Aspect::Digests => sample.used.cpu / sample.fio.requests,
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

    fn peaks(&self, system: usize) -> String {
        peaks(self.samples[system].iter().map(|s| s.used.peaks.as_slice()))
    }
}

/// The highest of each daemon in all rounds.
fn peaks<'a>(rounds: impl Iterator<Item = &'a [f64]>) -> String {
    let highest = rounds.fold(Vec::new(), |mut highest: Vec<f64>, peaks| {
        highest.resize(peaks.len(), 0.0);
        for (highest, peak) in highest.iter_mut().zip(peaks) {
            *highest = highest.max(*peak);
        }
        highest
    });
    let mib: Vec<String> = highest.iter().map(|mib| format!("{mib:.0}")).collect();
    mib.join("+")
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
            let _ = writeln!(
                table,
                "{:18} {:12} {:11.0} {:9.0} {:7.0} {:8.2}  {}",
                m.row.name,
                system.name,
                m.median(n, |s| s.throughput(m.row)),
                m.median(n, |s| s.fio.latency.mean),
                m.median(n, |s| s.fio.latency.p99),
                m.median(n, |s| s.cost(m.row)),
                m.peaks(n),
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
Latency in microseconds. CPU: seconds of all daemons per 100,000 requests, per
GiB of MB/s. RSS: peaks in MiB.

group    figure                      median    lowest   highest                 mean us  p99 us    CPU s  RSS
",
    );
    for figure in &figures.0 {
        let spread = Spread::of(&figure.rounds);
        let line = format!(
            "{:8} {:24} {:9.1} {:9.1} {:9.1} {:14} {}",
            trial.name(),
            figure.name,
            spread.median,
            spread.lowest,
            spread.highest,
            figure.unit,
            costs(&figure.costs),
        );
        let _ = writeln!(table, "{}", line.trim_end());
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

/// The rest of a figure's line.
fn costs(costs: &[Cost]) -> String {
    let median_of = |value: &dyn Fn(&Cost) -> Option<f64>, decimals: usize| {
        let values: Option<Vec<f64>> = costs.iter().map(value).collect();
        let values = values.filter(|values| !values.is_empty());
        values.map_or(String::new(), |values| {
            format!("{:.decimals$}", median(values.into_iter()))
        })
    };
    let latency = |cost: &Cost| cost.latency;
    let used = costs.iter().filter_map(|cost| cost.used.as_ref());
    format!(
        "{:>9} {:>7} {:>8}  {}",
        median_of(&|cost| latency(cost).map(|latency| latency.mean), 0),
        median_of(&|cost| latency(cost).map(|latency| latency.p99), 0),
        median_of(&|cost| cost.used.as_ref().map(|used| used.cpu), 2),
        peaks(used.map(|used| used.peaks.as_slice())),
    )
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
            "{{\"group\":{},\"figure\":{},\"unit\":{},\"rounds\":[{}],\"costs\":[{}]}}",
            quoted(trial.name()),
            quoted(&figure.name),
            quoted(figure.unit),
            numbers(&figure.rounds),
            costs_json(&figure.costs),
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
        latency: Latency { mean, p99 },
    } = sample.fio;
    format!(
        "{{\"requests\":{requests},\"iops\":{iops},\"mean_us\":{mean},\"p99_us\":{p99},\
         \"cpu_s\":{:.2},\"peak_rss_mib\":[{}]}}",
        sample.used.cpu,
        numbers(&sample.used.peaks),
    )
}

/// Processor time is that of the table: by request or GiB, not of the round.
fn costs_json(costs: &[Cost]) -> String {
    let cost_json = |cost: &Cost| {
        let mut members = Vec::new();
        if let Some(Latency { mean, p99 }) = cost.latency {
            members.push(format!("\"mean_us\":{mean},\"p99_us\":{p99}"));
        }
        if let Some(Used { cpu, peaks }) = &cost.used {
            let peaks = numbers(peaks);
            members.push(format!(
                "\"cpu_s_per_100k_or_gib\":{cpu:.3},\"peak_rss_mib\":[{peaks}]"
            ));
        }
        format!("{{{}}}", members.join(","))
    };
    let costs: Vec<String> = costs.iter().map(cost_json).collect();
    costs.join(",")
}

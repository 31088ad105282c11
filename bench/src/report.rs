//! The table and the JSON file.

use crate::fio::Done;
use crate::rows::Row;
use crate::systems::System;
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
}

/// The middle one; the lower of two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

impl Measured {
    fn median(&self, system: usize, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples[system].iter().map(figure))
    }

    /// One system's throughput by another's: of the medians, and the lowest
    /// and highest of one round.
    fn ratios(&self, system: usize, by: usize) -> [f64; 3] {
        let iops = |sample: &Sample| sample.fio.iops;
        let rounds = self.samples[system].iter().zip(&self.samples[by]);
        let each = rounds.map(|(ours, theirs)| iops(ours) / iops(theirs));
        let (low, high) = each.fold((f64::MAX, 0.0_f64), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        [self.median(system, iops) / self.median(by, iops), low, high]
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
    table.push_str(
        "\nrow                ratio of medians (lowest and highest of one round)      target\n",
    );
    for m in measured {
        for target in m.row.targets {
            let at = |name| systems.iter().position(|system| system.name == name);
            let (Some(system), Some(by)) = (at(target.system), at(target.by)) else {
                continue;
            };
            let [ratio, low, high] = m.ratios(system, by);
            let verdict = if ratio >= target.least {
                ""
            } else {
                "  missed"
            };
            let _ = writeln!(
                table,
                "{:18} {:26} {ratio:5.2} ({low:4.2}-{high:4.2})      {:4.2}{verdict}",
                m.row.name,
                format!("{} / {}", target.system, target.by),
                target.least,
            );
        }
    }
    table
}

/// For programs: all figures of all rounds. No string in it needs escaping.
pub(crate) fn json(measured: &[Measured], systems: &[System]) -> Vec<String> {
    let mut rows = Vec::new();
    for m in measured {
        for (system, samples) in systems.iter().zip(&m.samples) {
            let samples: Vec<String> = samples.iter().map(sample_json).collect();
            let names: Vec<String> = system.daemons.iter().map(|d| quoted(d.name)).collect();
            rows.push(format!(
                "{{\"row\":{},\"system\":{},\"daemons\":[{}],\"rounds\":[{}]}}",
                quoted(m.row.name),
                quoted(system.name),
                names.join(","),
                samples.join(","),
            ));
        }
    }
    rows
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
    let peaks: Vec<String> = sample.peaks.iter().map(f64::to_string).collect();
    format!(
        "{{\"requests\":{requests},\"iops\":{iops},\"mean_us\":{mean},\"p99_us\":{p99},\
         \"cpu_s\":{:.2},\"peak_rss_mib\":[{}]}}",
        sample.cpu,
        peaks.join(","),
    )
}

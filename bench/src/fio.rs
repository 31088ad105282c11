//! fio's nbd engine, and what it says.

use crate::rows::Row;
use crate::stats::Latency;
use std::process::Command;

/// One run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Done {
    /// Requests completed.
    pub(crate) requests: f64,
    /// Requests per second.
    pub(crate) iops: f64,
    pub(crate) latency: Latency,
}

/// Runs a row's pattern all over a provider; panics when fio meets an error, with what it said.
pub(crate) fn run(uri: &str, row: &Row, seconds: u32) -> Done {
    let output = Command::new("fio")
        .args(["--name=bench", "--ioengine=nbd", "--output-format=terse"])
        .args(["--terse-version=3", "--time_based", "--norandommap"])
        .args(["--randrepeat=1", "--eta=never"])
        .arg(format!("--uri={uri}"))
        .arg(format!("--rw={}", row.pattern))
        .arg(format!("--bs={}", row.block))
        .arg(format!("--iodepth={}", row.depth))
        .arg(format!("--runtime={seconds}"))
        .output()
        .unwrap_or_else(|error| panic!("fio: {error}; run scripts/setup.sh"));
    let said = String::from_utf8_lossy(&output.stdout);
    let done = said.lines().find_map(|line| parse(line, row.block));
    match done {
        Some(done) if output.status.success() => done,
        _ => panic!("{}: {uri}: {output:?}", row.name),
    }
}

/// A line of fio's terse format, version 3 (fio(1), section TERSE OUTPUT):
/// five fields about the job, then 41 about reads and 41 about writes. Latency
/// is that from the submission of a request until its completion.
fn parse(line: &str, block: u32) -> Option<Done> {
    let fields: Vec<&str> = line.split(';').collect();
    if fields.first() != Some(&"3") || fields.get(4) != Some(&"0") {
        return None;
    }
    let transferred = |from: usize| -> Option<f64> { fields.get(from)?.parse().ok() };
    let from = if transferred(5)? > 0.0 { 5 } else { 46 };
    let number = |index: usize| -> Option<f64> { fields.get(from + index)?.parse().ok() };
    let p99 = fields[from..]
        .iter()
        .find_map(|field| field.strip_prefix("99.000000%="))?;
    Some(Done {
        requests: number(0)? * 1024.0 / f64::from(block),
        iops: number(2)?,
        latency: Latency {
            mean: number(10)?,
            p99: p99.parse().ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "3;fio-3.33;x;0;0;313296;156569;39142;2001;0;4955;6.4;36.0;81;8816;810.4;\
        553.1;1.000000%=272;5.000000%=391;10.000000%=436;20.000000%=514;30.000000%=577;\
        40.000000%=634;50.000000%=684;60.000000%=741;70.000000%=823;80.000000%=995;\
        90.000000%=1253;95.000000%=1449;99.000000%=3424;99.500000%=4816;99.900000%=6062;\
        99.950000%=6258;99.990000%=7962;0%=0;0%=0;0%=0;82;8817;816.9;556.2;130088;201272;100.0%;\
        175674.6;39578.6;0;0;0;0;0;0;0.0;0.0;0;0;0.0;0.0;1.000000%=0;99.000000%=0";

    #[test]
    fn what_fio_says_of_reads() {
        let expected = Done {
            requests: 78324.0,
            iops: 39142.0,
            latency: Latency {
                mean: 810.4,
                p99: 3424.0,
            },
        };
        assert_eq!(parse(READ, 4096), Some(expected));
    }

    #[test]
    fn an_error_is_no_result() {
        assert_eq!(parse(&READ.replacen(";0;0;", ";0;5;", 1), 4096), None);
        assert_eq!(parse("fio: connected to NBD server", 4096), None);
    }
}

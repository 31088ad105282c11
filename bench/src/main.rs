//! How fast the chain of ggatec and ggated is, compared with nbdkit's on the
//! same machine at the same time: `make bench`, or
//!
//! ```text
//! scripts/bench.sh [--quick] [--runs N] [--seconds N] [ROW]...
//! ```
//!
//! | name | path of a request |
//! |---|---|
//! | ours | fio, unix socket, ggatec, TCP, ggated, file |
//! | two hops | fio, unix socket, `nbdkit nbd`, TCP, `nbdkit file`, the same file |
//! | one hop | fio, TCP, `nbdkit file`, the same file |
//!
//! Everything is on this machine and the file is on tmpfs, so that programs are
//! measured and not a network or a disk. Absolute figures of such a machine
//! mean little: each round runs all systems one after the other, in changing
//! order, and what counts are the ratios of the medians over all rounds, with
//! the lowest and highest ratio of one round beside them.
//!
//! It ends with 1 when something does not work (an I/O error, a program that
//! fails), never because something is slow. `--quick` is for that: one short
//! round. The table goes to standard output, all figures to
//! `target/bench.json`.

mod fio;
mod process;
mod report;
mod rows;
mod systems;

use report::{Measured, Sample};
use rows::{ROWS, Row};
use std::process::ExitCode;
use systems::System;

/// Rounds, unless `--runs` says otherwise.
const RUNS: usize = 7;

/// Seconds of one measurement, unless `--seconds` says otherwise.
const SECONDS: u32 = 2;

struct Options {
    runs: usize,
    seconds: u32,
    rows: Vec<&'static Row>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}");
            eprintln!("usage: bench [--quick] [--runs N] [--seconds N] [ROW]...");
            return ExitCode::FAILURE;
        }
    };
    let systems = systems::start();
    let measured = measure(&options, &systems);
    print!("{}", report::table(&measured));
    let file = "target/bench.json";
    if let Err(error) = std::fs::write(file, report::json(&measured, &systems)) {
        eprintln!("bench: {file}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        runs: RUNS,
        seconds: SECONDS,
        rows: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().unwrap_or_default();
            match value.parse::<u16>() {
                Ok(number @ 1..=1000) => Ok(number),
                _ => Err(format!("{arg} {value}: not a number from 1 to 1000")),
            }
        };
        match arg.as_str() {
            "--quick" => (options.runs, options.seconds) = (1, 1),
            "--runs" => options.runs = usize::from(number()?),
            "--seconds" => options.seconds = u32::from(number()?),
            name => {
                let row = ROWS.iter().find(|row| row.name == name);
                options
                    .rows
                    .push(row.ok_or_else(|| format!("{name}: no such row or option"))?);
            }
        }
    }
    if options.rows.is_empty() {
        options.rows = ROWS.iter().collect();
    }
    Ok(options)
}

/// All rounds of all rows.
fn measure(options: &Options, systems: &[System]) -> Vec<Measured> {
    let measure_row = |row: &&'static Row| {
        eprintln!("bench: {} ...", row.name);
        let mut samples: Vec<Vec<Sample>> = systems.iter().map(|_| Vec::new()).collect();
        for round in 0..options.runs {
            for step in 0..systems.len() {
                let which = (round + step) % systems.len();
                samples[which].push(sample(&systems[which], row, options.seconds));
            }
        }
        Measured { row, samples }
    };
    options.rows.iter().map(measure_row).collect()
}

/// One measurement.
fn sample(system: &System, row: &Row, seconds: u32) -> Sample {
    for daemon in &system.daemons {
        daemon.forget_peak();
    }
    let before = system.cpu();
    let done = fio::run(&system.uri, row, seconds);
    Sample {
        fio: done,
        cpu: system.cpu() - before,
        peaks: system.daemons.iter().map(process::Daemon::peak).collect(),
    }
}

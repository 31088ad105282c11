//! How fast ggate and HAST are, compared with nbdkit on the same machine at
//! the same time: `make bench`, or
//!
//! ```text
//! scripts/bench.sh [--quick] [--runs N] [--seconds N] [GROUP | ROW]...
//! ```
//!
//! | group | name | path of a request |
//! |---|---|---|
//! | `ggate`, `hast` | ggate | fio, unix socket, ggatec, TCP, ggated, file |
//! | `hast` | fullsync, memsync, async | fio, unix socket, a primary's worker, its file, and TCP, a secondary's worker, that one's file |
//! | `checksum` | none, crc32, sha256 | the same in fullsync |
//! | `ggate`, `hast` | two hops | fio, unix socket, `nbdkit nbd`, TCP, `nbdkit file`, file |
//! | `ggate` | one hop | fio, TCP, `nbdkit file`, file |
//! | `ggate` | qemu-nbd | fio, TCP, `qemu-nbd`, file |
//! | `hast` | one hop unix | fio, unix socket, `nbdkit file`, file |
//!
//! Groups that measure in their own ways:
//!
//! | group | measures |
//! |---|---|
//! | `limits` | round trips of 4 KiB over TCP; pieces of 1 MiB from file to file over TCP: what nothing can beat by much |
//! | `resync` | a secondary that missed everything catches up, 2 GiB, beside the same copy loop: random data, with a checksum, zeros, and while a client writes 4 KiB at depth 8 |
//! | `memory` | PSS: peaks under 32 reads and writes of 1 MiB, and the largest worker of 64 idle pairs of 8 TiB |
//! | `link` | ggate, and a pair in each mode, 4 KiB writes at depth 32 over a round trip of 1 ms and of 20 ms, beside 32 in the time that a byte takes there and back; a secondary that catches up over it, beside a TCP stream |
//! | `sparse` | a pair in fullsync, 4 KiB writes at depth 32 all over sparse files of 1 TiB and of 1 GiB |
//! | `parallel` | ggated, a primary, and a secondary, each with a disk that takes 2 ms, 4 KiB writes at depth 1 and 32 |
//!
//! Everything is on this machine and the files are on tmpfs, so that programs
//! are measured and not a network or a disk. Absolute figures of such a machine
//! mean little: each round runs all that is compared one after the other, rows
//! in changing order, and what counts are the ratios of the medians over all
//! rounds, with the lowest and highest ratio of one round beside them.
//!
//! Each throughput comes with what it took: how long requests waited (mean and
//! p99), processor time of all daemons, and the peak of each one's memory. A
//! synchronisation has no requests that somebody waits for, and what a machine
//! can do at most no daemons; these columns are empty then.
//!
//! It fails when something does not work (an I/O error, a program that ends),
//! never because something is slow. `--quick` is for that: one short
//! round, 256 MiB for `resync`, and 128 MiB for that of `link`. The tables go to
//! standard output, all figures to `target/bench.json`.

mod figures;
mod fio;
mod foreground;
mod limits;
mod link;
mod memory;
mod parallel;
mod process;
mod report;
mod resync;
mod rows;
mod sample;
mod sparse;
mod stats;
mod systems;
mod trials;

use report::Measured;
use rows::{Aspect, Group, Row};
use sample::Sample;
use std::process::ExitCode;
use systems::System;
use trials::Trial;

/// Rounds, unless `--runs` says otherwise.
const RUNS: usize = 7;

/// Seconds of one measurement, unless `--seconds` says otherwise.
const SECONDS: u32 = 2;

struct Options {
    runs: usize,
    seconds: u32,
    quick: bool,
    /// The rows and trials asked for; all if none was.
    names: Vec<&'static str>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(&name)
    }

    fn rows(&self, group: Group) -> Vec<&'static Row> {
        let wanted = |row: &&Row| self.wants(row.name);
        group.rows().iter().filter(wanted).collect()
    }

    fn trials(&self) -> impl Iterator<Item = Trial> {
        let wanted = |trial: &Trial| self.wants(trial.name());
        Trial::ALL.into_iter().filter(wanted)
    }
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}");
            eprintln!("usage: bench [--quick] [--runs N] [--seconds N] [GROUP | ROW]...");
            return ExitCode::FAILURE;
        }
    };
    let mut figures = Vec::new();
    for group in Group::ALL {
        let rows = options.rows(group);
        if !rows.is_empty() {
            let systems = systems::start(group);
            let measured = measure(&options, &rows, &systems);
            print!("{}", report::table(&measured, &systems));
            figures.extend(report::json(&measured, &systems));
        }
    }
    for trial in options.trials() {
        eprintln!("bench: {} ...", trial.name());
        let measured = trial.measure(&options);
        print!("{}", report::figures_table(trial, &measured));
        figures.extend(report::figures_json(trial, &measured));
    }
    let file = "target/bench.json";
    if let Err(error) = std::fs::write(file, format!("[\n{}\n]\n", figures.join(",\n"))) {
        eprintln!("bench: {file}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        runs: RUNS,
        seconds: SECONDS,
        quick: false,
        names: Vec::new(),
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
            "--quick" => (options.runs, options.seconds, options.quick) = (1, 1, true),
            "--runs" => options.runs = usize::from(number()?),
            "--seconds" => options.seconds = u32::from(number()?),
            name => {
                let of_group = |group: Group| {
                    let rows = group.rows().iter().map(|row| row.name);
                    rows.filter(move |row| group.name() == name || *row == name)
                };
                let rows = Group::ALL.into_iter().flat_map(of_group);
                let trials = Trial::ALL.map(Trial::name).into_iter();
                let before = options.names.len();
                options.names.extend(rows);
                options.names.extend(trials.filter(|trial| *trial == name));
                if options.names.len() == before {
                    return Err(format!("{name}: no such group, row or option"));
                }
            }
        }
    }
    Ok(options)
}

/// All rounds of the rows of a group.
fn measure(options: &Options, rows: &[&'static Row], systems: &[System]) -> Vec<Measured> {
    let measure_row = |row: &&'static Row| {
        eprintln!("bench: {} ...", row.name);
        let mut samples: Vec<Vec<Sample>> = systems.iter().map(|_| Vec::new()).collect();
        let mut digests = Vec::new();
        let of_digests = |target: &rows::Target| target.aspect == Aspect::Digests;
        for round in 0..options.runs {
            if row.targets.iter().any(of_digests) {
                digests.push(limits::sha256(row.block));
            }
            for step in 0..systems.len() {
                let which = (round + step) % systems.len();
                samples[which].push(Sample::take(&systems[which], row, options.seconds));
            }
        }
        Measured {
            row,
            samples,
            digests,
        }
    };
    rows.iter().map(measure_row).collect()
}

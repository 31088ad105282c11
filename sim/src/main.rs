//! `sim --seeds N --start S`: runs seeds S to S+N-1 and reports those that
//! fail; `sim --trace SEED` shows what happens in one.

mod checker;
mod disk;
mod net;
mod node;
mod post;
mod rng;
mod world;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim [--seeds N] [--start S]\n       sim --trace SEED";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut seeds = 1000;
    let mut start = 0;
    for pair in arguments.chunks(2) {
        let number = pair.get(1).and_then(|n| n.parse::<u64>().ok());
        match (pair[0].as_str(), number) {
            ("--seeds", Some(n)) => seeds = n,
            ("--start", Some(n)) => start = n,
            ("--trace", Some(seed)) => return show(seed),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    let began = Instant::now();
    let failures = run(start, seeds);
    let elapsed = began.elapsed().as_millis().max(1);
    let rate = u128::from(seeds) * 1000 / elapsed;
    println!("{seeds} seeds from {start}, {rate} per second, {failures} failed");
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Number of seeds that failed.
fn run(start: u64, seeds: u64) -> u64 {
    let mut failures = 0;
    for seed in start..start + seeds {
        let error = match catch_unwind(|| world::run(seed, false)) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => "panic".to_owned(),
        };
        failures += 1;
        println!("seed {seed}: {error}");
    }
    failures
}

fn show(seed: u64) -> ExitCode {
    match world::run(seed, true) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("seed {seed}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    /// What `make sim` does with many more seeds.
    #[test]
    fn a_few_seeds_pass() {
        assert_eq!(super::run(0, 100), 0);
    }
}

//! `sim --seeds N --start S`: runs seeds S to S+N-1 and reports those that
//! fail; `sim --trace SEED` shows what happens in one, `sim --shrink SEED` what
//! happens with as few faults as it takes to fail.

mod checker;
mod client;
mod disk;
mod faults;
mod images;
mod net;
mod node;
mod operator;
mod receive;
mod rng;
mod send;
mod shrink;
mod trace;
mod world;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str =
    "usage: sim [--seeds N] [--start S]\n       sim --trace SEED\n       sim --shrink SEED";

/// The seed that runs, for whoever panics.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    // A release build aborts at a panic; the seed must be known by then.
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        println!("seed {}: {panic}", SEED.load(Ordering::Relaxed));
        inherited(panic);
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut seeds = 1000;
    let mut start = 0;
    for pair in arguments.chunks(2) {
        let number = pair.get(1).and_then(|n| n.parse::<u64>().ok());
        match (pair[0].as_str(), number) {
            ("--seeds", Some(n)) => seeds = n,
            ("--start", Some(n)) => start = n,
            ("--trace", Some(seed)) => return exit(run(seed, true)),
            ("--shrink", Some(seed)) => return exit(shrink::shrink(seed)),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    let began = Instant::now();
    let failures = run_all(start, seeds);
    let elapsed = began.elapsed().as_millis().max(1);
    let rate = u128::from(seeds) * 1000 / elapsed;
    println!("{seeds} seeds from {start}, {rate} per second, {failures} failed");
    exit(failures == 0)
}

fn exit(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Number of seeds that failed.
fn run_all(start: u64, seeds: u64) -> u64 {
    let seeds = start..start.saturating_add(seeds);
    let failed = seeds.filter(|seed| !run(*seed, false));
    failed.fold(0, |failures, _| failures + 1)
}

/// Whether the seed passes.
fn run(seed: u64, tracing: bool) -> bool {
    SEED.store(seed, Ordering::Relaxed);
    let result = world::run(seed, &BTreeSet::new(), tracing).result;
    if let Err(error) = &result {
        println!("seed {seed}: {error}");
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    /// What `make sim` does with many more seeds.
    #[test]
    fn a_few_seeds_pass() {
        assert_eq!(super::run_all(0, 50), 0);
    }
}

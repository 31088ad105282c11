//! HAST in a simulator: two nodes of `hast-core`, two disks, a network, clients
//! and an operator, and everything that goes wrong with them.
//!
//! `sim --seeds N --start S` runs seeds S to S+N-1 and reports those that
//! fail; `--trace SEED` shows what happens in one, `--shrink SEED` what happens
//! with as few faults as it takes to fail. With `--base secondary` or `--base
//! primary` one node behaves like FreeBSD's hastd.

mod base;
mod buffers;
mod checker;
mod client;
mod disk;
mod faults;
mod images;
mod net;
mod node;
mod operator;
mod receive;
mod rest;
mod rng;
mod send;
mod shell;
mod shrink;
mod trace;
mod world;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::Cast;

const USAGE: &str = "\
usage: sim [--base secondary | primary] [--seeds N] [--start S]
       sim [--base secondary | primary] --trace SEED
       sim [--base secondary | primary] --shrink SEED";

/// The seed that runs, for whoever panics.
static SEED: AtomicU64 = AtomicU64::new(0);

/// What is asked for.
struct Options {
    cast: Cast,
    what: What,
}

enum What {
    Run { start: u64, seeds: u64 },
    Trace(u64),
    Shrink(u64),
}

fn main() -> ExitCode {
    // A release build aborts at a panic; the seed must be known by then.
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        println!("seed {}: {panic}", SEED.load(Ordering::Relaxed));
        inherited(panic);
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(Options { cast, what }) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let passed = match what {
        What::Run { start, seeds } if cast == Cast::BasePrimary => lament(start, seeds),
        What::Run { start, seeds } => report(start, seeds, cast),
        What::Trace(seed) => run(seed, cast, true),
        What::Shrink(seed) => shrink::shrink(seed, cast),
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(arguments: &[String]) -> Option<Options> {
    let (mut cast, mut start, mut seeds) = (Cast::Ours, 0, 1000);
    let mut one = None;
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seeds" => seeds = value.parse().ok()?,
            "--start" => start = value.parse().ok()?,
            "--trace" => one = Some(What::Trace(value.parse().ok()?)),
            "--shrink" => one = Some(What::Shrink(value.parse().ok()?)),
            "--base" => {
                cast = match value.as_str() {
                    "secondary" => Cast::BaseSecondary,
                    "primary" => Cast::BasePrimary,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    let what = one.unwrap_or(What::Run { start, seeds });
    Some(Options { cast, what })
}

/// Runs them all and says how it went. Whether all passed.
fn report(start: u64, seeds: u64, cast: Cast) -> bool {
    let began = Instant::now();
    let failures = run_all(start, seeds, cast);
    let elapsed = began.elapsed().as_millis().max(1);
    let rate = u128::from(seeds) * 1000 / elapsed;
    println!("{seeds} seeds from {start}, {rate} per second, {failures} failed");
    failures == 0
}

/// What base's primary does to its clients and to our secondary, which can do
/// nothing about it. Whether our node itself did what it should.
fn lament(start: u64, seeds: u64) -> bool {
    let kinds = ["claims to be in sync", "reads as", "no progress"];
    let mut count = [0; 3];
    let mut others = 0;
    for seed in start..start.saturating_add(seeds) {
        SEED.store(seed, Ordering::Relaxed);
        let outcome = world::run(seed, Cast::BasePrimary, &BTreeSet::new(), false);
        let Err(error) = outcome.result else { continue };
        if let Some(kind) = kinds.iter().position(|kind| error.contains(kind)) {
            count[kind] += 1;
        } else {
            others += 1;
            println!("seed {seed}: {error}");
        }
    }
    let [differed, old, stuck] = count;
    println!(
        "base as primary, {seeds} seeds from {start}: clients read what was overwritten in {old}, \
         a pair that called itself the same differed in {differed}, {stuck} never came to rest; \
         {others} by our fault"
    );
    others == 0
}

/// Number of seeds that failed.
fn run_all(start: u64, seeds: u64, cast: Cast) -> u64 {
    let seeds = start..start.saturating_add(seeds);
    let failed = seeds.filter(|seed| !run(*seed, cast, false));
    failed.fold(0, |failures, _| failures + 1)
}

/// Whether the seed passes.
fn run(seed: u64, cast: Cast, tracing: bool) -> bool {
    SEED.store(seed, Ordering::Relaxed);
    let result = world::run(seed, cast, &BTreeSet::new(), tracing).result;
    if let Err(error) = &result {
        println!("seed {seed}: {error}");
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `make sim` does with many more seeds.
    #[test]
    fn a_few_seeds_pass() {
        assert_eq!(run_all(0, 30, Cast::Ours), 0);
    }

    /// Whatever base does as secondary, our primary is right and the pair gets
    /// in sync.
    #[test]
    fn our_primary_is_right_with_a_secondary_of_base() {
        assert_eq!(run_all(0, 30, Cast::BaseSecondary), 0);
    }
}

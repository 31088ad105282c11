//! A failing run with as few faults as it takes to fail.

use crate::faults::Fault;
use crate::world::{self, Cast, Outcome};
use std::collections::BTreeSet;

/// Shrinks the run of a seed and shows it. Whether it passes.
pub(crate) fn shrink(seed: u64, cast: Cast) -> bool {
    let all = world::run(seed, cast, &BTreeSet::new(), false);
    if all.result.is_ok() {
        println!("seed {seed} passes");
        return true;
    }
    let left_out = fewest(seed, cast, all);
    let outcome = world::run(seed, cast, &left_out, true);
    let faults: Vec<_> = outcome.struck.iter().map(Fault::to_string).collect();
    if let Err(error) = outcome.result {
        println!("seed {seed}: {error}");
    }
    println!("with these faults alone: {}", faults.join(", "));
    false
}

/// The faults that can be left out: many at a time first, then one by one.
fn fewest(seed: u64, cast: Cast, all: Outcome) -> BTreeSet<Fault> {
    let mut left_out = BTreeSet::new();
    let mut struck = all.struck;
    let mut size = struck.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < struck.len() {
            let end = struck.len().min(at + size);
            let mut without = left_out.clone();
            without.extend(&struck[at..end]);
            let outcome = world::run(seed, cast, &without, false);
            if outcome.result.is_err() {
                left_out = without;
                struck = outcome.struck;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    left_out
}

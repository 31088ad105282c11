//! Writes spread over a large component, and over a small one: what the map of
//! dirty extents costs must not depend on its size.
//!
//! Each measurement has a pair of its own. Its files are sparse, and the map is
//! clean; what is written takes memory until the pair is gone.

use crate::Options;
use crate::figures::{Bound, Figures, Goal};
use crate::rows::{Row, row};
use crate::sample::Sample;
use crate::systems;
use testkit::hast::Pair;

const WRITES: Row = row("sparse", "randwrite", 4 << 10, 32, &[]);

/// Extents are of 2 MiB, as hastctl makes them.
const SIZES: [(&str, u64); 2] = [("1 TiB", 1 << 40), ("1 GiB", 1 << 30)];

pub(crate) const GOALS: [Goal; 1] = [Goal {
    figure: "1 TiB",
    by: Some("1 GiB"),
    bound: Bound::Least(0.8),
}];

/// Both sizes, by round.
pub(crate) fn measure(options: &Options) -> Figures {
    let mut figures = Figures::default();
    for round in 0..options.runs {
        for step in 0..SIZES.len() {
            let (name, size) = SIZES[(round + step) % SIZES.len()];
            let settings = "replication fullsync";
            let pair = Pair::new(&[systems::NAME], size, settings);
            pair.configure_without_proxies(settings);
            let system = systems::joined(name, pair, ["hastd"; 2]);
            let sample = Sample::take(&system, &WRITES, options.seconds);
            figures.add_sample(name, &WRITES, &sample);
        }
    }
    figures
}

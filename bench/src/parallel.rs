//! Disks that take 2 ms for every request, however many are under way: with 32
//! requests in flight all must wait side by side, in ggated and in either node
//! of a pair. The programs are `slow_ggated` and `slow_hastd`.

use crate::Options;
use crate::figures::{Bound, Figures, Goal};
use crate::rows::{Row, row};
use crate::sample::Sample;
use crate::systems::{self, System, unix_uri};
use std::fs::File;
use std::rc::Rc;
use testkit::hast::Pair;
use testkit::process::{Sandbox, free_port, wait_for_file, wait_for_port};

/// Bytes of the provider: no more extents than a node keeps dirty, so that
/// writes, and not stores of the map, are measured.
const SIZE: u64 = 64 << 20;

const ONE: Row = row("parallel", "randwrite", 4 << 10, 1, &[]);
const MANY: Row = row("parallel", "randwrite", 4 << 10, 32, &[]);

/// What figures of a system are called, with one request in flight and with 32.
const GATE: [&str; 2] = ["ggated, depth 1", "ggated, depth 32"];
const PRIMARY: [&str; 2] = ["primary, depth 1", "primary, depth 32"];
const SECONDARY: [&str; 2] = ["secondary, depth 1", "secondary, depth 32"];

pub(crate) const GOALS: [Goal; 3] = [goal(GATE), goal(PRIMARY), goal(SECONDARY)];

const fn goal([one, many]: [&'static str; 2]) -> Goal {
    Goal {
        figure: many,
        by: Some(one),
        bound: Bound::Least(20.0),
    }
}

/// All systems with both depths, by round.
pub(crate) fn measure(options: &Options) -> Figures {
    let systems = [
        (gate(), GATE),
        (pair("primary", ["slow_hastd", "hastd"]), PRIMARY),
        (pair("secondary", ["hastd", "slow_hastd"]), SECONDARY),
    ];
    let mut figures = Figures::default();
    for _ in 0..options.runs {
        for (system, names) in &systems {
            for (row, name) in [&ONE, &MANY].into_iter().zip(names) {
                let sample = Sample::take(system, row, options.seconds);
                figures.add_sample(name, row, &sample);
            }
        }
    }
    figures
}

/// ggatec and a slow ggated.
fn gate() -> System {
    let sandbox = Rc::new(Sandbox::new());
    let image = sandbox.file("disk.img");
    let file = File::create(&image).expect("a file");
    file.set_len(SIZE).expect("a file");
    let image = image.to_str().expect("a path in UTF-8");
    sandbox.write("exports", format!("127.0.0.1 RW {image}\n"));
    let port = free_port();
    let text = port.to_string();
    let server = sandbox.spawn("slow_ggated", [&text, "exports"]);
    wait_for_port(([127, 0, 0, 1], port).into());
    let client = sandbox.spawn("ggatec", ["create", "-v", "-p", &text, "127.0.0.1", image]);
    let socket = sandbox.run_dir().join("ggate0");
    wait_for_file(&socket);
    let programs = vec![("ggatec", client), ("slow_ggated", server)];
    systems::system("ggated", unix_uri(&socket), programs, &sandbox, None)
}

/// Both nodes of a pair in fullsync, by these programs.
fn pair(name: &'static str, programs: [&str; 2]) -> System {
    let settings = "replication fullsync";
    let pair = Pair::new(&[systems::NAME], SIZE + systems::OVERHEAD, settings);
    pair.configure_without_proxies(settings);
    systems::joined(name, pair, programs)
}

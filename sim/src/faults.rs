//! What goes wrong, and when. Each kind of fault has random numbers of its
//! own, so that a run without some of them meets the others as before: that
//! is how a failing run is shrunk.

use crate::rng::Rng;
use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// The link ends, perhaps in the middle of a message.
    Cut,
    /// Nothing arrives any more, one way or both, and nobody is told.
    HalfOpen,
    /// Bytes trickle for the rest of the link's life.
    Slow,
    /// A node loses power.
    PowerCut,
    /// A process is killed; its machine goes on.
    Kill,
    /// One operation of a disk, or of the kernel, fails.
    Operation,
    /// A disk writes nothing for a while.
    Broken,
    /// A disk has no room for a while.
    Full,
    /// The operator promotes a node that is not up to date.
    Folly,
}

/// Each kind, and once in how many chances it strikes: in half of the runs, and
/// in most of those more seldom, so that a pair gets far, too.
const KINDS: [(Kind, usize); 9] = [
    (Kind::Cut, 150),
    (Kind::HalfOpen, 400),
    (Kind::Slow, 300),
    (Kind::PowerCut, 300),
    (Kind::Kill, 500),
    (Kind::Operation, 40),
    (Kind::Broken, 600),
    (Kind::Full, 600),
    (Kind::Folly, 4),
];

/// One that struck: the so-and-so-manieth of its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Fault(Kind, u32);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0, self.1)
    }
}

#[derive(Debug)]
struct Stream {
    rng: Rng,
    every: usize,
    count: u32,
    /// This run has such faults.
    on: bool,
}

#[derive(Debug)]
pub(crate) struct Faults {
    streams: Vec<Stream>,
    left_out: BTreeSet<Fault>,
    struck: Vec<Fault>,
}

impl Faults {
    /// Those of a seed, but for some that are left out.
    pub(crate) fn new(seed: u64, left_out: BTreeSet<Fault>) -> Self {
        let streams = (1..).zip(KINDS).map(|(number, (_, every))| {
            let mut rng = Rng::stream(seed, number);
            let on = rng.one_in(2);
            let seldom = 1 << rng.below(3);
            Stream {
                rng,
                every: every * seldom,
                count: 0,
                on,
            }
        });
        Self {
            streams: streams.collect(),
            left_out,
            struck: Vec::new(),
        }
    }

    /// Whether the fault happens at this chance.
    pub(crate) fn strikes(&mut self, kind: Kind) -> bool {
        let stream = self.stream(kind);
        if !stream.on || !stream.rng.one_in(stream.every) {
            return false;
        }
        stream.count += 1;
        let fault = Fault(kind, stream.count);
        let strikes = !self.left_out.contains(&fault);
        if strikes {
            self.struck.push(fault);
        }
        strikes
    }

    /// For the details of a fault.
    pub(crate) fn rng(&mut self, kind: Kind) -> &mut Rng {
        &mut self.stream(kind).rng
    }

    pub(crate) fn end(&mut self) {
        for stream in &mut self.streams {
            stream.on = false;
        }
    }

    pub(crate) fn struck(&self) -> &[Fault] {
        &self.struck
    }

    fn stream(&mut self, kind: Kind) -> &mut Stream {
        &mut self.streams[at(kind)]
    }
}

fn at(kind: Kind) -> usize {
    let at = KINDS.iter().position(|(k, _)| *k == kind);
    at.expect("every kind is in the table")
}

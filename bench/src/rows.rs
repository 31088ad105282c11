//! What is measured, and what it is to be compared with.

use crate::figures::Bound;

/// Size of the exported file in bytes: far more than a processor's caches.
pub(crate) const FILE_SIZE: u64 = 512 << 20;

/// Systems that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    /// ggatec and ggated beside nbdkit.
    Ggate,
    /// A pair of HAST nodes in each mode beside both of these.
    Hast,
    /// What checksums cost.
    Checksum,
}

impl Group {
    pub(crate) const ALL: [Self; 3] = [Self::Ggate, Self::Hast, Self::Checksum];

    /// What it is called on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ggate => "ggate",
            Self::Hast => "hast",
            Self::Checksum => "checksum",
        }
    }

    /// Its rows, in the order of the table.
    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Ggate => &GGATE,
            Self::Hast => &HAST,
            Self::Checksum => &CHECKSUM,
        }
    }
}

/// A pattern of requests.
pub(crate) struct Row {
    /// What it is called in the table and on the command line.
    pub(crate) name: &'static str,
    /// As fio's `rw`.
    pub(crate) pattern: &'static str,
    /// Bytes per request.
    pub(crate) block: u32,
    /// Requests in flight.
    pub(crate) depth: u32,
    /// What it is to reach.
    pub(crate) targets: &'static [Target],
}

/// One system by another.
pub(crate) struct Target {
    pub(crate) aspect: Aspect,
    pub(crate) system: &'static str,
    pub(crate) by: &'static str,
    pub(crate) bound: Bound,
}

/// In what systems are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aspect {
    Throughput,
    P99,
    /// Processor time per request.
    Cpu,
    /// The same, beyond the other's, in SHA-256 digests of a request's data.
    Digests,
}

impl Aspect {
    /// What it is called in the table, behind the systems.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "",
            Self::P99 => " p99",
            Self::Cpu => " CPU",
            Self::Digests => " digests",
        }
    }
}

impl Row {
    /// Whether throughput is told in bytes rather than requests.
    pub(crate) fn is_sequential(&self) -> bool {
        !self.pattern.starts_with("rand")
    }
}

pub(crate) const fn row(
    name: &'static str,
    pattern: &'static str,
    block: u32,
    depth: u32,
    targets: &'static [Target],
) -> Row {
    Row {
        name,
        pattern,
        block,
        depth,
        targets,
    }
}

const fn target(system: &'static str, by: &'static str, least: f64) -> Target {
    bound(Aspect::Throughput, system, by, Bound::Least(least))
}

const fn bound(aspect: Aspect, system: &'static str, by: &'static str, bound: Bound) -> Target {
    Target {
        aspect,
        system,
        by,
        bound,
    }
}

const DEEP: [Target; 3] = [
    target("ggate", "two hops", 1.5),
    target("ggate", "one hop", 0.6),
    bound(Aspect::Cpu, "ggate", "two hops", Bound::Most(0.7)),
];
const SHALLOW: [Target; 2] = [
    target("ggate", "two hops", 1.2),
    bound(Aspect::P99, "ggate", "two hops", Bound::Most(1.0)),
];
const LARGE: [Target; 1] = [target("ggate", "two hops", 1.3)];

/// A digest where data leave, and one where they arrive.
const DIGESTS: Target = bound(Aspect::Digests, "sha256", "none", Bound::Most(2.3));

const GGATE: [Row; 8] = [
    row("read-4k-1", "randread", 4 << 10, 1, &SHALLOW),
    row("write-4k-1", "randwrite", 4 << 10, 1, &SHALLOW),
    row("read-4k-32", "randread", 4 << 10, 32, &DEEP),
    row("write-4k-32", "randwrite", 4 << 10, 32, &DEEP),
    row("read-128k-8", "read", 128 << 10, 8, &LARGE),
    row("write-128k-8", "write", 128 << 10, 8, &LARGE),
    row("read-1m-8", "read", 1 << 20, 8, &LARGE),
    row("write-1m-8", "write", 1 << 20, 8, &LARGE),
];

const HAST: [Row; 4] = [
    row(
        "hast-write-4k-32",
        "randwrite",
        4 << 10,
        32,
        &[
            target("fullsync", "two hops", 1.2),
            target("memsync", "two hops", 1.2),
            target("async", "two hops", 1.4),
        ],
    ),
    row(
        "hast-write-4k-1",
        "randwrite",
        4 << 10,
        1,
        &[target("fullsync", "ggate", 0.8)],
    ),
    row(
        "hast-write-128k-8",
        "write",
        128 << 10,
        8,
        &[target("fullsync", "ggate", 0.7)],
    ),
    row(
        "hast-read-4k-32",
        "randread",
        4 << 10,
        32,
        &[target("fullsync", "one hop unix", 0.9)],
    ),
];

const CHECKSUM: [Row; 2] = [
    row(
        "sum-write-4k-32",
        "randwrite",
        4 << 10,
        32,
        &[target("crc32", "none", 0.95), DIGESTS],
    ),
    row(
        "sum-write-128k-8",
        "write",
        128 << 10,
        8,
        &[target("crc32", "none", 0.9), DIGESTS],
    ),
];

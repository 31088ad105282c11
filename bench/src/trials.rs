//! Groups whose measurements are not systems side by side, by fio's patterns.

use crate::figures::{Figures, Goal};
use crate::{Options, limits, link, memory, parallel, resync, sparse};

/// A group that measures in its own way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trial {
    /// What the machine can do.
    Limits,
    /// How fast a secondary catches up.
    Resync,
    /// What the daemons need of memory.
    Memory,
    /// Over a long link.
    Link,
    /// Over a large component.
    Sparse,
    /// Over a slow disk.
    Parallel,
}

impl Trial {
    pub(crate) const ALL: [Self; 6] = [
        Self::Limits,
        Self::Resync,
        Self::Memory,
        Self::Link,
        Self::Sparse,
        Self::Parallel,
    ];

    /// What it is called in the table and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Resync => "resync",
            Self::Memory => "memory",
            Self::Link => "link",
            Self::Sparse => "sparse",
            Self::Parallel => "parallel",
        }
    }

    pub(crate) const fn goals(self) -> &'static [Goal] {
        match self {
            Self::Limits => &[],
            Self::Resync => &resync::GOALS,
            Self::Memory => &memory::GOALS,
            Self::Link => &link::GOALS,
            Self::Sparse => &sparse::GOALS,
            Self::Parallel => &parallel::GOALS,
        }
    }

    pub(crate) fn measure(self, options: &Options) -> Figures {
        match self {
            Self::Limits => limits::measure(options),
            Self::Resync => resync::measure(options),
            Self::Memory => memory::measure(options),
            Self::Link => link::measure(options),
            Self::Sparse => sparse::measure(options),
            Self::Parallel => parallel::measure(options),
        }
    }
}

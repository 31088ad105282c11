//! Who copies from whom when two nodes meet: one table, made by the secondary
//! from what both say. Facts: spec/hast-disk.md section 6.3.
//!
//! | rule | condition | action |
//! |---|---|---|
//! | `virgin-pair` | own id none, primary virgin | nothing to copy |
//! | `new-secondary` | own id none | everything, from the primary |
//! | `resuid-mismatch` | ids differ | refuse |
//! | `primary-outdated` | SL > PR, SR = PL | what is dirty, from the secondary |
//! | `generations-differ` | SL = PR, SR = PL, both generations known and different | refuse |
//! | `stale-primary` | SL = PR, SR = PL, only the primary is inconsistent | what is dirty, from the secondary |
//! | `in-sync` | SL = PR, SR = PL | what is dirty, from the primary |
//! | `secondary-outdated` | SL = PR, SR < PL | what is dirty, from the primary |
//! | `split-brain` | SL > PR, SR < PL | refuse |
//! | `impossible-secondary-ahead` | else, SL > PR | stop and ask |
//! | `impossible-counters` | else | stop and ask |
//! | `discard` | the secondary's data was given up, and one of the above but `resuid-mismatch` refuses or copies from it | from the primary: what is dirty if the counters are possible, otherwise everything |
//! | `inconsistent-source` | whichever of these names an inconsistent source | refuse |
//!
//! PL, PR, SL, SR are the local and remote counters of the primary and the
//! secondary. Base copies everything where we stop and ask, and knows neither
//! generations nor consistency; without those the table is base's.
//!
//! **Invariant:** no rule lets data that exists on one side only be
//! overwritten unless the other side's counters say it is newer, or an
//! operator gave it up.

use crate::message::SPLIT_BRAIN;
use crate::metadata::{Consistency, Metadata};
use crate::role::SyncSource;
use crate::units::{Counters, Generation, ResUid};
use alloc::borrow::Cow;
use alloc::format;
use core::cmp::Ordering::{Equal, Greater, Less};

/// What the primary says in step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Primary {
    /// It has just drawn the id.
    pub virgin: bool,
    /// The id.
    pub resuid: ResUid,
    /// Its counters.
    pub counters: Counters,
    /// State of its data, if it knows.
    pub generation: Option<Generation>,
    /// Whether its component is of one state.
    pub consistency: Consistency,
}

/// What the secondary has on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Secondary {
    /// The id, if it has one.
    pub resuid: Option<ResUid>,
    /// Its counters.
    pub counters: Counters,
    /// State of its data, if it knows.
    pub generation: Option<Generation>,
    /// Whether its component is of one state.
    pub consistency: Consistency,
    /// An operator gave up what only it has.
    pub discard: bool,
}

impl Secondary {
    /// What its metadata say.
    #[must_use]
    pub const fn of(metadata: &Metadata) -> Self {
        Self {
            resuid: metadata.resuid,
            counters: metadata.counters,
            generation: metadata.generation,
            consistency: metadata.consistency,
            discard: metadata.discard,
        }
    }
}

/// What to do where the counters cannot have come about: `on-impossible`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum OnImpossible {
    /// Refuse; a human decides.
    #[default]
    Stop,
    /// Overwrite one side, as base does.
    Base,
}

/// The rule that decided: it is logged, and names the test of its row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the table above documents them")]
pub enum Rule {
    VirginPair,
    NewSecondary,
    ResuidMismatch,
    PrimaryOutdated,
    GenerationsDiffer,
    StalePrimary,
    InSync,
    SecondaryOutdated,
    SplitBrain,
    ImpossibleSecondaryAhead,
    ImpossibleCounters,
    Discard,
    InconsistentSource,
}

impl Rule {
    /// The name in the table and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirginPair => "virgin-pair",
            Self::NewSecondary => "new-secondary",
            Self::ResuidMismatch => "resuid-mismatch",
            Self::PrimaryOutdated => "primary-outdated",
            Self::GenerationsDiffer => "generations-differ",
            Self::StalePrimary => "stale-primary",
            Self::InSync => "in-sync",
            Self::SecondaryOutdated => "secondary-outdated",
            Self::SplitBrain => "split-brain",
            Self::ImpossibleSecondaryAhead => "impossible-secondary-ahead",
            Self::ImpossibleCounters => "impossible-counters",
            Self::Discard => "discard",
            Self::InconsistentSource => "inconsistent-source",
        }
    }
}

/// Which extents are to be copied besides those dirty in the primary's map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapSent {
    /// None: no map is sent, unless the secondary's own has something in it.
    None,
    /// Those dirty in the secondary's own map.
    Own,
    /// All: a map of ones.
    Full,
}

/// What the secondary does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Connect.
    Sync {
        /// Whose data is copied.
        source: SyncSource,
        /// Which map is sent.
        map: MapSent,
        /// The secondary had no id and stores the primary's, before it
        /// answers.
        adopt_resuid: bool,
    },
    /// Answer with [`errmsg`] and do nothing.
    Refuse,
}

/// An action and why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    /// The row of the table.
    pub rule: Rule,
    /// What it says.
    pub action: Action,
}

/// The table.
#[must_use]
pub fn decide(primary: &Primary, secondary: &Secondary, on_impossible: OnImpossible) -> Decision {
    let decision = by_counters(primary, secondary, on_impossible);
    let decision = if secondary.discard {
        discarding(decision)
    } else {
        decision
    };
    let Action::Sync { source, .. } = decision.action else {
        return decision;
    };
    let source = match source {
        SyncSource::Primary => primary.consistency,
        SyncSource::Secondary => secondary.consistency,
    };
    match source {
        Consistency::Consistent => decision,
        Consistency::Inconsistent => refuse(Rule::InconsistentSource),
    }
}

fn by_counters(primary: &Primary, secondary: &Secondary, on_impossible: OnImpossible) -> Decision {
    use MapSent::{Full, None, Own};
    use SyncSource::{Primary, Secondary};
    match secondary.resuid {
        Option::None if primary.virgin => return sync(Rule::VirginPair, Primary, None),
        Option::None => return sync(Rule::NewSecondary, Primary, Full),
        Some(own) if own != primary.resuid => return refuse(Rule::ResuidMismatch),
        Some(_) => {}
    }
    let ours = secondary.counters.local.cmp(&primary.counters.remote);
    let theirs = secondary.counters.remote.cmp(&primary.counters.local);
    let impossible = |rule, source| match on_impossible {
        OnImpossible::Stop => refuse(rule),
        OnImpossible::Base => sync(rule, source, Full),
    };
    match (ours, theirs) {
        (Greater, Equal) => sync(Rule::PrimaryOutdated, Secondary, Own),
        (Equal, Equal) if generations_differ(primary, secondary) => refuse(Rule::GenerationsDiffer),
        (Equal, Equal) if only_primary_is_stale(primary, secondary) => {
            sync(Rule::StalePrimary, Secondary, Own)
        }
        (Equal, Equal) => sync(Rule::InSync, Primary, Own),
        (Equal, Less) => sync(Rule::SecondaryOutdated, Primary, Own),
        (Greater, Less) => refuse(Rule::SplitBrain),
        (Greater, Greater) => impossible(Rule::ImpossibleSecondaryAhead, Secondary),
        (Less, _) | (Equal, Greater) => impossible(Rule::ImpossibleCounters, Primary),
    }
}

/// What becomes of a decision once the secondary's data was given up.
fn discarding(decision: Decision) -> Decision {
    let from_secondary = matches!(
        decision.action,
        Action::Sync {
            source: SyncSource::Secondary,
            ..
        }
    );
    let map = match decision.rule {
        Rule::ResuidMismatch => return decision,
        Rule::ImpossibleSecondaryAhead | Rule::ImpossibleCounters => MapSent::Full,
        Rule::SplitBrain | Rule::GenerationsDiffer => MapSent::Own,
        _ if from_secondary => MapSent::Own,
        _ => return decision,
    };
    sync(Rule::Discard, SyncSource::Primary, map)
}

const fn sync(rule: Rule, source: SyncSource, map: MapSent) -> Decision {
    let adopt_resuid = matches!(rule, Rule::VirginPair | Rule::NewSecondary);
    Decision {
        rule,
        action: Action::Sync {
            source,
            map,
            adopt_resuid,
        },
    }
}

const fn refuse(rule: Rule) -> Decision {
    Decision {
        rule,
        action: Action::Refuse,
    }
}

fn generations_differ(primary: &Primary, secondary: &Secondary) -> bool {
    matches!((primary.generation, secondary.generation), (Some(p), Some(s)) if p != s)
}

fn only_primary_is_stale(primary: &Primary, secondary: &Secondary) -> bool {
    primary.consistency == Consistency::Inconsistent
        && secondary.consistency == Consistency::Consistent
}

/// What the primary is told about a refusal. Base's texts where base refuses,
/// since its primary compares one of them.
#[must_use]
pub fn errmsg(rule: Rule, primary: &Primary, secondary: &Secondary) -> Cow<'static, str> {
    match rule {
        Rule::SplitBrain | Rule::GenerationsDiffer => SPLIT_BRAIN.into(),
        Rule::ResuidMismatch => format!(
            "{RESUID_MISMATCH} (primary={}, secondary={}).",
            primary.resuid,
            secondary.resuid.map_or(0, ResUid::get),
        )
        .into(),
        Rule::InconsistentSource => INCONSISTENT_SOURCE.into(),
        _ => format!(
            "{IMPOSSIBLE} (primary={},{} secondary={},{}); an operator must choose.",
            primary.counters.local,
            primary.counters.remote,
            secondary.counters.local,
            secondary.counters.remote,
        )
        .into(),
    }
}

/// Why a peer refuses, as far as its text tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Both nodes have data that the other has not.
    SplitBrain,
    /// They belong to different resources, or one was created anew.
    ResuidMismatch,
    /// Their counters cannot have come about; an operator must choose.
    Impossible,
    /// Whose data is newer is itself incomplete; an operator must choose.
    InconsistentSource,
    /// It is primary itself: `wait` in the answer to step 1.
    PeerIsPrimary,
    /// Anything else; the text is for the log.
    Other,
}

impl Refusal {
    /// What the text of step 2 says: [`errmsg`] the other way round.
    #[must_use]
    pub fn from_errmsg(text: &[u8]) -> Self {
        let known = [
            (SPLIT_BRAIN, Self::SplitBrain),
            (RESUID_MISMATCH, Self::ResuidMismatch),
            (IMPOSSIBLE, Self::Impossible),
            (INCONSISTENT_SOURCE, Self::InconsistentSource),
        ];
        let said = known
            .into_iter()
            .find(|(start, _)| text.starts_with(start.as_bytes()));
        said.map_or(Self::Other, |(_, refusal)| refusal)
    }
}

/// How base's text begins.
const RESUID_MISMATCH: &str = "Resource unique ID mismatch";
const IMPOSSIBLE: &str = "Impossible counters";
const INCONSISTENT_SOURCE: &str =
    "The copy to synchronise from is itself incomplete; an operator must choose.";

#[cfg(test)]
mod tests;

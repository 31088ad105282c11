use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

use Consistency::{Consistent, Inconsistent};

fn uid(n: u64) -> ResUid {
    ResUid::new(n).unwrap()
}

fn primary(local: u64, remote: u64) -> Primary {
    Primary {
        virgin: false,
        resuid: uid(7),
        counters: Counters { local, remote },
        generation: None,
        consistency: Consistent,
    }
}

fn secondary(local: u64, remote: u64) -> Secondary {
    Secondary {
        resuid: Some(uid(7)),
        counters: Counters { local, remote },
        generation: None,
        consistency: Consistent,
        discard: false,
    }
}

fn stop(primary: Primary, secondary: Secondary) -> Decision {
    decide(&primary, &secondary, OnImpossible::Stop)
}

fn regular(source: SyncSource) -> Action {
    Action::Sync {
        source,
        map: MapSent::Own,
        adopt_resuid: false,
    }
}

#[test]
fn virgin_pair() {
    let decision = stop(
        Primary {
            virgin: true,
            ..primary(0, 0)
        },
        Secondary {
            resuid: None,
            ..secondary(0, 0)
        },
    );
    assert_eq!(decision.rule.name(), "virgin-pair");
    let action = Action::Sync {
        source: SyncSource::Primary,
        map: MapSent::None,
        adopt_resuid: true,
    };
    assert_eq!(decision.action, action);
}

#[test]
fn new_secondary() {
    let new = Secondary {
        resuid: None,
        ..secondary(0, 0)
    };
    let decision = stop(primary(3, 1), new);
    assert_eq!(decision.rule.name(), "new-secondary");
    let action = Action::Sync {
        source: SyncSource::Primary,
        map: MapSent::Full,
        adopt_resuid: true,
    };
    assert_eq!(decision.action, action);
}

#[test]
fn resuid_mismatch() {
    let other = Secondary {
        resuid: Some(uid(8)),
        ..secondary(0, 0)
    };
    for virgin in [false, true] {
        let primary = Primary {
            virgin,
            ..primary(0, 0)
        };
        let decision = stop(primary, other);
        assert_eq!(decision.rule.name(), "resuid-mismatch");
        assert_eq!(decision.action, Action::Refuse);
        assert_eq!(
            errmsg(decision.rule, &primary, &other),
            "Resource unique ID mismatch (primary=7, secondary=8)."
        );
    }
}

/// Failback: the stale node is made primary while the newer is secondary.
#[test]
fn primary_outdated() {
    let decision = stop(primary(0, 0), secondary(1, 0));
    assert_eq!(decision.rule.name(), "primary-outdated");
    assert_eq!(decision.action, regular(SyncSource::Secondary));
}

#[test]
fn in_sync() {
    for (a, b) in [(0, 0), (1, 0), (0, 1), (5, 9)] {
        let decision = stop(primary(a, b), secondary(b, a));
        assert_eq!(decision.rule.name(), "in-sync");
        assert_eq!(decision.action, regular(SyncSource::Primary));
    }
}

#[test]
fn secondary_outdated() {
    let decision = stop(primary(1, 0), secondary(0, 0));
    assert_eq!(decision.rule.name(), "secondary-outdated");
    assert_eq!(decision.action, regular(SyncSource::Primary));
}

#[test]
fn split_brain() {
    let (primary, secondary) = (primary(1, 0), secondary(1, 0));
    let decision = stop(primary, secondary);
    assert_eq!(decision.rule.name(), "split-brain");
    assert_eq!(decision.action, Action::Refuse);
    let text = errmsg(decision.rule, &primary, &secondary);
    assert_eq!(text, "Split-brain condition!", "base compares it");
}

#[test]
fn impossible_secondary_ahead() {
    let (primary, secondary) = (primary(0, 0), secondary(1, 1));
    let stopped = stop(primary, secondary);
    assert_eq!(stopped.rule.name(), "impossible-secondary-ahead");
    assert_eq!(stopped.action, Action::Refuse);
    assert!(errmsg(stopped.rule, &primary, &secondary).contains("primary=0,0 secondary=1,1"));
    let base = decide(&primary, &secondary, OnImpossible::Base);
    assert_eq!(base.rule, stopped.rule);
    let action = Action::Sync {
        source: SyncSource::Secondary,
        map: MapSent::Full,
        adopt_resuid: false,
    };
    assert_eq!(base.action, action);
}

#[test]
fn impossible_counters() {
    let cases = [
        (primary(1, 1), secondary(0, 0)),
        (primary(0, 1), secondary(0, 0)),
        (primary(0, 1), secondary(0, 1)),
        (primary(0, 0), secondary(0, 1)),
    ];
    for (primary, secondary) in cases {
        let stopped = stop(primary, secondary);
        assert_eq!(stopped.rule.name(), "impossible-counters");
        assert_eq!(stopped.action, Action::Refuse);
        let base = decide(&primary, &secondary, OnImpossible::Base);
        let action = Action::Sync {
            source: SyncSource::Primary,
            map: MapSent::Full,
            adopt_resuid: false,
        };
        assert_eq!((base.rule, base.action), (stopped.rule, action));
    }
}

/// K7: two nodes wrote alone and base's counters do not show it.
#[test]
fn generations_differ() {
    let of = Generation::new;
    let with = |p, s| {
        stop(
            Primary {
                generation: p,
                ..primary(1, 2)
            },
            Secondary {
                generation: s,
                ..secondary(2, 1)
            },
        )
    };
    let decision = with(of(10), of(11));
    assert_eq!(decision.rule.name(), "generations-differ");
    assert_eq!(decision.action, Action::Refuse);
    let text = errmsg(decision.rule, &primary(1, 2), &secondary(2, 1));
    assert_eq!(text, "Split-brain condition!");
    for (p, s) in [(None, of(11)), (of(10), None), (of(10), of(10))] {
        assert_eq!(with(p, s).rule, Rule::InSync, "what base wrote has none");
    }
}

/// K4: writes failed on the primary's own disk and only the peer has them.
#[test]
fn stale_primary() {
    let decision = stop(
        Primary {
            consistency: Inconsistent,
            ..primary(0, 0)
        },
        secondary(0, 0),
    );
    assert_eq!(decision.rule.name(), "stale-primary");
    assert_eq!(decision.action, regular(SyncSource::Secondary));
}

/// K12: a copy that is half of one state and half of another.
#[test]
fn inconsistent_source() {
    let stale = |primary| Primary {
        consistency: Inconsistent,
        ..primary
    };
    let half = |secondary| Secondary {
        consistency: Inconsistent,
        ..secondary
    };
    let virgin = Primary {
        virgin: true,
        ..primary(0, 0)
    };
    let new = Secondary {
        resuid: None,
        ..secondary(0, 0)
    };
    let cases = [
        (stale(virgin), new),
        (stale(primary(0, 0)), new),
        (stale(primary(1, 0)), secondary(0, 0)),
        (stale(primary(0, 0)), half(secondary(0, 0))),
        (primary(0, 0), half(secondary(1, 0))),
    ];
    for (primary, secondary) in cases {
        let decision = stop(primary, secondary);
        assert_eq!(decision.rule.name(), "inconsistent-source");
        assert_eq!(decision.action, Action::Refuse);
    }
    let ahead = decide(&primary(0, 0), &half(secondary(1, 1)), OnImpossible::Base);
    assert_eq!(ahead.rule, Rule::InconsistentSource);
    // The target may be anything.
    let target = stop(primary(1, 0), half(secondary(0, 0)));
    assert_eq!(target.rule, Rule::SecondaryOutdated);
}

/// K61: base resolves a split-brain by copying everything.
#[test]
fn discard() {
    let given_up = |secondary| Secondary {
        discard: true,
        ..secondary
    };
    let decision = stop(primary(1, 0), given_up(secondary(1, 0)));
    assert_eq!(decision.rule.name(), "discard");
    assert_eq!(decision.action, regular(SyncSource::Primary));
    let ahead = stop(primary(0, 0), given_up(secondary(1, 0)));
    assert_eq!(ahead, decision);
    let generations = stop(
        Primary {
            generation: Generation::new(1),
            ..primary(1, 2)
        },
        given_up(Secondary {
            generation: Generation::new(2),
            ..secondary(2, 1)
        }),
    );
    assert_eq!(generations, decision);
    let full = Action::Sync {
        source: SyncSource::Primary,
        map: MapSent::Full,
        adopt_resuid: false,
    };
    for impossible in [secondary(1, 2), secondary(0, 2)] {
        let decision = stop(primary(1, 0), given_up(impossible));
        assert_eq!((decision.rule, decision.action), (Rule::Discard, full));
    }
    // It says nothing where nothing would be lost, and where the resource is
    // another one.
    let outdated = stop(primary(1, 0), given_up(secondary(0, 0)));
    assert_eq!(outdated.rule, Rule::SecondaryOutdated);
    let other = Secondary {
        resuid: Some(uid(8)),
        ..given_up(secondary(1, 0))
    };
    assert_eq!(stop(primary(1, 0), other).rule, Rule::ResuidMismatch);
    // Neither side has everything.
    let stale = Primary {
        consistency: Inconsistent,
        ..primary(1, 0)
    };
    let decision = stop(stale, given_up(secondary(1, 0)));
    assert_eq!(decision.rule, Rule::InconsistentSource);
}

#[test]
fn an_unknown_reason_has_no_empty_text() {
    let (p, s) = (primary(0, 0), secondary(0, 0));
    assert!(
        !errmsg(Rule::InconsistentSource, &p, &s)
            .to_string()
            .is_empty()
    );
}

#[test]
fn a_refusal_is_known_by_its_text() {
    let (p, s) = (primary(0, 0), secondary(0, 0));
    for (rule, refusal) in [
        (Rule::SplitBrain, Refusal::SplitBrain),
        (Rule::GenerationsDiffer, Refusal::SplitBrain),
        (Rule::ResuidMismatch, Refusal::ResuidMismatch),
        (Rule::ImpossibleCounters, Refusal::Impossible),
        (Rule::ImpossibleSecondaryAhead, Refusal::Impossible),
        (Rule::InconsistentSource, Refusal::InconsistentSource),
    ] {
        let text = errmsg(rule, &p, &s);
        assert_eq!(Refusal::from_errmsg(text.as_bytes()), refusal, "{text}");
    }
    assert_eq!(Refusal::from_errmsg(b"No."), Refusal::Other);
}

/// The matrix of spec/hast-disk.md section 6.3: rows SR against PL, columns
/// SL against PR.
fn matrix(sl_pr: core::cmp::Ordering, sr_pl: core::cmp::Ordering) -> (bool, Option<SyncSource>) {
    const P: Option<SyncSource> = Some(SyncSource::Primary);
    const S: Option<SyncSource> = Some(SyncSource::Secondary);
    let rows = [
        [(true, P), (false, P), (false, None)],
        [(true, P), (false, P), (false, S)],
        [(true, P), (true, P), (true, S)],
    ];
    let at = |o| match o {
        Less => 0,
        Equal => 1,
        Greater => 2,
    };
    rows[at(sr_pl)][at(sl_pr)]
}

proptest! {
    /// Without our entries the table is base's, cell by cell, but for asking
    /// where base overwrites.
    #[test]
    fn without_our_entries_the_table_is_that_of_base(
        pl in 0u64..4, pr in 0u64..4, sl in 0u64..4, sr in 0u64..4,
    ) {
        let (primary, secondary) = (primary(pl, pr), secondary(sl, sr));
        let (full, source) = matrix(sl.cmp(&pr), sr.cmp(&pl));
        let base = decide(&primary, &secondary, OnImpossible::Base);
        let expected = source.map_or(Action::Refuse, |source| Action::Sync {
            source,
            map: if full { MapSent::Full } else { MapSent::Own },
            adopt_resuid: false,
        });
        prop_assert_eq!(base.action, expected);
        let ours = stop(primary, secondary);
        prop_assert_eq!(ours.rule, base.rule);
        if full {
            prop_assert_eq!(ours.action, Action::Refuse);
        } else {
            prop_assert_eq!(ours.action, expected);
        }
    }

    /// Whatever is said, an inconsistent component is never copied from, and
    /// of two nodes that wrote alone none is overwritten.
    #[test]
    fn nothing_is_copied_from_a_stale_side(
        counters in prop::array::uniform4(0u64..3),
        virgin in any::<bool>(),
        known in any::<bool>(),
        consistent in prop::array::uniform2(any::<bool>()),
        generations in prop::array::uniform2(prop::option::of(1u64..3)),
        base in any::<bool>(),
        discard in any::<bool>(),
    ) {
        let [pl, pr, sl, sr] = counters;
        let flags: Vec<_> = consistent.iter().map(|c| if *c { Consistent } else { Inconsistent }).collect();
        let primary = Primary {
            virgin,
            consistency: flags[0],
            generation: generations[0].and_then(Generation::new),
            ..primary(pl, pr)
        };
        let secondary = Secondary {
            resuid: known.then(|| uid(7)),
            consistency: flags[1],
            generation: generations[1].and_then(Generation::new),
            discard,
            ..secondary(sl, sr)
        };
        let policy = if base { OnImpossible::Base } else { OnImpossible::Stop };
        let decision = decide(&primary, &secondary, policy);
        if let Action::Sync { source, adopt_resuid, .. } = decision.action {
            let flag = match source {
                SyncSource::Primary => flags[0],
                SyncSource::Secondary => flags[1],
            };
            prop_assert_eq!(flag, Consistent);
            prop_assert_eq!(adopt_resuid, !known);
            prop_assert!(discard || !(known && sl > pr && sr < pl));
            let copied_from = known && source == SyncSource::Secondary;
            prop_assert!(!(discard && copied_from), "it was given up");
        } else {
            prop_assert!(!errmsg(decision.rule, &primary, &secondary).is_empty());
        }
    }
}

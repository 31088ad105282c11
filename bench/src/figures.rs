//! Figures that are no pattern of fio's, by round, and what they are to reach.

use crate::stats::Spread;
use std::fmt;

/// A figure, by round.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<f64>,
}

/// The figures of a group, in the order in which they first came.
#[derive(Default, Debug)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    /// What a figure is in one more round.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.rounds.push(value),
            None => self.0.push(Figure {
                name: name.into(),
                unit,
                rounds: vec![value],
            }),
        }
    }

    fn rounds(&self, name: &str) -> &[f64] {
        let figure = self.0.iter().find(|figure| figure.name == name);
        &figure.expect("a goal names figures of its group").rounds
    }

    /// Where they are of a goal.
    pub(crate) fn standing(&self, goal: &Goal) -> Spread {
        let rounds = self.rounds(goal.figure);
        match goal.by {
            Some(by) => Spread::of_ratio(rounds, self.rounds(by)),
            None => Spread::of(rounds),
        }
    }
}

/// What a figure, or one by another, is to reach.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) figure: &'static str,
    pub(crate) by: Option<&'static str>,
    pub(crate) bound: Bound,
}

/// A target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Least(f64),
    Most(f64),
}

impl Bound {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::Least(least) => value >= least,
            Self::Most(most) => value <= most,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Least(least) => write!(f, ">= {least:.2}"),
            Self::Most(most) => write!(f, "<= {most:.2}"),
        }
    }
}

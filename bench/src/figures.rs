//! Figures that are no pattern of fio's, by round, and what they are to reach.

use crate::process::Used;
use crate::rows::Row;
use crate::sample::Sample;
use crate::stats::{Latency, Spread};
use std::fmt;

/// A figure, by round.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) rounds: Vec<f64>,
    /// What it took; as many as there are rounds, or none.
    pub(crate) costs: Vec<Cost>,
}

/// What a throughput takes.
#[derive(Debug)]
pub(crate) struct Cost {
    /// Where there are requests that somebody waits for.
    pub(crate) latency: Option<Latency>,
    /// Processor time per 100,000 requests, or per GiB of MB/s, and peaks;
    /// where there are daemons.
    pub(crate) used: Option<Used>,
}

/// The figures of a group, in the order in which they first came.
#[derive(Default, Debug)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    /// What a figure is in one more round.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        self.figure(name, unit).rounds.push(value);
    }

    /// The same, and what it took.
    pub(crate) fn add_throughput(
        &mut self,
        name: &str,
        unit: &'static str,
        value: f64,
        cost: Cost,
    ) {
        let figure = self.figure(name, unit);
        figure.rounds.push(value);
        figure.costs.push(cost);
    }

    /// The same of a row that fio has run.
    pub(crate) fn add_sample(&mut self, name: &str, row: &Row, sample: &Sample) {
        let unit = if row.is_sequential() {
            "MB/s"
        } else {
            "requests/s"
        };
        let used = Used {
            cpu: sample.cost(row),
            peaks: sample.used.peaks.clone(),
        };
        let cost = Cost {
            latency: Some(sample.fio.latency),
            used: Some(used),
        };
        self.add_throughput(name, unit, sample.throughput(row), cost);
    }

    fn figure(&mut self, name: &str, unit: &'static str) -> &mut Figure {
        let known = self.0.iter().position(|figure| figure.name == name);
        let index = known.unwrap_or_else(|| {
            self.0.push(Figure {
                name: name.into(),
                unit,
                rounds: Vec::new(),
                costs: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[index]
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

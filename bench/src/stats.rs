//! What is told of many values.

use std::time::Duration;

/// The middle one; the lower of two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// How long requests take, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    /// What 99 percent stay below.
    pub(crate) p99: f64,
}

impl Latency {
    /// Of requests that took these times; there must be one.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let sum: f64 = times.iter().map(Duration::as_secs_f64).sum();
        let count: f64 = times.iter().map(|_| 1.0).sum();
        Self {
            mean: sum / count * 1e6,
            p99: times[(times.len() - 1) * 99 / 100].as_secs_f64() * 1e6,
        }
    }
}

/// A value by round, in short.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        Self {
            median: median(values.iter().copied()),
            lowest: values.iter().copied().fold(f64::MAX, f64::min),
            highest: values.iter().copied().fold(f64::MIN, f64::max),
        }
    }

    /// One value by another: of the medians, and the lowest and highest of one
    /// round.
    pub(crate) fn of_ratio(values: &[f64], by: &[f64]) -> Self {
        let rounds = values.iter().zip(by);
        let each: Vec<f64> = rounds.map(|(value, by)| value / by).collect();
        Self {
            median: median(values.iter().copied()) / median(by.iter().copied()),
            ..Self::of(&each)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_one_of_medians_and_its_spread_one_of_rounds() {
        let spread = Spread::of_ratio(&[2.0, 9.0, 4.0], &[1.0, 3.0, 8.0]);
        let expected = Spread {
            median: 4.0 / 3.0,
            lowest: 0.5,
            highest: 3.0,
        };
        assert_eq!(spread, expected);
    }

    #[test]
    fn one_in_a_hundred_may_take_longer() {
        let mut times = vec![Duration::from_micros(5); 99];
        times.insert(40, Duration::from_micros(505));
        let latency = Latency::of(times);
        assert!((latency.p99 - 5.0).abs() < 1e-6, "{latency:?}");
        assert!((latency.mean - 10.0).abs() < 1e-6, "{latency:?}");
    }
}

//! What is told of many values.

use std::time::Duration;

/// The middle one; the lower of two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// What 99 percent stay below, in microseconds.
pub(crate) fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * 99 / 100].as_secs_f64() * 1e6
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
        times.insert(40, Duration::from_secs(1));
        assert!((p99(times) - 5.0).abs() < 1e-6);
    }
}

//! Latencies as a histogram of three significant digits, and the percentiles that are reported of it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is distinguished from longer ones: above every patience.
const MAX_US: u64 = 10 * 60 * 1_000_000;
const DIGITS: u8 = 3;

pub struct Latencies(Histogram<u32>);

/// Milliseconds, with three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(MAX_US, DIGITS).expect("the bounds are sound"))
    }
}

impl Latencies {
    pub fn of(micros: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Self::default();
        micros.into_iter().for_each(|one| all.add(one));
        all
    }

    pub fn add(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// `None`: there is nothing to measure.
    pub fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        Some(Percentiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(self.0.max()),
        })
    }
}

#[allow(clippy::cast_precision_loss)]
pub fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_measured() {
        assert_eq!(Latencies::default().percentiles(), None);
        let all = Latencies::of((1..=1_000).map(|ms| ms * 1_000)).percentiles().expect("not empty");
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 500.0;
        assert!(near(all.p50_ms, 500.0) && near(all.p99_ms, 990.0) && near(all.max_ms, 1_000.0), "{all:?}");
    }
}

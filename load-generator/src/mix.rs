//! What the load consists of: kinds of requests and their shares, and spans of time as a person writes them.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Creates,
    Deposits,
    Withdrawals,
    Transfers,
    Reads,
}

pub const KINDS: [Kind; 5] = [Kind::Creates, Kind::Deposits, Kind::Withdrawals, Kind::Transfers, Kind::Reads];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Creates => "creates",
            Kind::Deposits => "deposits",
            Kind::Withdrawals => "withdrawals",
            Kind::Transfers => "transfers",
            Kind::Reads => "reads",
        }
    }
}

/// Relative weights of the kinds, as `deposits:40,reads:20`; what is not named does not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix([u32; KINDS.len()]);

impl Mix {
    pub fn has(&self, kind: Kind) -> bool {
        KINDS.iter().zip(self.0).any(|(one, weight)| *one == kind && weight > 0)
    }

    pub fn draw(&self, dice: &mut fastrand::Rng) -> Kind {
        let mut left = dice.u32(0..self.0.iter().sum());
        for (kind, weight) in KINDS.into_iter().zip(self.0) {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

/// More than any share needs; the sum of all stays far from overflow.
const WEIGHT_MAX: u32 = 1_000_000;

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = [0; KINDS.len()];
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, weight) = part.split_once(':').ok_or_else(|| format!("{part:?} is not kind:weight"))?;
            let position = KINDS
                .iter()
                .position(|kind| kind.name() == name)
                .ok_or_else(|| format!("there is no kind {name:?}; there are {}", KINDS.map(Kind::name).join(", ")))?;
            let weight = weight.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
            weights[position] = weight.ok_or_else(|| format!("{part:?}: a weight is 0 to {WEIGHT_MAX}"))?;
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err("no kind has a weight".to_owned());
        }
        Ok(Self(weights))
    }
}

/// `250ms`, `30s`, `2m`, or a plain number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        unit => return Err(format!("{unit:?} is no unit: ms, s, m, h")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is no span of time, such as 250ms, 30s, 2m"))?;
    Duration::try_from_secs_f64(number * unit_ms / 1_000.0).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_drawn_by_their_weights_and_others_never() {
        let mix: Mix = "deposits:3,reads:1".parse().expect("sound");
        let mut dice = fastrand::Rng::with_seed(7);
        let drawn: Vec<Kind> = (0..4_000).map(|_| mix.draw(&mut dice)).collect();
        let count = |kind| drawn.iter().filter(|one| **one == kind).count();
        assert!((2_800..3_200).contains(&count(Kind::Deposits)));
        assert_eq!(count(Kind::Deposits) + count(Kind::Reads), 4_000);
    }

    #[test]
    fn what_is_wrong_with_a_mix_is_said() {
        for (text, words) in [("", "no kind"), ("reads", "kind:weight"), ("rads:1", "no kind"), ("reads:x", "a weight")]
        {
            let error = text.parse::<Mix>().expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn spans_of_time_are_read_with_and_without_a_unit() {
        for (text, ms) in [("250ms", 250), ("2", 2_000), ("1.5s", 1_500), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        assert!(duration("s").is_err() && duration("3 days").is_err() && duration("-1s").is_err());
    }
}

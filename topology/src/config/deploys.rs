//! In which order cells, or routers, get a new version: the canary alone, then growing shares of the others.

use serde::{Deserialize, Serialize};

use crate::ids::CellId;

/// Most waves after the canary's.
pub const MAX_SHARES: usize = 10;
/// Longest bake after a wave, in seconds: a day.
pub const MAX_BAKE_SECONDS: u64 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deploys {
    /// The cell that gets every version first. Default: the first one listed.
    pub canary: Option<CellId>,
    /// How many percent of all cells, or of all routers, rounded up, run the new version by the end of each wave after the canary's. Rising,
    /// and 100 at last.
    pub shares: Vec<u8>,
    /// Seconds for which each wave is watched before the next one begins.
    pub bake_seconds: u64,
}

impl Default for Deploys {
    fn default() -> Self {
        Self { canary: None, shares: vec![20, 50, 100], bake_seconds: 600 }
    }
}

impl Deploys {
    /// The waves for `parts`, in this order but for the one of the canary's name, or else the first, which comes first.
    /// What is in a wave gets a new version one after the other; the next wave waits until this one has baked. Shares that
    /// would add nothing make no wave, so each wave has at least one part.
    pub fn waves<P>(&self, mut parts: Vec<P>, name: impl Fn(&P) -> &str) -> Vec<Vec<P>> {
        let count = parts.len();
        if let Some(at) = parts.iter().position(|part| self.canary.as_ref().is_some_and(|it| it.as_str() == name(part)))
        {
            parts[..=at].rotate_right(1);
        }
        let mut rest = parts.into_iter();
        let mut waves: Vec<Vec<P>> = rest.next().map(|canary| vec![canary]).into_iter().collect();
        for share in &self.shares {
            let by_then = (count * usize::from(*share)).div_ceil(100);
            let done = count - rest.len();
            if by_then > done {
                waves.push(rest.by_ref().take(by_then - done).collect());
            }
        }
        waves
    }

    /// The first rule that is broken, and by what.
    pub(super) fn broken<'a>(&self, mut cells: impl Iterator<Item = &'a CellId>) -> Option<String> {
        if let Some(canary) = &self.canary
            && !cells.any(|cell| cell == canary)
        {
            return Some(format!("deploys.canary names {canary}, which is not among the [[cells]]"));
        }
        if self.shares.len() > MAX_SHARES {
            return Some(format!("deploys.shares has {} waves; at most {MAX_SHARES}", self.shares.len()));
        }
        let rising = self.shares.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || self.shares.first() == Some(&0) || self.shares.last() != Some(&100) {
            return Some("deploys.shares are percentages that rise to 100".into());
        }
        (self.bake_seconds > MAX_BAKE_SECONDS)
            .then(|| format!("deploys.bake_seconds is {}; at most {MAX_BAKE_SECONDS}", self.bake_seconds))
    }
}

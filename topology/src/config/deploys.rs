//! In which order cells get a new version: the canary cell alone, then growing shares of the others.

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
    /// How many percent of all cells, rounded up, run the new version by the end of each wave after the canary's. Rising,
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

/// Cells that get a new version together, one after the other; the next wave waits until this one has baked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub cells: Vec<CellId>,
}

impl Deploys {
    /// The waves for `cells`, in this order but for the canary, which comes first. Shares that would add no cell make no
    /// wave, so each wave has at least one.
    pub fn waves(&self, cells: &[CellId]) -> Vec<Wave> {
        let canary = self.canary.as_ref().filter(|canary| cells.contains(canary)).or(cells.first());
        let others: Vec<&CellId> = cells.iter().filter(|cell| Some(*cell) != canary).collect();
        let mut waves: Vec<Wave> = canary.into_iter().map(|canary| Wave { cells: vec![canary.clone()] }).collect();
        let mut done = 0;
        for share in &self.shares {
            let by_then = (cells.len() * usize::from(*share)).div_ceil(100).saturating_sub(1).min(others.len());
            if by_then > done {
                waves.push(Wave { cells: others[done..by_then].iter().map(|cell| (*cell).clone()).collect() });
                done = by_then;
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

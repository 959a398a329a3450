//! What a deploy may ask for at most; checked before any work is done.

use control_api::{
    DEFAULT_BASELINE_SECONDS, DEFAULT_RISE_PERCENT, DEFAULT_SLOWER_BY_MS, DeployLimits, Refusal, StartDeploy,
};
use topology::config::Deploys;
use topology::config::deploys::MAX_BAKE_SECONDS;

use crate::error::{Result, refused};

/// A rise below this takes more requests than most cells ever see.
const RISE_MIN_PERCENT: f64 = 0.01;
const RISE_MAX_PERCENT: f64 = 50.0;
const SLOWER_MAX_MS: u64 = 60_000;
/// So many times the bake is waited for requests to judge by, unless the request says otherwise.
const WAIT_TIMES: u64 = 2;

/// What the request says, and for the rest what the deployment's file does.
pub fn of(wanted: &StartDeploy, configured: &Deploys) -> Result<DeployLimits> {
    let bake_seconds = wanted.bake_seconds.unwrap_or(configured.bake_seconds);
    let limits = DeployLimits {
        baseline_seconds: wanted.baseline_seconds.unwrap_or(DEFAULT_BASELINE_SECONDS.min(bake_seconds)),
        bake_seconds,
        wait_seconds: wanted.wait_seconds.unwrap_or(bake_seconds.saturating_mul(WAIT_TIMES).min(MAX_BAKE_SECONDS)),
        rise_percent: wanted.rise_percent.unwrap_or(DEFAULT_RISE_PERCENT),
        slower_by_ms: wanted.slower_by_ms.unwrap_or(DEFAULT_SLOWER_BY_MS),
    };
    let bad = |detail: String| Err(refused(Refusal::BadLimit, detail));
    let longest = limits.baseline_seconds.max(limits.bake_seconds).max(limits.wait_seconds);
    if longest > MAX_BAKE_SECONDS {
        return bad(format!("baselineSeconds, bakeSeconds and waitSeconds are at most {MAX_BAKE_SECONDS}"));
    }
    if !(RISE_MIN_PERCENT..=RISE_MAX_PERCENT).contains(&limits.rise_percent) {
        return bad(format!("risePercent is {RISE_MIN_PERCENT} to {RISE_MAX_PERCENT}"));
    }
    if limits.slower_by_ms > SLOWER_MAX_MS {
        return bad(format!("slowerByMs is at most {SLOWER_MAX_MS}"));
    }
    Ok(limits)
}

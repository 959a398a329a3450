//! What a request may ask for at most; checked before any work is done.

use control_api::{Because, Limits, Refusal, StartOperation};

use crate::error::{Result, refused};

/// Wallets of one operation moved at once.
pub const CONCURRENT_MAX: usize = 256;
/// Below this an operation would never end.
pub const BYTES_PER_SEC_MIN: u64 = 1_024;
pub const BAKE_SECONDS_MAX: u64 = 30 * 24 * 3_600;
/// Longest name of an actor, in bytes.
pub const ACTOR_MAX_BYTES: usize = 128;
/// Longest reason, in bytes.
pub const REASON_MAX_BYTES: usize = 1_024;
/// What `ctl` sends when no reason was given.
pub const NO_REASON: &str = "not given";

pub fn check(wanted: &StartOperation) -> Result<()> {
    check_because(&wanted.because)?;
    let Limits { max_concurrent, max_bytes_per_sec, bake_seconds } = wanted.limits;
    let bad = |detail: String| Err(refused(Refusal::BadLimit, detail));
    if !(1..=CONCURRENT_MAX).contains(&max_concurrent) {
        return bad(format!("maxConcurrent is 1 to {CONCURRENT_MAX}, not {max_concurrent}"));
    }
    if max_bytes_per_sec.is_some_and(|bytes| bytes < BYTES_PER_SEC_MIN) {
        return bad(format!("maxBytesPerSec is at least {BYTES_PER_SEC_MIN}"));
    }
    if bake_seconds > BAKE_SECONDS_MAX {
        return bad(format!("bakeSeconds is at most {BAKE_SECONDS_MAX}"));
    }
    Ok(())
}

pub fn check_because(because: &Because) -> Result<()> {
    let sound = |text: &str, most: usize| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    if sound(&because.actor, ACTOR_MAX_BYTES) && sound(&because.reason, REASON_MAX_BYTES) {
        return Ok(());
    }
    let detail = format!("1 to {ACTOR_MAX_BYTES} and 1 to {REASON_MAX_BYTES} bytes without control characters");
    Err(refused(Refusal::BadBecause, detail))
}

/// What overrides a safety rail says why.
pub fn check_meant(because: &Because) -> Result<()> {
    check_because(because)?;
    match because.reason.trim() {
        "" | NO_REASON => {
            let todo = "what overrides a safety rail needs a reason: --reason";
            Err(refused(Refusal::ReasonNeeded, todo))
        }
        _ => Ok(()),
    }
}

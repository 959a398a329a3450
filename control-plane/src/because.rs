//! What every change is given: its actor and its reason, which are kept for ever.

use control_api::{Because, Refusal};

use crate::error::{Result, refused};

/// Longest name of an actor, in bytes.
pub const ACTOR_MAX_BYTES: usize = 128;
/// Longest reason, in bytes.
pub const REASON_MAX_BYTES: usize = 1_024;
/// What `ctl` sends when no reason was given.
pub const NO_REASON: &str = "not given";

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

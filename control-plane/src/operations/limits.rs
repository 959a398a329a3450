//! What a request may ask for at most; checked before any work is done.

use control_api::{Limits, Refusal, StartOperation};

use crate::because::check_because;
use crate::error::{Result, refused};

/// Wallets of one operation moved at once.
pub const CONCURRENT_MAX: usize = 256;
/// Below this an operation would never end.
pub const BYTES_PER_SEC_MIN: u64 = 1_024;
pub const BAKE_SECONDS_MAX: u64 = 30 * 24 * 3_600;

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

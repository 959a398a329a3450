//! The time that tokens and placements speak of. Everything that is measured uses the monotonic clock instead.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
#[allow(clippy::disallowed_methods)] // The edge of the process.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

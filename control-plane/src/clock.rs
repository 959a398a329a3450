//! The wall clock, for what people and other processes read. No lease depends on it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Result};

/// Seconds since 1970.
pub fn now_s() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).expect("the clock is after 1970")
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1_000 + i64::from(now.millisecond())
}

/// Whole seconds from `then` until now.
pub fn seconds_since(then: &str) -> Result<i64> {
    let then = OffsetDateTime::parse(then, &Rfc3339)
        .map_err(|error| Error::Unsound(format!("a stored time {then:?}: {error}")))?;
    Ok((OffsetDateTime::now_utc() - then).whole_seconds())
}

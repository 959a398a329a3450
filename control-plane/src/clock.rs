//! The wall clock, for what people and other processes read, and the time by which blocks are dated and deleted. No lease
//! depends on it.

use ledger::Timestamp;
use mover::wall_clock;
use store::dynamodb::DynamoStore;
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

/// The time for what is dated in a cell's tables, or deleted from them for its age: that of this machine, as far as the
/// cell's database agrees. With a clock that is wrong, what is deleted could be too young ([`ledger::fence`]).
pub fn beside(store: &DynamoStore) -> impl Fn() -> Timestamp + Send + Sync + use<> {
    let database = store.clock();
    move || database.corrected(wall_clock())
}

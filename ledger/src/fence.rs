//! The fence in time that makes it safe to delete blocks below a tombstone without asking any process.
//!
//! A process decides a write on a head that it has confirmed, and may send that write late: it was
//! stopped, it waited in a back-off, its host was suspended. [`HEAD_LIFETIME`] bounds the time from
//! the confirmation to the signature, and DynamoDB refuses a request with a signature older than
//! [`SIGNATURE_LIFETIME`]. So [`PURGE_AFTER`] a wallet has left, no write that was decided before
//! it left can still land.

use std::time::Duration;

/// How long after its confirmation a head may be used for a write, measured on a monotonic clock when the request is
/// signed. Then the head is read again.
pub const HEAD_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How long AWS accepts a signed request: 5 minutes for DynamoDB, 15 for some services (Signature Version 4). The
/// longer one counts.
pub const SIGNATURE_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How far the clock of a process may differ from the time of its database; beyond that it does not write.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// How old a tombstone has to be before blocks below it may be deleted. Two clocks take part: the one that dated the
/// tombstone and the one that is read now.
pub const PURGE_AFTER: Duration =
    HEAD_LIFETIME.saturating_add(SIGNATURE_LIFETIME).saturating_add(CLOCK_SKEW_MAX.saturating_mul(2));

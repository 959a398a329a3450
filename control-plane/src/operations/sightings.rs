//! Whether another process still works on something, as this process has watched it. No clocks are compared: a lease has
//! ended when its row was watched unchanged for [`LEASE`], by the watcher's own monotonic clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::record::Lease;

/// After this long without a sign of life another worker may take over.
pub const LEASE: Duration = Duration::from_secs(3);
/// Rows watched at a time; what is dropped is watched from the beginning again.
const WATCHED_MAX: usize = 256;

/// By number: the version seen last, and since when.
#[derive(Default)]
pub struct Sightings(Mutex<HashMap<u64, (u64, Instant)>>);

impl Sightings {
    /// Whether the row with this number is another process's than `me`.
    pub fn is_anothers(&self, me: Uuid, number: u64, version: u64, lease: Option<Lease>) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.is_none_or(|lease| lease.owner == me) {
            seen.remove(&number);
            return false;
        }
        if seen.len() >= WATCHED_MAX && !seen.contains_key(&number) {
            seen.clear();
        }
        let (watched, since) = seen.entry(number).or_insert_with(|| (version, Instant::now()));
        if *watched != version {
            (*watched, *since) = (version, Instant::now());
        }
        since.elapsed() < LEASE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_after_it_was_watched_unchanged() {
        let (me, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sightings = Sightings::default();
        let is_anothers = |owner, version| {
            let lease = Lease { owner, until_ms: 0 };
            sightings.is_anothers(me, 7, version, Some(lease))
        };
        assert!(is_anothers(other, 1), "whatever its time says");
        tokio::time::advance(LEASE / 2).await;
        assert!(is_anothers(other, 2), "renewed");
        tokio::time::advance(LEASE / 2).await;
        assert!(is_anothers(other, 2));
        tokio::time::advance(LEASE / 2).await;
        assert!(!is_anothers(other, 2), "unchanged for a whole lease");
        assert!(!is_anothers(me, 3), "its own");
        assert!(is_anothers(other, 4), "watched from the beginning again");
        assert!(!sightings.is_anothers(me, 7, 4, None), "given up");
    }
}

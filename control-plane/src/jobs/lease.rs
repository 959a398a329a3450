//! Which worker carries on with a job. A lease saves two of them from doing the same; nothing depends on it.
//!
//! No clocks are compared: a lease has ended when its row was watched unchanged for [`LEASE`], by the watcher's own
//! monotonic clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use control_api::now_rfc3339;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::table::Table;
use super::{Job, Key};
use crate::clock::now_ms;
use crate::error::Result;

/// After this long without a sign of life another worker may take over.
pub const LEASE: Duration = Duration::from_secs(3);
/// Rows watched at a time; what is dropped is watched from the beginning again.
const WATCHED_MAX: usize = 256;

/// The worker that carries on with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub owner: Uuid,
    /// When it expects to have renewed the lease, for people; milliseconds since 1970.
    pub until_ms: i64,
}

/// A worker as its leases name it, and what it has watched of those of others.
pub struct Holder {
    me: Uuid,
    /// By number: the version seen last, and since when.
    watched: Mutex<HashMap<u64, (u64, Instant)>>,
}

impl Default for Holder {
    fn default() -> Self {
        Self { me: Uuid::new_v4(), watched: Mutex::default() }
    }
}

impl Holder {
    /// The job as it is stored now; `None`: there is none, or another worker carries on with it.
    pub async fn mine<J: Job>(&self, table: &Table<J>, number: u64) -> Result<Option<J>> {
        Ok(table.get(number).await?.filter(|job| !self.is_anothers(job)))
    }

    /// Whether another worker carries on with the job.
    pub fn is_anothers<J: Job>(&self, job: &J) -> bool {
        self.sees_another(job.key(), job.lease())
    }

    fn sees_another(&self, Key { number, version }: Key, lease: Option<Lease>) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.is_none_or(|lease| lease.owner == self.me) {
            watched.remove(&number);
            return false;
        }
        if watched.len() >= WATCHED_MAX && !watched.contains_key(&number) {
            watched.clear();
        }
        let (seen, since) = watched.entry(number).or_insert_with(|| (version, Instant::now()));
        if *seen != version {
            (*seen, *since) = (version, Instant::now());
        }
        since.elapsed() < LEASE
    }

    /// The job with a lease of this worker's, to be stored.
    pub fn leased<J: Job>(&self, job: J) -> J {
        let until_ms = now_ms() + i64::try_from(LEASE.as_millis()).expect("seconds");
        job.leased(Lease { owner: self.me, until_ms }, now_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_after_it_was_watched_unchanged() {
        let (one, other) = (Holder::default(), Uuid::from_u128(2));
        let is_anothers = |owner, version| {
            let lease = Lease { owner, until_ms: 0 };
            one.sees_another(Key { number: 7, version }, Some(lease))
        };
        assert!(is_anothers(other, 1), "whatever its time says");
        tokio::time::advance(LEASE / 2).await;
        assert!(is_anothers(other, 2), "renewed");
        tokio::time::advance(LEASE / 2).await;
        assert!(is_anothers(other, 2));
        tokio::time::advance(LEASE / 2).await;
        assert!(!is_anothers(other, 2), "unchanged for a whole lease");
        assert!(!is_anothers(one.me, 3), "its own");
        assert!(is_anothers(other, 4), "watched from the beginning again");
        assert!(!one.sees_another(Key { number: 7, version: 4 }, None), "given up");
    }
}

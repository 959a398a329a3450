//! Work that a cell does by itself, by one of its instances at a time. A row holds which instance does it and how far it
//! is, so that another goes on when that one dies. The row's version fences: an instance that was too slow finds that it
//! has lost the job.
//!
//! An owner keeps its job as long as its row changes. No clocks are compared: another instance takes a job over after
//! it has watched the row unchanged for [`LEASE`].

use std::time::Duration;

use ledger::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{CellRow, Store, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;

/// How long an instance keeps a job without a change of its row, as another one watches it.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often the instance that does a job renews its row, at most.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often a job's row is looked at.
const MIN_POLL: Duration = Duration::from_millis(200);
const MAX_POLL: Duration = Duration::from_secs(30);

const JOBS: &str = "jobs";

#[derive(Debug, Serialize, Deserialize)]
struct Row<P> {
    /// Of one process: another one of the same name is not it.
    owner: String,
    /// Zero once the owner has given the job up; else when it expected to have renewed the row, for people.
    until_micros: i64,
    progress: P,
}

/// What one instance has seen of a job's row over time, by its own monotonic clock.
#[derive(Debug)]
pub struct Watch {
    lease: Duration,
    seen: Option<(u64, Instant)>,
}

impl Default for Watch {
    fn default() -> Self {
        Self::with_lease(LEASE)
    }
}

impl Watch {
    /// Of a job that is taken over after so long without a change of its row.
    pub fn with_lease(lease: Duration) -> Self {
        Self { lease, seen: None }
    }

    /// Whether the row has had this version for as long as the lease.
    fn is_abandoned(&mut self, version: u64) -> bool {
        match self.seen {
            Some((seen, since)) if seen == version => since.elapsed() >= self.lease,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }
}

/// A job as its row describes it.
pub struct JobRow<S, P> {
    store: S,
    clock: Clock,
    name: &'static str,
    /// Absent until the job was done for the first time.
    version: Option<u64>,
    taken_by: Option<String>,
    pub progress: P,
}

/// The job is this process's, as far as it knows.
pub struct Lease<S, P> {
    store: S,
    clock: Clock,
    name: &'static str,
    owner: String,
    version: u64,
    renewed: Timestamp,
    pub progress: P,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub async fn look<S: Store, P: DeserializeOwned + Default>(
    store: &S,
    clock: &Clock,
    name: &'static str,
    watch: &mut Watch,
) -> Result<JobRow<S, P>, StoreError> {
    let row = store.cell_row(JOBS, name).await?;
    let version = row.as_ref().map(|row| row.version);
    let is_abandoned = version.is_some_and(|version| watch.is_abandoned(version));
    // A row that cannot be read is replaced: it holds nothing but the progress of an instance.
    let read = row.and_then(|row| serde_json::from_slice::<Row<P>>(&row.bytes).ok());
    let (taken_by, progress) = match read {
        Some(row) => ((row.until_micros != 0 && !is_abandoned).then_some(row.owner), row.progress),
        None => (None, P::default()),
    };
    Ok(JobRow { store: store.clone(), clock: clock.clone(), name, version, taken_by, progress })
}

impl<S: Store, P: Serialize> JobRow<S, P> {
    /// `None`: it is another instance's.
    pub async fn take(self, owner: &str) -> Result<Option<Lease<S, P>>, StoreError> {
        if self.taken_by.is_some_and(|other| other != owner) {
            return Ok(None);
        }
        let JobRow { store, clock, name, version, progress, .. } = self;
        let renewed = clock.now();
        let mut lease =
            Lease { store, clock, name, owner: owner.to_owned(), version: version.unwrap_or(0), renewed, progress };
        Ok(lease.write(version, LEASE).await?.then_some(lease))
    }
}

impl<S: Store, P: Serialize> Lease<S, P> {
    /// Says how far the job is. `false`: it is not this process's any more.
    pub async fn save(&mut self) -> Result<bool, StoreError> {
        self.write(Some(self.version), LEASE).await
    }

    /// The same, if it was not said just now.
    pub async fn keep(&mut self) -> Result<bool, StoreError> {
        if self.clock.now().micros().saturating_sub(self.renewed.micros()) < micros(RENEW_EVERY) {
            return Ok(true);
        }
        self.save().await
    }

    /// Says how far it is and gives it up.
    pub async fn end(mut self) -> Result<bool, StoreError> {
        self.write(Some(self.version), Duration::ZERO).await
    }

    async fn write(&mut self, expected: Option<u64>, lease: Duration) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let until_micros = if lease.is_zero() { 0 } else { now.plus_micros(micros(lease)).micros() };
        let row = Row { owner: self.owner.clone(), until_micros, progress: &self.progress };
        let bytes = serde_json::to_vec(&row).expect("progress is plain data");
        let version = expected.unwrap_or(0) + 1;
        let written = self.store.put_cell_row(JOBS, self.name, expected, &CellRow { version, bytes }).await?;
        if written {
            (self.version, self.renewed) = (version, now);
        }
        Ok(written)
    }
}

/// How often a job that is to be done every so often is looked at.
pub fn poll(every: Duration) -> Duration {
    (every / 4).clamp(MIN_POLL, MAX_POLL)
}

/// Waits; `false` if it is time to stop.
pub async fn pause(duration: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = crate::stop::stopped(stop) => false,
        () = sleep(duration) => true,
    }
}

/// How soon what was last done at `last` is to be done again.
pub fn due_in(last: Option<i64>, every: Duration, now: Timestamp) -> Duration {
    let since = last.map(|last| now.micros().saturating_sub(last));
    since.map_or(Duration::ZERO, |since| every.saturating_sub(Duration::from_micros(u64::try_from(since).unwrap_or(0))))
}

/// Whether it is to be done now.
pub fn is_due(last: Option<i64>, every: Duration, now: Timestamp) -> bool {
    due_in(last, every, now).is_zero()
}

#[cfg(test)]
mod tests {
    use store::Genesis;
    use store::memory::MemoryStore;
    use tokio::time::advance;

    use super::*;

    const HOUR_MICROS: i64 = 3_600_000_000;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_taken_over_after_it_was_watched_unchanged() {
        let store = MemoryStore::new(Genesis::of([]));
        let clock = |ahead| Clock::new(1, move || Timestamp::from_micros(1_760_000_000_000_000 + ahead));
        let (right, ahead) = (clock(0), clock(HOUR_MICROS));
        let (mut of_first, mut of_second) = (Watch::default(), Watch::default());
        let first = look::<_, u32>(&store, &right, "job", &mut of_first).await.expect("it answers");
        let mut first = first.take("first").await.expect("it answers").expect("it is free");

        let mut tries = async |clock: &Clock| {
            let seen = look::<_, u32>(&store, clock, "job", &mut of_second).await.expect("it answers");
            seen.take("second").await.expect("it answers")
        };
        assert!(tries(&ahead).await.is_none(), "a clock that is an hour ahead ends no lease");
        advance(LEASE / 2).await;
        assert!(first.save().await.expect("it answers"), "renewed");
        assert!(tries(&ahead).await.is_none(), "watched from its last change on");
        advance(LEASE - Duration::from_millis(1)).await;
        assert!(tries(&right).await.is_none());
        advance(Duration::from_millis(1)).await;
        let second = tries(&right).await.expect("unchanged for a whole lease");
        assert!(!first.save().await.expect("it answers"), "the first one has lost it");
        assert!(second.end().await.expect("it answers"));
    }
}

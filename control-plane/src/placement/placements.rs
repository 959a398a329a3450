//! The placement: read from the store, kept in memory for readers, changed by compare-and-set.
//!
//! Memory is only a copy: no change is decided against it without the store's condition having the last word, so any
//! number of control planes may run at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ConditionCheck;
use control_api::{Because, Refusal};
use tokio::sync::{Mutex, Notify, watch};
use topology::placement::{BucketRun, Pin};
use topology::{AvoidedZone, CellEntry, Placement, PlacementUpdate};

use crate::dynamo::TableShape;
use crate::error::{Result, refused};
use crate::placement::log;

/// A router that is at most this many versions behind is sent what changed; others the whole placement.
pub const DELTAS_KEPT: usize = 64;
/// While a request waits: a change made by another control plane is seen after this long.
const POLL_AWAITED: Duration = Duration::from_millis(150);
/// While no caller waits.
const POLL_IDLE: Duration = Duration::from_secs(2);
/// How often a change is decided again because another one got its version.
const CHANGE_ATTEMPTS_MAX: u32 = 64;
const BACKOFF_MAX_MS: u64 = 40;

/// The newest placement known here, and how it came about.
pub struct Published {
    pub placement: Placement,
    recent: VecDeque<PlacementUpdate>,
}

/// What a change does to the placement; the lists of cells and of avoided zones are given whole or not at all.
#[derive(Default)]
pub struct Delta {
    pub cells: Option<Vec<CellEntry>>,
    pub buckets: Vec<BucketRun>,
    pub pins: Vec<Pin>,
    pub avoided: Option<Vec<AvoidedZone>>,
    pub intended: bool,
}

pub struct Placements {
    log: log::Log,
    current: watch::Sender<Option<Arc<Published>>>,
    refreshing: Mutex<()>,
    waiting: AtomicUsize,
    somebody_waits: Notify,
    closing: watch::Sender<bool>,
}

/// The table this module keeps.
pub fn table(prefix: &str) -> TableShape {
    log::table(prefix)
}

impl Placements {
    pub fn new(client: Client, prefix: &str) -> Self {
        Self {
            log: log::Log::new(client, prefix),
            current: watch::Sender::new(None),
            refreshing: Mutex::new(()),
            waiting: AtomicUsize::new(0),
            somebody_waits: Notify::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// The newest placement that was known at the last look; `None` before the first one is published.
    pub fn known(&self) -> Option<Arc<Published>> {
        self.current.borrow().clone()
    }

    /// The newest placement there is.
    pub async fn refresh(&self) -> Result<Option<Arc<Published>>> {
        let _one_at_a_time = self.refreshing.lock().await;
        let next = match self.known() {
            None => self.log.load().await?.map(|placement| Published { placement, recent: VecDeque::new() }),
            Some(known) => known.followed_by(self.log.since(known.placement.version()).await?)?,
        };
        if let Some(next) = next {
            metrics::gauge!("control_plane_placement_version").set(next.placement.version() as f64);
            self.current.send_replace(Some(Arc::new(next)));
        }
        Ok(self.known())
    }

    /// Waits until a placement newer than `since` is known, at most for `patience`.
    pub async fn newer_than(&self, since: u64, patience: Duration) -> Option<Arc<Published>> {
        let _awaited = Awaited::enter(self);
        let mut changes = self.current.subscribe();
        let is_newer = |now: &Option<Arc<Published>>| now.as_ref().is_some_and(|now| now.placement.version() > since);
        let mut closing = self.closing.subscribe();
        tokio::select! {
            found = changes.wait_for(is_newer) => found.ok().and_then(|found| found.clone()),
            _ = closing.wait_for(|closing| *closing) => None,
            () = tokio::time::sleep(patience) => None,
        }
    }

    /// Answers all callers that wait, now and from now on, without waiting: this process is about
    /// to stop.
    pub fn release_readers(&self) {
        self.closing.send_replace(true);
    }

    /// True once this process is about to stop: long answers end then.
    pub fn releasing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub fn waiting_readers(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Looks for changes made by other control planes; runs for ever.
    pub async fn watch_store(&self) {
        loop {
            if self.waiting.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(POLL_AWAITED).await;
            } else {
                let _ = tokio::time::timeout(POLL_IDLE, self.somebody_waits.notified()).await;
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "placement not refreshed; trying again");
                tokio::time::sleep(POLL_IDLE).await;
            }
        }
    }

    /// Makes the change that `decide` finds right for the newest placement (`None` from it: nothing
    /// to do). When another control plane takes the version, decides again against what that one
    /// wrote.
    pub async fn change<F>(&self, kind: &str, because: &Because, decide: F) -> Result<Arc<Published>>
    where
        F: Fn(&Placement) -> Result<Option<Delta>>,
    {
        self.change_while(kind, because, None, decide).await
    }

    /// [`Self::change`], published only while the condition of `guard` holds.
    pub async fn change_while<F>(
        &self,
        kind: &str,
        because: &Because,
        guard: Option<ConditionCheck>,
        decide: F,
    ) -> Result<Arc<Published>>
    where
        F: Fn(&Placement) -> Result<Option<Delta>>,
    {
        for attempt in 0..CHANGE_ATTEMPTS_MAX {
            let now = self.refresh().await?.ok_or_else(crate::error::no_placement)?;
            let Some(delta) = decide(&now.placement)? else { return Ok(now) };
            let version = now.placement.version() + 1;
            let update = PlacementUpdate {
                version,
                base: Some(version - 1),
                intended: delta.intended,
                cells: delta.cells.unwrap_or_else(|| now.placement.cells().to_vec()),
                buckets: delta.buckets,
                pins: delta.pins,
                avoided: delta.avoided.unwrap_or_else(|| now.placement.avoided().to_vec()),
            };
            let next =
                now.placement.updated(&update).map_err(|error| refused(Refusal::UnsoundChange, error.to_string()))?;
            if self.log.append(&update, &log::Note::new(kind, because), guard.clone()).await? {
                self.keep_snapshot(&next).await;
                return self.refresh().await?.ok_or_else(crate::error::no_placement);
            }
            metrics::counter!("control_plane_version_races_lost_total").increment(1);
            let most = BACKOFF_MAX_MS.min(u64::from(attempt) * 4 + 2);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most))).await;
        }
        Err(refused(Refusal::TooManyChanges, "nothing was changed: try again"))
    }

    /// Publishes version 1, unless a placement exists; answers the newest and whether it was this one.
    pub async fn publish_first(&self, update: &PlacementUpdate, because: &Because) -> Result<(Arc<Published>, bool)> {
        Placement::from_full(update)?;
        let won = self.log.append(update, &log::Note::new("bootstrap", because), None).await?;
        let now = self.refresh().await?.ok_or_else(crate::error::no_placement)?;
        Ok((now, won))
    }

    /// The newest `limit` changes, newest first.
    pub async fn history(&self, limit: i32) -> Result<Vec<log::Row>> {
        self.log.newest(limit).await
    }

    /// Saves readers the replay of all deltas; without it they only start slower, so a failure is no error.
    async fn keep_snapshot(&self, placement: &Placement) {
        if !placement.version().is_multiple_of(log::SNAPSHOT_EVERY) {
            return;
        }
        if let Err(error) = self.log.write_snapshot(placement).await {
            tracing::warn!(%error, version = placement.version(), "snapshot not written");
        }
    }
}

impl Published {
    fn followed_by(&self, updates: Vec<PlacementUpdate>) -> Result<Option<Self>> {
        if updates.is_empty() {
            return Ok(None);
        }
        let mut next = Self { placement: self.placement.clone(), recent: self.recent.clone() };
        for update in updates {
            next.placement = next.placement.updated(&update)?;
            next.recent.push_back(update);
        }
        let excess = next.recent.len().saturating_sub(DELTAS_KEPT);
        next.recent.drain(..excess);
        Ok(Some(next))
    }

    /// What to send to a router that has version `since`: the changes as one delta, or all.
    pub fn update_since(&self, since: u64) -> PlacementUpdate {
        let version = self.placement.version();
        let missing: Vec<_> = self.recent.iter().filter(|update| update.version > since).collect();
        let unbroken = missing.first().is_some_and(|first| first.base == Some(since));
        if since == 0 || !unbroken {
            return self.placement.to_full();
        }
        // Runs and pins are applied in order, so a later change of the same bucket wins.
        PlacementUpdate {
            version,
            base: Some(since),
            intended: true,
            cells: self.placement.cells().to_vec(),
            buckets: missing.iter().flat_map(|update| update.buckets.iter().copied()).collect(),
            pins: missing.iter().flat_map(|update| update.pins.iter().copied()).collect(),
            avoided: self.placement.avoided().to_vec(),
        }
    }
}

/// Counts one waiting reader for as long as it lives.
struct Awaited<'a>(&'a Placements);

impl<'a> Awaited<'a> {
    fn enter(placements: &'a Placements) -> Self {
        if placements.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            placements.somebody_waits.notify_one();
        }
        metrics::gauge!("control_plane_placement_waiters").increment(1.0);
        Self(placements)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("control_plane_placement_waiters").decrement(1.0);
    }
}

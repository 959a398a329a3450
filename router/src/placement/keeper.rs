//! The one task that owns the placement: reads the stored one at start, polls for newer ones, publishes them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use topology::{Placement, PlacementError, PlacementUpdate, ZoneId};

use crate::limits;
use crate::placement::fetch::{FetchError, Origins, update_since};
use crate::placement::peers::first_known;
use crate::placement::store::Store;
use crate::routes::{Routes, SharedRoutes};
use crate::telemetry::Counters;
use crate::wall_clock::now_s;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    None,
    Stored,
    /// Another router.
    Peer,
    ControlPlane,
}

/// What operators may ask about the placement; written by the keeper alone.
pub struct Standing {
    started: Instant,
    /// Milliseconds from `started`, plus one; 0 is never.
    placed: AtomicU64,
    contact: AtomicU64,
    source: Mutex<Source>,
}

impl Standing {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            placed: AtomicU64::new(0),
            contact: AtomicU64::new(0),
            source: Mutex::new(Source::None),
        })
    }

    fn mark(&self, what: &AtomicU64) {
        let since_start = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        what.store(since_start + 1, Ordering::Relaxed);
    }

    fn since(&self, what: &AtomicU64) -> Option<Duration> {
        let at = Duration::from_millis(what.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.started.elapsed().saturating_sub(at))
    }

    /// How long the placement in use has been in use.
    pub fn age(&self) -> Option<Duration> {
        self.since(&self.placed)
    }

    /// How long ago the control plane last answered anything sound.
    pub fn silence(&self) -> Option<Duration> {
        self.since(&self.contact)
    }

    pub fn source(&self) -> Source {
        *self.source.lock().expect("no panic while it is held")
    }
}

pub struct Keeper {
    routes: SharedRoutes,
    /// This router's zone.
    zone: Option<ZoneId>,
    store: Store,
    origins: Origins,
    poll_now: Arc<Notify>,
    counters: Counters,
    standing: Arc<Standing>,
    /// The version last refused: one error in the log for each.
    refused: Option<u64>,
}

impl Keeper {
    /// Publishes the stored placement, if there is one.
    pub fn new(
        store: Store,
        stored: Option<Placement>,
        origins: Origins,
        routes: SharedRoutes,
        zone: Option<ZoneId>,
        poll_now: Arc<Notify>,
        counters: Counters,
    ) -> Self {
        let standing = Standing::new();
        let keeper = Self { routes, zone, store, origins, poll_now, counters, standing, refused: None };
        if let Some(placement) = stored {
            keeper.publish(placement, Source::Stored);
        }
        keeper
    }

    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Polls for ever. Ends only by being dropped.
    pub async fn run(mut self) {
        let mut backoff = limits::POLL_BACKOFF_MIN;
        let mut whole = false;
        let mut asking = 0;
        let mut peers = JoinSet::new();
        if let Some(routers) = self.origins.peers.take() {
            peers.spawn(first_known(routers, Arc::clone(&self.routes)));
        }
        loop {
            let poll_now = Arc::clone(&self.poll_now);
            let asked = Instant::now();
            let since = if whole { 0 } else { self.version() };
            let outcome = tokio::select! {
                outcome = update_since(&self.origins.control_planes[asking], since, limits::POLL_WAIT_S) => outcome,
                Some(Ok(Some(update))) = peers.join_next() => {
                    self.take_from_peer(&update);
                    continue;
                }
                // A long poll tells at once anyway; asking again tells if it has been cut off unnoticed.
                () = async {
                    tokio::time::sleep(limits::POLL_WAKE_SPACING).await;
                    poll_now.notified().await;
                } => continue,
            };
            let pause = match outcome {
                Ok(update) => {
                    self.standing.mark(&self.standing.contact);
                    backoff = limits::POLL_BACKOFF_MIN;
                    // A control plane that answers at once with nothing must not be asked in a tight loop.
                    match update.map(|update| self.take(&update, Source::ControlPlane)) {
                        Some(Taken::Published) => Duration::ZERO,
                        Some(Taken::OtherBase) if !whole => {
                            whole = true;
                            continue;
                        }
                        Some(Taken::OtherBase | Taken::Refused) => limits::POLL_BACKOFF_MAX,
                        None => limits::POLL_WAKE_SPACING.saturating_sub(asked.elapsed()),
                    }
                }
                Err(error) => {
                    self.count(&error, backoff);
                    asking = (asking + 1) % self.origins.control_planes.len();
                    let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
                    backoff = (backoff * 2).min(limits::POLL_BACKOFF_MAX);
                    pause
                }
            };
            whole = false;
            self.look_at_disk();
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Some(Ok(Some(update))) = peers.join_next() => self.take_from_peer(&update),
                    () = poll_now.notified() => tokio::time::sleep(pause.min(limits::POLL_WAKE_SPACING)).await,
                }
            }
        }
    }

    /// A disk that took nothing is tried again: what it holds is better than no placement, what is in use better than that.
    fn look_at_disk(&mut self) {
        if self.store.is_open() {
            return;
        }
        let current = self.routes.load_full();
        let stored = match (self.store.reopen(), &current) {
            (Ok(stored), None) => stored,
            (Ok(_), Some(routes)) if self.store.is_open() => {
                self.keep(&routes.placement.to_full(), &routes.placement);
                None
            }
            (Ok(_), Some(_)) => None,
            (Err(error), _) => {
                tracing::error!(error = format!("{error:#}"), "the stored placement cannot be opened");
                None
            }
        };
        stored.into_iter().for_each(|placement| self.publish(placement, Source::Stored));
    }

    fn keep(&mut self, update: &PlacementUpdate, placement: &Placement) {
        if let Err(error) = self.store.keep(update, placement) {
            tracing::error!(%error, version = update.version, "the placement is in use but not stored");
        }
    }

    fn version(&self) -> u64 {
        self.routes.load().as_ref().map_or(0, |routes| routes.placement.version())
    }

    fn count(&self, error: &FetchError, backoff: Duration) {
        self.counters.poll_failures.increment(1);
        // Being without a control plane is a state we are built for: logged when it begins, not for
        // as long as it lasts.
        if backoff == limits::POLL_BACKOFF_MIN {
            tracing::warn!(%error, version = self.version(), "no control plane: going on with the placement at hand");
        }
    }

    /// Whatever came meanwhile, from the control plane or the disk, is as good: it is replaced by the control plane alone.
    fn take_from_peer(&mut self, update: &PlacementUpdate) {
        if self.routes.load().is_none() {
            self.take(update, Source::Peer);
        }
    }

    fn take(&mut self, update: &PlacementUpdate, source: Source) -> Taken {
        let current = self.routes.load_full();
        let next = match &current {
            Some(routes) => routes.placement.updated(update),
            None if update.base.is_some() => return Taken::OtherBase,
            None => Placement::from_full(update),
        };
        match next {
            Ok(placement) => {
                self.keep(update, &placement);
                self.counters.placement_updates.increment(1);
                tracing::info!(version = update.version, whole = update.base.is_none(), ?source, "new placement");
                self.publish(placement, source);
                Taken::Published
            }
            Err(PlacementError::OtherBase { .. }) => Taken::OtherBase,
            Err(reason) => {
                self.counters.placement_refused.increment(1);
                if self.refused.replace(update.version) != Some(update.version) {
                    tracing::error!(version = update.version, %reason, "placement refused; the old one stays");
                }
                Taken::Refused
            }
        }
    }

    fn publish(&self, placement: Placement, source: Source) {
        self.counters.placement_version.set(placement.version() as f64);
        self.routes.store(Some(Arc::new(Routes::new(placement, self.zone.clone(), now_s()))));
        *self.standing.source.lock().expect("no panic while it is held") = source;
        self.standing.mark(&self.standing.placed);
    }
}

enum Taken {
    Published,
    /// Only a whole placement can follow on ours.
    OtherBase,
    Refused,
}

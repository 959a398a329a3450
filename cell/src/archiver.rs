//! Archives what is written: follows the change stream of the cell and appends its blocks to the archive's log, within a
//! second. One instance of the cell does this at a time, beside the one that follows open transfers: money never waits
//! for the archive.
//!
//! The newest entry of the log says how far it is, and nothing else does. An entry is created only where none is, so that
//! a process that lost the job, and does not know yet, archives nothing. With the archive away nothing more is read of
//! the stream, which keeps a day: what waits here is never more than a segment.

mod inspecting;
mod known;
mod owners;
mod tenure;
#[cfg(test)]
mod tests;
mod walking;

use std::future::Future;
use std::time::Duration;

use archive::{Archive, ArchiveError};
use ledger::Timestamp;
use metrics::gauge;
use serde::Serialize;
use store::{Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep};
use tracing::{error, warn};

pub use self::inspecting::{Place, QUEUE};
use self::tenure::Tenure;
use crate::clock::Clock;
use crate::jobs::{self, Lease, Watch};
use crate::region;

const JOB: &str = "archive";
/// How often an instance looks whether the job is free.
const POLL: Duration = Duration::from_secs(1);
/// How long an instance keeps the job without a change of its row: short, since two at once do no harm, and the archive
/// waits for it.
const LEASE: Duration = Duration::from_secs(4);
/// How often the lease is looked after, also while the archive does not answer.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// At a stop: how long it archives, at most, how long it waits for a further block, and how often it looks.
const FINISH_MAX: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(1);
const FINISH_EVERY: Duration = Duration::from_millis(50);

/// The job of one instance.
pub struct Archiver<S> {
    pub store: S,
    pub archive: Archive,
    pub clock: Clock,
    /// How often the cell had changed its Region when this process began to serve.
    pub epoch: u64,
    /// Of this process alone.
    pub owner: String,
    /// Gets the new blocks that have to be looked at in the tables.
    pub doubtful: mpsc::Sender<Place>,
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another instance has taken it over")]
    Lost,
    #[error("another Region has continued the log, in epoch {epoch}")]
    Fenced { epoch: u64, at: Timestamp },
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("another process has written the next entry")]
    Outpaced,
    #[error("another Region has continued the log, in epoch {epoch}")]
    Fenced { epoch: u64, at: Timestamp },
}

impl<S: Store> Archiver<S> {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        publish_lag(Duration::ZERO);
        let mut watch = Watch::with_lease(LEASE);
        while jobs::pause(POLL, &mut stop).await {
            match self.turn(&mut watch, &mut stop).await {
                Ok(()) | Err(Stopped::Lost) => {}
                Err(Stopped::Store(error)) => {
                    warn!(%error, "archiving was interrupted; it goes on from the newest entry");
                }
                // All processes of this Region stop: what they write would be in no archive.
                Err(Stopped::Fenced { epoch, at }) => {
                    error!(epoch, %at, "another Region has continued the archive's log; this one serves no more");
                    if let Err(error) = region::leave(&self.store, epoch, at.to_string()).await {
                        warn!(%error, "this cannot be said in the tables; it is tried again");
                    }
                }
            }
        }
    }

    /// Archives for as long as the job is this instance's.
    async fn turn(&self, watch: &mut Watch, stop: &mut watch::Receiver<bool>) -> Result<(), Stopped> {
        let seen = jobs::look::<S, ()>(&self.store, &self.clock, JOB, watch).await?;
        let Some(mut lease) = seen.take(&self.owner).await? else { return Ok(()) };
        let ended = self.archive(&mut lease, stop).await;
        publish_lag(Duration::ZERO);
        ended?;
        held(lease.end().await?)
    }

    async fn archive(&self, lease: &mut Lease<S, ()>, stop: &mut watch::Receiver<bool>) -> Result<(), Stopped> {
        let mut tenure = Tenure::new(self);
        loop {
            let pause = keeping(lease, tenure.step()).await??;
            publish_lag(tenure.lag());
            held(lease.keep().await?)?;
            if !jobs::pause(pause.min(KEEP_EVERY), stop).await {
                return self.finish(lease, &mut tenure).await;
            }
        }
    }

    /// The process stops. What it writes meanwhile is archived too, if it can be soon: a cell that stops in one Region to
    /// serve in another has all of it there.
    async fn finish(&self, lease: &mut Lease<S, ()>, tenure: &mut Tenure<'_, S>) -> Result<(), Stopped> {
        tenure.hurry();
        let (latest, mut busy) = (Instant::now() + FINISH_MAX, Instant::now());
        while Instant::now() < latest && busy.elapsed() < QUIET {
            keeping(lease, tenure.step()).await??;
            if tenure.waiting() > 0 {
                busy = Instant::now();
            }
            sleep(FINISH_EVERY).await;
        }
        Ok(())
    }
}

/// Does something that may take long, and keeps the job meanwhile.
async fn keeping<S: Store, P: Serialize, T>(
    lease: &mut Lease<S, P>,
    work: impl Future<Output = T>,
) -> Result<T, Stopped> {
    let (mut work, mut ticks) = (std::pin::pin!(work), interval(KEEP_EVERY));
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            _ = ticks.tick() => held(lease.keep().await?)?,
        }
    }
}

fn held(held: bool) -> Result<(), Stopped> {
    if held { Ok(()) } else { Err(Stopped::Lost) }
}

/// How far the archive is behind.
fn publish_lag(lag: Duration) {
    gauge!("cell_archive_lag_seconds").set(lag.as_secs_f64());
}

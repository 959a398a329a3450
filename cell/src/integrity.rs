//! Verifies every wallet of the cell again and again: chain, rows, snapshots, and what the cell has
//! committed to. Records rows that follow from the blocks and are missing. A wallet that is broken
//! is frozen and an operator is alerted; no other wallet is touched.
//!
//! A new block is verified before a pass comes round to it. It never repairs: what is wrong may be evidence.

mod findings;
mod freezing;
mod new_blocks;

use std::sync::Arc;
use std::time::Duration;

use ledger::checkpoint::PublicKey;
use ledger::{Status, Timestamp};
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use store::log::{Audit, Log, Witnessed};
use store::verify::{self, Break, Pace, Report};
use store::{BlockRange, Store, StoreError, retry};
use tokio::sync::watch;
use tokio::time::sleep;
use topology::{Bucket, CellId, WalletId};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::jobs::{self, Lease, Watch};
use crate::peers::Peers;
use crate::wallets::Wallets;
pub use findings::{Findings, list};

const JOB: &str = "integrity";
/// Wallets listed at once.
const PAGE: usize = 64;
/// The actor in the entries that this job causes.
pub const ACTOR: &str = "integrity";
/// Names kept of the instances that worked on one pass.
const MAX_WORKERS: usize = 16;
/// The throttle sleeps once so much waiting has come together.
const MIN_SLEEP: Duration = Duration::from_millis(5);

/// How often, and how fast.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From the end of one pass to the begin of the next.
    pub every: Duration,
    /// Blocks and rows read a second, at most.
    pub items_per_second: u64,
}

/// How far the pass is, and how the last one went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub pass: u64,
    pub running: bool,
    pub after: Option<WalletId>,
    pub began_micros: i64,
    pub wallets: u64,
    pub items: u64,
    pub breaks: u64,
    /// The instances that have worked on it, in this order.
    pub workers: Vec<String>,
    pub last: Option<Completed>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    pub pass: u64,
    pub at_micros: i64,
    pub took_micros: i64,
    pub wallets: u64,
    pub items: u64,
    pub breaks: u64,
    pub workers: Vec<String>,
}

pub struct Integrity<S, P> {
    pub cell: CellId,
    pub store: S,
    pub wallets: Arc<Wallets<S, P>>,
    pub clock: Clock,
    /// Of this process alone.
    pub owner: String,
    pub settings: Settings,
    /// The cell's own, if it signs checkpoints.
    pub keys: Vec<PublicKey>,
}

/// Why a pass stopped before its end; the next look at the row goes on with it.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another instance has taken it over")]
    Lost,
    #[error("the instance is stopping")]
    Stopping,
}

impl<S: Store, P: Peers> Integrity<S, P> {
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        gauge!("cell_integrity_period_seconds").set(self.settings.every.as_secs_f64());
        let mut watch = Watch::default();
        while jobs::pause(jobs::poll(self.settings.every), &mut stop).await {
            match self.turn(&mut watch, &stop).await {
                Ok(()) | Err(Stopped::Lost | Stopped::Stopping) => {}
                Err(Stopped::Store(error)) => warn!(%error, "a pass of verification was interrupted; it goes on later"),
            }
        }
    }

    async fn turn(&self, watch: &mut Watch, stop: &watch::Receiver<bool>) -> Result<(), Stopped> {
        let seen = jobs::look::<S, Progress>(&self.store, &self.clock, JOB, watch).await?;
        publish(&seen.progress);
        let last = seen.progress.last.as_ref().map(|last| last.at_micros);
        if !seen.progress.running && !jobs::is_due(last, self.settings.every, self.clock.now()) {
            return Ok(());
        }
        let Some(mut lease) = seen.take(&self.owner).await? else { return Ok(()) };
        let now = self.clock.now();
        let progress = &mut lease.progress;
        if !progress.running {
            let last = progress.last.take();
            let pass = progress.pass + 1;
            *progress = Progress { pass, running: true, began_micros: now.micros(), last, ..Progress::default() };
        }
        if progress.workers.last() != Some(&self.owner) && progress.workers.len() < MAX_WORKERS {
            progress.workers.push(self.owner.clone());
        }
        held(lease.save().await?)?;
        self.pass(&mut lease, stop).await?;
        let progress = &mut lease.progress;
        let now = self.clock.now();
        progress.running = false;
        progress.last = Some(Completed {
            pass: progress.pass,
            at_micros: now.micros(),
            took_micros: now.micros().saturating_sub(progress.began_micros),
            wallets: progress.wallets,
            items: progress.items,
            breaks: progress.breaks,
            workers: progress.workers.clone(),
        });
        publish(progress);
        info!(pass = progress.pass, wallets = progress.wallets, breaks = progress.breaks, "verified the whole cell");
        held(lease.end().await?)
    }

    async fn pass(&self, lease: &mut Lease<S, Progress>, stop: &watch::Receiver<bool>) -> Result<(), Stopped> {
        let audit = self.audit_log(lease).await?;
        let everything = (Bucket(0), Bucket(u16::MAX));
        loop {
            let mut random = self.clock.random();
            let after = lease.progress.after;
            let list = || self.store.members(everything, after, PAGE);
            let wallets = retry::read(|| random.f64(), list).await?;
            self.tell_unlisted(&audit, &wallets, lease).await?;
            if wallets.is_empty() {
                return Ok(());
            }
            for wallet in wallets {
                if *stop.borrow() {
                    held(lease.save().await?)?;
                    return Err(Stopped::Stopping);
                }
                self.wallet(wallet, &audit, lease).await?;
                lease.progress.after = Some(wallet);
                lease.progress.wallets += 1;
                held(lease.keep().await?)?;
            }
        }
    }

    /// Wallets that the cell has committed to and that are missing in its list: nothing else would
    /// look at them.
    async fn tell_unlisted(
        &self,
        audit: &Audit,
        listed: &[WalletId],
        lease: &mut Lease<S, Progress>,
    ) -> Result<(), Stopped> {
        let after = lease.progress.after;
        let until = |wallet: &WalletId| listed.last().is_none_or(|last| wallet <= last);
        let due = audit.committed.keys().filter(|wallet| Some(**wallet) > after && until(wallet));
        let missing: Vec<WalletId> = due.filter(|wallet| listed.binary_search(wallet).is_err()).copied().collect();
        for wallet in missing {
            let what = "the cell has committed to this wallet, and does not list it among its wallets".to_owned();
            let found = Break { place: "members".into(), block: None, what };
            error!(%wallet, what = found.what, "a wallet is not what it must be");
            self.wallet(wallet, audit, lease).await?;
            self.tell(lease, Some(wallet), &found, "not frozen: its chain is verified beside").await?;
        }
        Ok(())
    }

    async fn audit_log(&self, lease: &mut Lease<S, Progress>) -> Result<Audit, Stopped> {
        if self.keys.is_empty() {
            return Ok(Audit::default());
        }
        let log = Log::new(self.store.clone(), self.cell.clone());
        let audit = log.audit(&self.keys, &Witnessed::new()).await?;
        for found in &audit.breaks {
            error!(place = found.place, what = found.what, "the cell's log of checkpoints is broken");
            self.tell(lease, None, found, "nothing is frozen: this is about the log of the whole cell").await?;
        }
        Ok(audit)
    }

    async fn wallet(&self, wallet: WalletId, audit: &Audit, lease: &mut Lease<S, Progress>) -> Result<(), Stopped> {
        let committed = audit.committed.get(&wallet).map(Vec::as_slice).unwrap_or_default();
        let mut throttle = Throttle { rate: self.settings.items_per_second, owed: Duration::ZERO, lease, lost: None };
        let report = verify::verify(&self.store, &self.cell, wallet, committed, &mut throttle).await?;
        let lost = throttle.lost.take();
        if let Some(lost) = lost {
            return Err(lost);
        }
        lease.progress.items += report.blocks + report.rows;
        counter!("cell_integrity_items_verified_total").increment(report.blocks + report.rows);
        self.record_missing(wallet, &report).await?;
        self.check_owner(wallet, &report, lease).await?;
        if report.breaks.is_empty() {
            return Ok(());
        }
        for found in &report.breaks {
            error!(%wallet, place = found.place, what = found.what, "a wallet is not what it must be");
        }
        let request = format!("integrity-pass-{}", lease.progress.pass);
        let response = self.freeze(wallet, &report, &request).await;
        for found in &report.breaks {
            self.tell(lease, Some(wallet), found, &response).await?;
        }
        Ok(())
    }

    /// A wallet that lives here has an owner, unless that is erased. Its money does not stand still for a missing one.
    async fn check_owner(
        &self,
        wallet: WalletId,
        report: &Report,
        lease: &mut Lease<S, Progress>,
    ) -> Result<(), Stopped> {
        let Some(head) = report.head.as_ref().filter(|head| head.home == self.cell) else { return Ok(()) };
        let owner = self.store.owner(wallet).await?;
        let what = match (head.state.status == Status::Erased, owner) {
            // The process that erased it died before it was done, or a backup was restored.
            (true, Some(_)) => return Ok(self.store.erase_owner(wallet).await?),
            (true, None) => return Ok(()),
            (false, None) => "it is missing: nothing personal of this wallet can be read",
            (false, Some(owner)) => {
                let first = self.store.blocks(wallet, BlockRange { first: 0, last: 0, newest_first: false }, 1).await?;
                let opened = first.first().map(|block| owner.key.open(block));
                if opened.is_none_or(|part| part.is_ok_and(|part| part.user == Some(owner.user))) {
                    return Ok(());
                }
                "it is not the one that block 0 names"
            }
        };
        error!(%wallet, what, "the owner of a wallet is not what it must be");
        let found = Break { place: "owner".into(), block: None, what: what.into() };
        self.tell(lease, Some(wallet), &found, "nothing is frozen: its money is sound").await
    }

    /// What the writer of the blocks did not record: it may have died first.
    async fn record_missing(&self, wallet: WalletId, report: &Report) -> Result<(), Stopped> {
        let here = report.head.as_ref().is_some_and(|head| head.home == self.cell);
        if !here || !report.breaks.is_empty() {
            return Ok(());
        }
        for run in &report.missing_runs {
            self.store.put_run(wallet, run).await?;
        }
        self.store.put_snapshots(wallet, &report.missing_snapshots).await?;
        let recorded = report.missing_runs.len() + report.missing_snapshots.len();
        counter!("cell_integrity_rows_recorded_total").increment(recorded as u64);
        Ok(())
    }

    fn count(&self) {
        counter!("cell_integrity_breaks_total").increment(1);
    }

    async fn tell(
        &self,
        lease: &mut Lease<S, Progress>,
        wallet: Option<WalletId>,
        found: &Break,
        response: &str,
    ) -> Result<(), Stopped> {
        self.count();
        lease.progress.breaks += 1;
        Ok(Findings::new(&self.store, &self.cell).record(wallet, found, response, self.clock.now()).await?)
    }
}

fn held(held: bool) -> Result<(), Stopped> {
    if held { Ok(()) } else { Err(Stopped::Lost) }
}

fn publish(progress: &Progress) {
    let Some(last) = &progress.last else { return };
    gauge!("cell_integrity_pass_completed_timestamp_seconds").set(last.at_micros as f64 / 1e6);
    gauge!("cell_integrity_pass_seconds").set(last.took_micros as f64 / 1e6);
    gauge!("cell_integrity_wallets_verified").set(last.wallets as f64);
    gauge!("cell_integrity_pass_breaks").set(last.breaks as f64);
}

/// Keeps the reading below its rate, and the job this process's while a long chain is read.
struct Throttle<'a, S, P> {
    rate: u64,
    owed: Duration,
    lease: &'a mut Lease<S, P>,
    lost: Option<Stopped>,
}

impl<S: Store, P: Serialize + Send + Sync> Pace for Throttle<'_, S, P> {
    async fn took(&mut self, items: u64, _bytes: u64) {
        self.owed += Duration::from_secs(1).mul_f64(items as f64 / self.rate.max(1) as f64);
        if self.owed >= MIN_SLEEP {
            sleep(std::mem::take(&mut self.owed)).await;
        }
        match self.lease.keep().await {
            Ok(true) => {}
            Ok(false) => self.lost = Some(Stopped::Lost),
            Err(error) => self.lost = Some(error.into()),
        }
    }
}

/// When a moment of a finding was, as it is shown.
fn shown(at: Timestamp) -> String {
    at.to_string()
}

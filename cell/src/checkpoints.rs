//! Commits to the heads of all wallets of the cell: every so often each head that has changed becomes a leaf of the
//! cell's log, and a checkpoint over all leaves is signed.
//!
//! It never signs what does not extend the last checkpoint that it knows of, and never twice for one number: a second
//! instance that tries loses.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ledger::checkpoint::{Checkpoint, Leaf, SigningKey};
use ledger::{Block, merkle, moving};
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use store::log::{Entry, Log, LogError, MAX_LEAVES};
use store::verify::Break;
use store::{Store, StoreError, retry};
use tokio::sync::watch;
use topology::{Bucket, CellId, WalletId};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::clock::Clock;
use crate::integrity::Findings;
use crate::jobs::{self, Lease, Watch};

const JOB: &str = "checkpoints";
/// Wallets listed at once.
const PAGE: usize = 256;
/// Wallets looked at in a second, at most: two small reads each.
const WALLETS_PER_SECOND: f64 = 2_000.0;

/// How far the round is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    running: bool,
    after: Option<WalletId>,
    /// Up to this checkpoint, all that follows from them is recorded.
    finished: u64,
    completed_micros: Option<i64>,
}

pub struct Checkpoints<S> {
    cell: CellId,
    store: S,
    log: Log<S>,
    clock: Clock,
    owner: String,
    every: Duration,
    key: SigningKey,
    /// The last checkpoint that this process has seen: the log may only grow from it.
    known: Mutex<Option<Checkpoint>>,
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another instance has taken it over, or was faster.
    #[error("lost to another instance")]
    Lost,
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Stopped::Log(LogError::Store(error))
    }
}

fn held(held: bool) -> Result<(), Stopped> {
    if held { Ok(()) } else { Err(Stopped::Lost) }
}

impl<S: Store> Checkpoints<S> {
    pub fn new(cell: CellId, store: S, clock: Clock, owner: String, every: Duration, key: SigningKey) -> Self {
        let log = Log::new(store.clone(), cell.clone());
        Self { cell, store, log, clock, owner, every, key, known: Mutex::new(None) }
    }

    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        gauge!("cell_checkpoint_period_seconds").set(self.every.as_secs_f64());
        let mut watch = Watch::default();
        while jobs::pause(jobs::poll(self.every), &mut stop).await {
            match self.turn(&mut watch).await {
                Ok(()) | Err(Stopped::Lost) => {}
                Err(Stopped::Log(LogError::Store(error))) => {
                    warn!(%error, "no checkpoint was signed; it is tried again");
                }
                Err(Stopped::Log(LogError::Broken(what))) => self.refuse(&what).await,
            }
        }
    }

    /// A human has to look: until then nothing more is signed.
    async fn refuse(&self, what: &str) {
        error!(what, "no checkpoint is signed: the log is not what it was");
        counter!("cell_checkpoint_refusals_total").increment(1);
        let found = Break { place: "signing".into(), block: None, what: what.to_owned() };
        let findings = Findings::new(&self.store, &self.cell);
        if let Err(error) = findings.record(None, &found, "no checkpoint is signed", self.clock.now()).await {
            warn!(%error, "a finding was not recorded");
        }
    }

    /// One round, if it is time for one and no other instance does it.
    pub async fn turn_now(&self) -> Result<(), String> {
        self.turn(&mut Watch::default()).await.map_err(|stopped| stopped.to_string())
    }

    async fn turn(&self, watch: &mut Watch) -> Result<(), Stopped> {
        let seen = jobs::look::<S, Progress>(&self.store, &self.clock, JOB, watch).await?;
        publish(&seen.progress);
        let due = jobs::is_due(seen.progress.completed_micros, self.every, self.clock.now());
        if !seen.progress.running && !due {
            return Ok(());
        }
        let Some(mut lease) = seen.take(&self.owner).await? else { return Ok(()) };
        if !lease.progress.running {
            (lease.progress.running, lease.progress.after) = (true, None);
        }
        self.round(&mut lease).await?;
        lease.progress.running = false;
        lease.progress.completed_micros = Some(self.clock.now().micros());
        publish(&lease.progress);
        held(lease.end().await?)
    }

    async fn round(&self, lease: &mut Lease<S, Progress>) -> Result<(), Stopped> {
        let mut newest = self.newest().await?;
        if let Some(entry) = &newest
            && lease.progress.finished < entry.signed.checkpoint.number
        {
            self.finish(entry, lease).await?;
        }
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut last = lease.progress.after;
        loop {
            let wallets = self.members(last).await?;
            for wallet in &wallets {
                leaves.extend(self.leaf(*wallet).await?);
            }
            let ended = wallets.is_empty();
            last = wallets.last().copied().or(last);
            if ended || leaves.len() + PAGE > MAX_LEAVES {
                newest = self.sign(newest, &leaves, lease).await?;
                leaves.clear();
                lease.progress.after = last;
            }
            held(lease.keep().await?)?;
            if ended {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1).mul_f64(wallets.len() as f64 / WALLETS_PER_SECOND)).await;
        }
    }

    async fn members(&self, after: Option<WalletId>) -> Result<Vec<WalletId>, StoreError> {
        let mut random = self.clock.random();
        let everything = (Bucket(0), Bucket(u16::MAX));
        retry::read(|| random.f64(), || self.store.members(everything, after, PAGE)).await
    }

    /// The newest checkpoint, which grows from what this process knows.
    async fn newest(&self) -> Result<Option<Entry>, Stopped> {
        let newest = self.log.newest().await.map_err(broken)?;
        let known = self.known();
        if let Some(known) = known {
            let number = known.number;
            let still = self.log.entry(number).await.map_err(broken)?;
            if still.is_none_or(|entry| entry.signed.checkpoint != known) {
                return Err(LogError::Broken(format!("checkpoint {number} is not the one that was seen before")).into());
            }
            let entry = newest.as_ref().ok_or_else(|| LogError::Broken("the log is gone".into()))?;
            if number < entry.signed.checkpoint.number {
                let proof = self.log.consistency(known.size, entry).await.map_err(broken)?;
                if !merkle::is_consistent((known.size, known.root), entry.tree(), &proof) {
                    let what = format!("the newest checkpoint does not grow from checkpoint {number}");
                    return Err(LogError::Broken(what).into());
                }
            }
        }
        self.remember(newest.as_ref());
        Ok(newest)
    }

    fn known(&self) -> Option<Checkpoint> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, entry: Option<&Entry>) {
        let checkpoint = entry.map(|entry| entry.signed.checkpoint.clone());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = checkpoint;
    }

    /// The head of a wallet, if the cell has to commit to it and has not yet. A chain that arrives and is not served
    /// yet is its old cell's; of one that has left, the block by which it left is the last.
    async fn leaf(&self, wallet: WalletId) -> Result<Option<Leaf>, StoreError> {
        let mut random = self.clock.random();
        let head: Block = match retry::read(|| random.f64(), || self.store.head(wallet)).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(None),
            // The integrity job tells of it; it must not keep the others from being committed to.
            Err(StoreError::Corrupt(what)) => {
                warn!(%wallet, what, "the head of a wallet cannot be committed to");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if head.home != self.cell && !moving::is_tombstone(&self.cell, &head) {
            return Ok(None);
        }
        let latest = match self.log.latest(wallet).await {
            Ok(latest) => latest,
            Err(StoreError::Corrupt(what)) => {
                warn!(%wallet, what, "the head of a wallet cannot be committed to");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // A chain that has become shorter, or another, is for the integrity job to tell.
        let first = latest.as_ref().map_or(0, |latest| latest.leaf.block.saturating_add(1));
        Ok((first <= head.number).then(|| Leaf::of(first, &head)))
    }

    /// Signs over what was collected, if anything was; the newest checkpoint then.
    async fn sign(
        &self,
        newest: Option<Entry>,
        leaves: &[Leaf],
        lease: &mut Lease<S, Progress>,
    ) -> Result<Option<Entry>, Stopped> {
        let mut known = BTreeSet::new();
        let leaves: Vec<Leaf> = leaves.iter().filter(|leaf| known.insert(leaf.wallet)).copied().collect();
        if leaves.is_empty() {
            return Ok(newest);
        }
        let now = self.clock.now();
        let batch: Uuid = self.clock.transaction_id();
        let written = self.log.append(newest.as_ref(), &leaves, &self.key, now, batch).await;
        let entry = written.map_err(unsound)?.ok_or(Stopped::Lost)?;
        self.remember(Some(&entry));
        let checkpoint = &entry.signed.checkpoint;
        info!(number = checkpoint.number, size = checkpoint.size, added = leaves.len(), "signed a checkpoint");
        gauge!("cell_checkpoint_number").set(checkpoint.number as f64);
        gauge!("cell_checkpoint_timestamp_seconds").set(checkpoint.at.micros() as f64 / 1e6);
        self.finish(&entry, lease).await?;
        Ok(Some(entry))
    }

    async fn finish(&self, entry: &Entry, lease: &mut Lease<S, Progress>) -> Result<(), Stopped> {
        self.log.finish(entry).await.map_err(unsound)?;
        lease.progress.finished = entry.signed.checkpoint.number;
        held(lease.save().await?)
    }
}

/// When the cell was last through all its wallets, whichever instance went; it signs only if something has changed.
fn publish(progress: &Progress) {
    if let Some(at) = progress.completed_micros {
        gauge!("cell_checkpoint_round_completed_timestamp_seconds").set(at as f64 / 1e6);
    }
}

/// A row of the log that cannot be what was written is not to be built on.
fn broken(error: StoreError) -> LogError {
    match error {
        StoreError::Corrupt(what) => LogError::Broken(what),
        error => LogError::Store(error),
    }
}

fn unsound(error: LogError) -> LogError {
    match error {
        LogError::Store(error) => broken(error),
        error => error,
    }
}

//! Commits to the heads of all wallets of the cell: every so often each head that has changed becomes a leaf of the
//! cell's log, and a checkpoint over all leaves is signed. Which have changed, the archive's log says, so that a round
//! costs what has changed, however many wallets there are.
//!
//! It never signs what does not extend the last checkpoint that it knows of, and never twice for one number: a second
//! instance that tries loses.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use archive::{Archive, ArchiveError};
use futures_util::{StreamExt, stream};
use ledger::checkpoint::{Checkpoint, Leaf, SigningKey};
use ledger::{Block, merkle, moving};
use metrics::{counter, gauge};
use serde::{Deserialize, Serialize};
use store::log::{Addition, Entry, Log, LogError, MAX_LEAVES};
use store::verify::Break;
use store::{Store, StoreError, retry};
use tokio::sync::watch;
use topology::{CellId, WalletId};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::clock::Clock;
use crate::integrity::Findings;
use crate::jobs::{self, Lease, Watch};

const JOB: &str = "checkpoints";
/// Wallets collected from the archive before they are looked at: about 100 bytes each. An entry may add
/// [`MAX_SEGMENT_BLOCKS`].
///
/// [`MAX_SEGMENT_BLOCKS`]: archive::MAX_SEGMENT_BLOCKS
const MAX_COLLECTED: usize = 65_536;
/// Wallets looked at at the same time: a small read each.
const AT_ONCE: usize = 32;
/// Most wallets that could not be read and are looked at again in each round.
const MAX_AGAIN: usize = 1_000;

/// How far the job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Up to this entry of the archive, all that changed is committed to.
    archived: u64,
    /// But for these wallets, which could not be read.
    again: BTreeSet<WalletId>,
    /// Up to this checkpoint, all that follows from them is recorded.
    finished: u64,
    completed_micros: Option<i64>,
}

/// The newest block of a wallet, as far as it is known here.
#[derive(Debug, Clone, Copy)]
struct Tip {
    /// If nothing of the wallet was committed to before.
    leaf: Leaf,
    /// A chain that arrives and is not served yet is its old cell's; of one that has left, the block by which it left is
    /// the last.
    is_ours: bool,
}

impl Tip {
    fn of(cell: &CellId, block: &Block) -> Self {
        let is_ours = block.home == *cell || moving::is_tombstone(cell, block);
        Self { leaf: Leaf::of(0, block), is_ours }
    }
}

pub struct Checkpoints<S> {
    cell: CellId,
    store: S,
    archive: Archive,
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
    #[error(transparent)]
    Archive(#[from] ArchiveError),
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
    pub fn new(store: S, archive: Archive, clock: Clock, owner: String, every: Duration, key: SigningKey) -> Self {
        let cell = archive.cell().clone();
        let log = Log::new(store.clone(), cell.clone());
        Self { cell, store, archive, log, clock, owner, every, key, known: Mutex::new(None) }
    }

    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        gauge!("cell_checkpoint_period_seconds").set(self.every.as_secs_f64());
        let (mut watch, mut next_look) = (Watch::default(), jobs::poll(self.every));
        while jobs::pause(next_look, &mut stop).await {
            next_look = jobs::poll(self.every);
            match self.turn(&mut watch).await {
                Ok(due_in) => next_look = next_look.min(due_in),
                Err(Stopped::Lost) => {}
                Err(Stopped::Log(LogError::Store(error))) => {
                    warn!(%error, "no checkpoint was signed; it is tried again");
                }
                Err(Stopped::Archive(error)) => {
                    warn!(%error, "no checkpoint was signed: what has changed is not known; it is tried again");
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

    /// A round, if it is time for one and no other instance does it; when the next one is due.
    async fn turn(&self, watch: &mut Watch) -> Result<Duration, Stopped> {
        let seen = jobs::look::<S, Progress>(&self.store, &self.clock, JOB, watch).await?;
        publish(&seen.progress);
        let due_in = jobs::due_in(seen.progress.completed_micros, self.every, self.clock.now());
        if !due_in.is_zero() {
            return Ok(due_in);
        }
        let Some(mut lease) = seen.take(&self.owner).await? else { return Ok(self.every) };
        self.round(&mut lease).await?;
        lease.progress.completed_micros = Some(self.clock.now().micros());
        publish(&lease.progress);
        held(lease.end().await?)?;
        Ok(self.every)
    }

    async fn round(&self, lease: &mut Lease<S, Progress>) -> Result<(), Stopped> {
        let mut newest = self.newest().await?;
        if let Some(entry) = &newest
            && lease.progress.finished < entry.signed.checkpoint.number
        {
            self.log.finish(entry).await.map_err(unsound)?;
            self.finished(entry, lease).await?;
        }
        let upto = self.newest_archived(lease).await?;
        loop {
            let (wallets, archived) = self.changed(upto, lease).await?;
            for some in wallets.chunks(MAX_LEAVES) {
                let additions = self.additions(some, lease).await?;
                newest = self.sign(newest, &additions, lease).await?;
                held(lease.keep().await?)?;
            }
            lease.progress.archived = archived;
            if archived >= upto {
                return Ok(());
            }
        }
    }

    /// The number of the archive's newest entry.
    async fn newest_archived(&self, lease: &mut Lease<S, Progress>) -> Result<u64, ArchiveError> {
        let known = lease.progress.archived;
        if known > 0 && self.archive.entry(known).await?.is_none() {
            warn!(known, "the archive's log is another one: it is read from its beginning");
            lease.progress.archived = 0;
        }
        let newest = self.archive.newest(lease.progress.archived).await?;
        Ok(newest.map_or(0, |entry| entry.number))
    }

    /// Wallets with blocks in the next entries of the archive, with the newest block of each there, and up to which entry.
    async fn changed(
        &self,
        upto: u64,
        lease: &mut Lease<S, Progress>,
    ) -> Result<(Vec<(WalletId, Option<Tip>)>, u64), Stopped> {
        let mut wallets: BTreeMap<_, _> = lease.progress.again.iter().map(|wallet| (*wallet, None)).collect();
        let mut number = lease.progress.archived;
        while number < upto && wallets.len() < MAX_COLLECTED {
            number = number.saturating_add(1);
            let missing = || ArchiveError::Unsound(format!("entry {number} is missing"));
            let entry = self.archive.entry(number).await?.ok_or_else(missing)?;
            for block in &self.archive.segment(&entry).await?.blocks {
                let tip: &mut Option<Tip> = wallets.entry(block.wallet).or_default();
                if tip.is_none_or(|tip| tip.leaf.block <= block.number) {
                    *tip = Some(Tip::of(&self.cell, block));
                }
            }
            held(lease.keep().await?)?;
        }
        Ok((wallets.into_iter().collect(), number))
    }

    /// The blocks that the cell has to commit to. A wallet that cannot be read must not keep the others from being
    /// committed to: the integrity job tells of it, and it is looked at again in the next round.
    async fn additions(
        &self,
        wallets: &[(WalletId, Option<Tip>)],
        lease: &mut Lease<S, Progress>,
    ) -> Result<Vec<Addition>, StoreError> {
        let look_at = |(wallet, tip)| async move { (wallet, self.addition(wallet, tip).await) };
        let mut looked_at = stream::iter(wallets.to_vec()).map(look_at).buffered(AT_ONCE);
        let (mut additions, again) = (Vec::new(), &mut lease.progress.again);
        while let Some((wallet, addition)) = looked_at.next().await {
            match addition {
                Ok(addition) => {
                    additions.extend(addition);
                    again.remove(&wallet);
                }
                Err(StoreError::Corrupt(what)) => {
                    warn!(%wallet, what, "the head of a wallet cannot be committed to");
                    if again.len() < MAX_AGAIN {
                        again.insert(wallet);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(additions)
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

    /// The newest block of a wallet, if the cell has to commit to it and has not yet. It is read where the archive has not
    /// given it.
    async fn addition(&self, wallet: WalletId, tip: Option<Tip>) -> Result<Option<Addition>, StoreError> {
        let tip = match tip {
            Some(tip) => Some(tip),
            None => {
                let mut random = self.clock.random();
                let head = retry::read(|| random.f64(), || self.store.head(wallet)).await?;
                head.map(|head| Tip::of(&self.cell, &head))
            }
        };
        let Some(Tip { leaf, .. }) = tip.filter(|tip| tip.is_ours) else { return Ok(None) };
        let latest = self.log.latest(wallet).await?;
        // A chain that has become shorter, or another, is for the integrity job to tell.
        let first = latest.as_ref().map_or(0, |latest| latest.leaf.block.saturating_add(1));
        let recorded = latest.map(|latest| latest.checkpoint);
        Ok((first <= leaf.block).then_some(Addition { leaf: Leaf { first, ..leaf }, recorded }))
    }

    /// Signs over what was collected, if anything was; the newest checkpoint then.
    async fn sign(
        &self,
        newest: Option<Entry>,
        additions: &[Addition],
        lease: &mut Lease<S, Progress>,
    ) -> Result<Option<Entry>, Stopped> {
        if additions.is_empty() {
            return Ok(newest);
        }
        let now = self.clock.now();
        let batch: Uuid = self.clock.transaction_id();
        let leaves: Vec<Leaf> = additions.iter().map(|addition| addition.leaf).collect();
        let written = self.log.append(newest.as_ref(), &leaves, &self.key, now, batch).await;
        let entry = written.map_err(unsound)?.ok_or(Stopped::Lost)?;
        self.remember(Some(&entry));
        let checkpoint = &entry.signed.checkpoint;
        info!(number = checkpoint.number, size = checkpoint.size, added = leaves.len(), "signed a checkpoint");
        gauge!("cell_checkpoint_number").set(checkpoint.number as f64);
        gauge!("cell_checkpoint_timestamp_seconds").set(checkpoint.at.micros() as f64 / 1e6);
        self.log.record(newest.as_ref(), &entry, additions).await.map_err(unsound)?;
        self.finished(&entry, lease).await?;
        Ok(Some(entry))
    }

    async fn finished(&self, entry: &Entry, lease: &mut Lease<S, Progress>) -> Result<(), Stopped> {
        lease.progress.finished = entry.signed.checkpoint.number;
        held(lease.save().await?)
    }
}

/// When the cell was last through all that had changed, whichever instance went; it signs only if something has changed.
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

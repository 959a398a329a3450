//! Refills the tables of a cell from its archive: reads the log in order, and writes the blocks of all wallets side by side.
//!
//! Of each wallet, blocks are written in the order of their numbers, at most [`COPY_BLOCKS`](ledger::limits::COPY_BLOCKS)
//! at once, and none above one that is missing: so that, whenever the process ends, the newest blocks of a chain tell where
//! it is unbroken. What is held of a wallet between two segments is its last block's number and hash, about 100 bytes with
//! its place in the map; of one with a block missing also the blocks above that, all of them together at most
//! 64 MB, and its newest one.
//!
//! It must never take a chain for whole of which a block is missing: the wallet's newest block alone is put above the hole,
//! and the cell does not serve it.

mod ahead;
mod batches;
mod chain;
mod progress;
mod writing;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use archive::{Archive, ArchiveError};
use control_api::restore::{MissingWallet, Refilled};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ledger::Block;
use mover::Pace;
use store::{Store, StoreError};
use tokio::time::{Instant, sleep};
use topology::WalletId;
use topology::restoring::Restoring;

use self::ahead::Ahead;
use self::batches::{Batch, Batches};
use self::chain::Chain;
use self::progress::Saved;
pub use self::progress::{is_half_read, progress};
use self::writing::{Work, Written};
use crate::around::Around;
use crate::{Error, Result, holes};

/// Wallets that are written side by side, and blocks of all of them that are under way at once.
const WALLETS_AT_ONCE: usize = 128;
const PUTS_AT_ONCE: usize = 256;
/// How long one call of the tables or of the archive is repeated: well below what a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A cell that is being refilled: what this process knows of it. Lost, it begins again where its progress was saved.
pub struct Refill {
    archive: Archive,
    batches: Batches,
    /// Read while the batch before was written.
    fetched: Option<Batch>,
    wallets: HashMap<WalletId, Chain>,
    ahead: Ahead,
    pace: Pace,
    saved: Saved,
    /// It did not begin at the first entry.
    is_resumed: bool,
    /// Chains of wallets that live elsewhere are written, too: they may come back.
    is_mirror: bool,
    /// Later passes read again what could not be held, for these wallets only.
    again: Option<BTreeSet<WalletId>>,
    /// Blocks written in this pass.
    written_now: u64,
}

impl Refill {
    /// Goes on with the restore of this name (the time when it began). Where the tables were not empty, all of them is
    /// held against the archive: so that begins at the first entry.
    pub async fn resume(archive: Archive, store: &impl Store, restore: &Restoring) -> Result<Self> {
        let mut saved = Saved::read(store, &restore.since, restore.in_place).await?;
        // From now on the cell cannot be said to be whole before all is read.
        saved.write(store).await?;
        let last = patiently(|| archive.last_number()).await?;
        saved.report.last_entry = last;
        let batches = Batches::between(saved.entry.saturating_add(1), last);
        Ok(Self {
            archive,
            batches,
            fetched: None,
            wallets: HashMap::new(),
            ahead: Ahead::default(),
            pace: Pace::new(PUTS_AT_ONCE, None),
            is_resumed: saved.entry > 0,
            is_mirror: restore.mirror,
            saved,
            again: None,
            written_now: 0,
        })
    }

    pub fn report(&self) -> &Refilled {
        &self.saved.report
    }

    /// Goes on until `deadline`, or until all is done. After an error it must not be used any more: what it knows may be
    /// less than what was written.
    pub async fn run<S: Store>(&mut self, around: &Around<'_, S>, deadline: Instant) -> Result<()> {
        let began = Instant::now();
        let before = self.saved.report.millis;
        while !self.saved.report.done {
            let batch = match self.fetched.take() {
                Some(batch) => Some(batch),
                None => self.batches.next(&self.archive).await?,
            };
            match batch {
                Some(batch) => self.write(around, batch).await?,
                None => self.end_pass(around).await?,
            }
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.saved.report.millis = before.saturating_add(millis);
            self.saved.write(around.store).await?;
            if Instant::now() >= deadline {
                break;
            }
        }
        Ok(())
    }

    /// Goes on up to the entry that is the newest now, or until `deadline`; whether there is more. A block that is missing is
    /// waited for: the archive may still get it. After an error it must not be used any more.
    pub async fn follow<S: Store>(&mut self, around: &Around<'_, S>, deadline: Instant) -> Result<bool> {
        let known = self.saved.report.last_entry;
        let newest = patiently(|| self.archive.newest(known)).await?.map_or(0, |newest| newest.number);
        if newest > known {
            self.saved.report.last_entry = newest;
            self.batches.extend(newest);
        }
        loop {
            let batch = match self.fetched.take() {
                Some(batch) => Some(batch),
                None => self.batches.next(&self.archive).await?,
            };
            let Some(batch) = batch else { return Ok(false) };
            self.write(around, batch).await?;
            self.saved.write(around.store).await?;
            if Instant::now() >= deadline {
                return Ok(true);
            }
        }
    }

    /// Writes one batch while the next one is read.
    async fn write<S: Store>(&mut self, around: &Around<'_, S>, batch: Batch) -> Result<()> {
        let last = batch.last;
        // What was read again after an interruption was counted before.
        let is_counted = self.again.is_none() && batch.first > self.saved.report.entries;
        let work = self.sorted(batch);
        let Self { archive, batches, pace, .. } = self;
        let (archive, pace) = (&*archive, &*pace);
        let writing = async {
            let each = work.into_iter().map(|work| writing::one(around, archive, pace, work));
            stream::iter(each).buffer_unordered(WALLETS_AT_ONCE).try_collect::<Vec<Written>>().await
        };
        let (written, fetched) = tokio::join!(writing, batches.next(archive));
        for one in written? {
            self.keep(one, is_counted);
        }
        self.fetched = fetched?;
        if self.again.is_none() {
            // What is held above a hole is read again after a crash.
            self.saved.entry = self.ahead.first_entry().map_or(last, |first| first.saturating_sub(1));
        }
        Ok(())
    }

    /// The blocks of a batch that can be written, by wallets, the longest first: they take longest. The others are held.
    fn sorted(&mut self, batch: Batch) -> Vec<Work> {
        if self.again.is_none() {
            self.saved.has_read(batch.last, batch.newest_at, batch.damaged);
        }
        // In an order that is the same each time.
        let mut of_wallets: BTreeMap<WalletId, Vec<Block>> = BTreeMap::new();
        for block in batch.blocks {
            if self.again.as_ref().is_none_or(|again| again.contains(&block.wallet)) {
                of_wallets.entry(block.wallet).or_default().push(block);
            }
        }
        let mut work = Vec::with_capacity(of_wallets.len());
        for (wallet, mut blocks) in of_wallets {
            let known = self.wallets.get(&wallet);
            let next = known.and_then(Chain::next);
            let lowest = blocks.iter().map(|block| block.number).min();
            let packs = next.zip(lowest).and_then(|(next, lowest)| self.archive.packs_between(next, lowest));
            if packs.is_none() && known.is_some_and(|chain| !chain.wants_any(&blocks)) {
                blocks.retain(|block| next.is_some_and(|next| block.number > next));
                self.ahead.hold(wallet, blocks, batch.first);
                continue;
            }
            let (held, held_entry) = self.ahead.take(wallet);
            blocks.extend(held);
            blocks.sort_unstable_by_key(|block| block.number);
            let entry = held_entry.map_or(batch.first, |held| held.min(batch.first));
            let known = self.wallets.remove(&wallet);
            let (is_resumed, is_mirror) = (self.is_resumed, self.is_mirror);
            work.push(Work { known, wallet, blocks, entry, is_resumed, is_mirror });
        }
        work.sort_unstable_by_key(|work| std::cmp::Reverse(work.blocks.len()));
        work
    }

    fn keep(&mut self, written: Written, is_counted: bool) {
        let Written { wallet, chain, too_early, entry, counts } = written;
        let report = &mut self.saved.report;
        report.written = report.written.saturating_add(counts.put);
        self.written_now = self.written_now.saturating_add(counts.put);
        if is_counted {
            report.there = report.there.saturating_add(counts.there);
            let kind = if chain.is_ours() { &mut report.wallets } else { &mut report.elsewhere };
            *kind = kind.saturating_add(u64::from(counts.begins));
        }
        if chain.is_ours() {
            self.ahead.hold(wallet, too_early, entry);
        }
        self.wallets.insert(wallet, chain);
    }

    /// The log was read to its end. Holes are filled from what the tables and the other cells hold; what could not be held
    /// is read again for as long as that brings anything; at last, what is above a hole is left open.
    async fn end_pass<S: Store>(&mut self, around: &Around<'_, S>) -> Result<()> {
        let exceeded = self.wallets.iter().filter(|(_, chain)| chain.is_exceeded());
        let exceeded: BTreeSet<WalletId> = exceeded.map(|(wallet, _)| *wallet).collect();
        for wallet in self.ahead.wallets().into_iter().chain(exceeded).collect::<BTreeSet<_>>() {
            self.fill(around, wallet).await?;
        }
        if let Some(first) = self.ahead.dropped_from().filter(|_| self.written_now > 0 || self.again.is_none()) {
            self.batches = Batches::between(first, self.saved.report.last_entry);
            self.again = Some(self.ahead.wallets().into_iter().collect());
            self.ahead.forget_dropped();
            self.written_now = 0;
            return Ok(());
        }
        self.saved.report.missing = self.missing(around).await?;
        self.saved.report.done = true;
        Ok(())
    }

    /// Goes on with a chain above what the archive lacks.
    async fn fill<S: Store>(&mut self, around: &Around<'_, S>, wallet: WalletId) -> Result<()> {
        let Some(mut chain) = self.wallets.remove(&wallet) else { return Ok(()) };
        if let Chain::Ours(ours) = &mut chain {
            for other in around.others {
                patiently(|| around.copy_rest(other, wallet)).await?;
            }
            writing::advance(around.store, wallet, ours, u64::MAX).await?;
        }
        let (mut blocks, entry) = self.ahead.take(wallet);
        blocks.sort_unstable_by_key(|block| block.number);
        let entry = entry.unwrap_or(self.saved.report.last_entry);
        let work = Work { known: Some(chain), wallet, blocks, entry, is_resumed: false, is_mirror: self.is_mirror };
        let written = writing::one(around, &self.archive, &self.pace, work).await?;
        self.keep(written, false);
        Ok(())
    }

    /// Each wallet of which a block is missing, or is another one than in the archive.
    async fn missing<S: Store>(&mut self, around: &Around<'_, S>) -> Result<Vec<MissingWallet>> {
        let mut missing = BTreeMap::new();
        for (&wallet, chain) in &self.wallets {
            let why = match chain {
                Chain::Differs(block) => format!("the cell holds another block {block} than the archive"),
                Chain::Ours(ours) if ours.is_exceeded() => {
                    format!(
                        "block {} is missing from the tables, which hold later ones, and is in no segment or pack",
                        ours.next()
                    )
                }
                Chain::Ours(_) | Chain::Elsewhere => continue,
            };
            missing.insert(wallet, why);
        }
        for (wallet, newest, lowest) in self.ahead.newest() {
            let first = self.wallets.get(&wallet).and_then(Chain::next).unwrap_or(0);
            patiently(|| holes::leave_open(around.store, &around.entry.id, newest)).await?;
            let why = match lowest.checked_sub(1).filter(|last| *last >= first) {
                Some(last) => {
                    format!(
                        "blocks {first} to {last} are in no segment or pack; the archive has block {}",
                        newest.number
                    )
                }
                None => format!("block {first} does not follow on the one below it"),
            };
            missing.insert(wallet, why);
        }
        Ok(missing.into_iter().map(|(wallet, why)| MissingWallet { wallet, why }).collect())
    }
}

/// What may pass.
trait Passing {
    fn may_pass(&self) -> bool;
}

impl Passing for ArchiveError {
    fn may_pass(&self) -> bool {
        matches!(self, ArchiveError::Unavailable(_))
    }
}

impl Passing for StoreError {
    fn may_pass(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

impl Passing for Error {
    fn may_pass(&self) -> bool {
        matches!(self, Error::Store(StoreError::Unavailable(_)))
    }
}

/// Asks again, for as long as [`PATIENCE`] says, what was not answered.
async fn patiently<T, E: Passing, F>(ask: impl Fn() -> F) -> std::result::Result<T, E>
where
    F: Future<Output = std::result::Result<T, E>>,
{
    let until = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && Instant::now() < until => {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
            answer => return answer,
        }
    }
}

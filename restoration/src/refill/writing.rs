//! Writes what continues the chain of one wallet, and the rows that follow from it.

use archive::{Archive, ArchiveError};
use futures_util::future::try_join_all;
use ledger::limits::RUN_BLOCKS;
use ledger::marks::{MarkRun, first_of, last_of, run_of};
use ledger::moving;
use ledger::snapshots::{Snapshot, is_due, is_heavy, snapshot_of};
use ledger::{Append, Block, Status};
use mover::{Pace, random};
use store::commit::{CommitOutcome, commit};
use store::{BlockRange, Store, StoreError};
use tokio::time::Instant;
use topology::WalletId;

use super::chain::{Chain, Ours};
use super::{PATIENCE, patiently};
use crate::around::Around;
use crate::{Result, chains, holes, owner, owners};

#[derive(Default)]
pub(super) struct Counts {
    pub put: u64,
    /// That were there already.
    pub there: u64,
    /// Block 0 is among them: each wallet is counted once.
    pub begins: bool,
}

/// Blocks of one wallet, in the order of their numbers.
pub(super) struct Work {
    /// Absent where the restore meets the wallet.
    pub known: Option<Chain>,
    pub wallet: WalletId,
    pub blocks: Vec<Block>,
    /// The first entry of the log that has any of them.
    pub entry: u64,
    /// Whether what was in the log before it is in the tables, but for what is missing.
    pub is_resumed: bool,
    /// Whether it is written wherever the wallet lives.
    pub is_mirror: bool,
}

/// What became of one wallet's blocks.
pub(super) struct Written {
    pub wallet: WalletId,
    pub chain: Chain,
    pub too_early: Vec<Block>,
    pub entry: u64,
    pub counts: Counts,
}

/// Writes those blocks that continue the chain.
pub(super) async fn one<S: Store>(
    around: &Around<'_, S>,
    archive: &Archive,
    pace: &Pace,
    work: Work,
) -> Result<Written> {
    let Work { known, wallet, blocks, entry, is_resumed, is_mirror } = work;
    let begins = blocks.first().is_some_and(|first| first.number == 0)
        && known.as_ref().is_none_or(|known| known.next() == Some(0));
    let chain = match (known, blocks.first()) {
        (Some(chain), _) => chain,
        (None, Some(first)) => {
            if !is_mirror && lives_elsewhere(around, wallet).await? {
                Chain::Elsewhere
            } else {
                meet(around, archive, first, is_resumed).await?
            }
        }
        (None, None) => Chain::Ours(Ours::default()),
    };
    let counts = Counts { begins, ..Counts::default() };
    let mut written = Written { wallet, chain, too_early: vec![], entry, counts };
    let tables = Tables { store: around.store, wallet, pace };
    let mut rest = blocks;
    while let Chain::Ours(ours) = &mut written.chain {
        let (follow, too_early) = ours.split(rest);
        rest = too_early;
        if let Some(last) = follow.last() {
            if let Some(differs) = tables.put_missing(ours.there, &follow, &mut written.counts).await? {
                written.chain = Chain::Differs(differs);
                break;
            }
            tables.record(ours, &follow).await?;
            ours.reaches(last);
            if last.state.status == Status::Erased {
                patiently(|| around.store.erase_owner(wallet)).await?;
            }
        }
        let Some(next) = rest.first() else { break };
        if !tables.pass_over(archive, ours, next.number).await? {
            break;
        }
    }
    written.too_early = rest;
    Ok(written)
}

/// Whether the wallet is another cell's own by now. Then the block by which it left is in the tables afterwards. The archive
/// has that block where the other cell was lost: the restore would not do without its tables else.
async fn lives_elsewhere<S: Store>(around: &Around<'_, S>, wallet: WalletId) -> Result<bool> {
    let (home, cell) = (owner(around.placement, wallet)?, &around.entry.id);
    if home.id == *cell {
        return Ok(false);
    }
    let Some(side) = around.others.iter().find(|side| side.cell == home.id) else { return Ok(false) };
    // A move to the restored cell may be ahead of the placement.
    if patiently(|| side.store.head(wallet)).await?.is_some_and(|head| head.home == *cell) {
        return Ok(false);
    }
    patiently(|| chains::leave_elsewhere(cell, around.store, side, wallet)).await?;
    Ok(true)
}

/// What the tables hold of a wallet. Its owner comes before its chain.
async fn meet<S: Store>(around: &Around<'_, S>, archive: &Archive, first: &Block, is_resumed: bool) -> Result<Chain> {
    let wallet = first.wallet;
    match patiently(|| archive.owner(wallet)).await {
        Ok(Some(owner)) => patiently(|| owners::put(around.store, around.others, wallet, &owner)).await?,
        // Erased, or lost: the cell serves the wallet without it, and says so.
        Ok(None) | Err(ArchiveError::Unsound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let held = patiently(|| holes::held(around.store, wallet)).await?;
    if !is_resumed {
        return Ok(Chain::Ours(Ours::new(&held)));
    }
    let mut ours = Ours::met(first, &held);
    // What was passed over is in packs, which the newest blocks do not tell as long as there are few above.
    advance(around.store, wallet, &mut ours, first.number).await?;
    Ok(Chain::Ours(ours))
}

/// Goes on with a chain as far as the tables hold it below `end`.
pub(super) async fn advance(store: &impl Store, wallet: WalletId, ours: &mut Ours, end: u64) -> Result<()> {
    while ours.next() < end {
        let (follow, _) = ours.split(read(store, wallet, ours.next(), end.saturating_sub(1)).await?);
        let Some(last) = follow.last() else { break };
        ours.reaches(last);
    }
    Ok(())
}

async fn read(store: &impl Store, wallet: WalletId, first: u64, last: u64) -> Result<Vec<Block>> {
    let range = BlockRange { first, last, newest_first: false };
    Ok(patiently(|| store.blocks(wallet, range, RUN_BLOCKS as usize)).await?)
}

/// One wallet in the tables that are refilled.
struct Tables<'a, S> {
    store: &'a S,
    wallet: WalletId,
    pace: &'a Pace,
}

impl<S: Store> Tables<'_, S> {
    /// Writes those blocks that are not there. `Some`: another block of this number is; nothing was written above it.
    async fn put_missing(&self, there: Option<u64>, blocks: &[Block], counts: &mut Counts) -> Result<Option<u64>> {
        let known = blocks.partition_point(|block| there.is_some_and(|there| block.number <= there));
        let (looked_up, new) = blocks.split_at(known);
        let mut missing = Vec::new();
        let mut rest = looked_up;
        while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            let page = read(self.store, self.wallet, first.number, last.number).await?;
            // What the page passes over is not there.
            let end = page.last().map_or(last.number, |block| block.number);
            let (covered, after) = rest.split_at(rest.partition_point(|block| block.number <= end));
            for block in covered {
                match page.iter().find(|found| found.number == block.number) {
                    None => missing.push(block.clone()),
                    Some(found) if found.hash == block.hash => counts.there = counts.there.saturating_add(1),
                    Some(_) => return Ok(Some(block.number)),
                }
            }
            rest = after;
        }
        for part in [&missing[..], new] {
            if let Some(differs) = self.put_all(part, counts).await? {
                return Ok(Some(differs));
            }
        }
        Ok(None)
    }

    /// Goes on over the packs up to `next`: their blocks are in the table of no cell. `false`: not all of them are there.
    async fn pass_over(&self, archive: &Archive, ours: &mut Ours, next: u64) -> Result<bool> {
        let Some(packs) = archive.packs_between(ours.next(), next) else { return Ok(false) };
        for pack in packs {
            let blocks = match patiently(|| archive.pack(self.wallet, pack)).await {
                Ok(blocks) => blocks.unwrap_or_default(),
                Err(ArchiveError::Unsound(what)) => {
                    tracing::error!(wallet = %self.wallet, what, "a chain ends where a pack is not sound");
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            };
            let (follow, _) = ours.split(blocks.clone());
            let Some(last) = follow.last() else { return Ok(false) };
            // With block 0, which was written before.
            self.record(ours, &blocks).await?;
            ours.reaches(last);
        }
        Ok(true)
    }

    /// So many at once that the newest blocks tell, after a crash, where the chain is unbroken.
    async fn put_all(&self, mut blocks: &[Block], counts: &mut Counts) -> Result<Option<u64>> {
        while !blocks.is_empty() {
            let (chunk, after) = blocks.split_at(moving::chunk(blocks));
            let outcomes = try_join_all(chunk.iter().map(|block| self.put(block))).await?;
            for (block, outcome) in chunk.iter().zip(outcomes) {
                match outcome {
                    Put::Done => counts.put = counts.put.saturating_add(1),
                    Put::There => counts.there = counts.there.saturating_add(1),
                    Put::Differs => return Ok(Some(block.number)),
                }
            }
            blocks = after;
        }
        Ok(None)
    }

    async fn put(&self, block: &Block) -> Result<Put> {
        let _place = self.pace.place().await;
        let began = Instant::now();
        let append = Append::next(block.clone());
        let outcome = commit(self.store, &append, began + PATIENCE, random(self.wallet)).await;
        self.pace.source_answered(began.elapsed());
        match outcome {
            CommitOutcome::Applied => Ok(Put::Done),
            // Another process restores the same chain, or an earlier attempt has landed.
            CommitOutcome::Conflict(_) => {
                let found = read(self.store, self.wallet, block.number, block.number).await?;
                let is_same = found.first().is_some_and(|found| found.hash == block.hash);
                Ok(if is_same { Put::There } else { Put::Differs })
            }
            CommitOutcome::NotApplied(why) | CommitOutcome::Unknown(why) => Err(StoreError::Unavailable(why).into()),
        }
    }

    /// Without the runs the cell would read their blocks to find idempotency keys; snapshots would be found missing.
    async fn record(&self, before: &Ours, blocks: &[Block]) -> Result<()> {
        let mut after_heavy = before.last.as_ref().is_some_and(|last| last.is_heavy);
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for block in blocks {
            if is_due(block, after_heavy) {
                snapshots.push(snapshot_of(block));
            }
            after_heavy = is_heavy(block);
        }
        if !snapshots.is_empty() {
            patiently(|| self.store.put_snapshots(self.wallet, &snapshots)).await?;
        }
        for last in blocks.iter().filter(|block| block.number == last_of(run_of(block.number))) {
            if let Some(run) = self.run(run_of(last.number), blocks).await? {
                patiently(|| self.store.put_run(self.wallet, &run)).await?;
            }
        }
        Ok(())
    }

    /// From these blocks, if they are all of it, else from the tables.
    async fn run(&self, run: u64, blocks: &[Block]) -> Result<Option<MarkRun>> {
        let first = blocks.partition_point(|block| block.number < first_of(run));
        let end = blocks.partition_point(|block| block.number <= last_of(run));
        if let Some(whole) = MarkRun::of(&blocks[first..end]) {
            return Ok(Some(whole));
        }
        let mut found: Vec<Block> = Vec::new();
        while found.len() < RUN_BLOCKS as usize {
            let first = found.last().map_or(first_of(run), |block| block.number.saturating_add(1));
            let page = read(self.store, self.wallet, first, last_of(run)).await?;
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        Ok(MarkRun::of(&found))
    }
}

enum Put {
    Done,
    There,
    Differs,
}

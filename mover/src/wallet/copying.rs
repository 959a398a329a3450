//! Copies blocks of a wallet to the target, and the rows that follow from them.

use futures_util::future::join_all;
use ledger::limits::RUN_BLOCKS;
use ledger::marks::{MarkRun, last_of, run_of};
use ledger::snapshots::snapshots_of;
use ledger::{Append, Block, canonical, moving};
use store::{BlockRange, Store, StoreError, retry};
use tokio::time::Instant;
use topology::WalletId;

use super::{PAGE_BLOCKS, Seen, Written, diverged, last_departure, random};
use crate::{Holds, MoveError, Mover};

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// Copies one page of blocks, in order, and the rows that follow from them.
    pub(super) async fn copy(
        &self,
        wallet: WalletId,
        mut seen: Seen,
        first: u64,
        last: u64,
    ) -> Result<Seen, MoveError> {
        if seen.at.elapsed() > self.head_lifetime / 2 {
            return self.look(wallet, seen.packed).await;
        }
        let unpacked = self.copied_from(&seen, first).await?;
        if first == 1 && unpacked > 1 {
            return self.pass_over(wallet, seen, unpacked).await;
        }
        let last = if first == 0 && unpacked > 1 { 0 } else { last };
        let range = BlockRange { first, last, newest_first: false };
        let page = retry::read(random(wallet), || self.route.from.store.blocks(wallet, range, PAGE_BLOCKS)).await?;
        if page.is_empty() {
            // What was there is gone: purged, after another mover moved it.
            return self.look(wallet, seen.packed).await;
        }
        if let Err(fault) = moving::check_links(seen.copy.prefix.as_ref(), &page) {
            // The same, but for the tombstone: the source was purged after the target was seen.
            return self.unless_changed(wallet, seen, fault.to_string()).await;
        }
        let source = seen.source.as_ref().expect("only of a chain that was seen");
        if moving::lacks_tombstone(&self.route.to.cell, source, &seen.copy, &page) {
            let found = last_departure(&self.route.from.store, &self.route.to.cell, source).await?;
            let Some(stone) = found else {
                // The wallet may have arrived between the two looks, and be on its way back already.
                return self.unless_changed(wallet, seen, "it never left the target".to_owned()).await;
            };
            let append = Append::of(vec![stone], None);
            // Later it could land below a tombstone, with the blocks there purged since.
            let sign_by = Some(seen.at + self.head_lifetime);
            self.append_before(&self.route.to.store, wallet, append, sign_by).await?;
            return self.look(wallet, seen.packed).await;
        }
        let arrives = |block: &Block| block.number == source.number && block.home == self.route.to.cell;
        let is_first_stay = seen.copy.tombstone.is_none();
        // Before all that only the owner's key opens: if the source is rewound, the copy may be all that is left. Of a
        // wallet that returns, after block 0, without which the owner could be purged with the earlier stay.
        let needs_owner = |block: &Block| block.number == u64::from(!is_first_stay) || arrives(block);
        let mut rest = &page[..];
        while !rest.is_empty() {
            let count = if is_first_stay { moving::at_once(&self.route.to.cell, rest) } else { moving::chunk(rest) };
            let count = rest.iter().skip(1).position(needs_owner).map_or(count, |later| count.min(later + 1));
            if needs_owner(&rest[0]) {
                self.bring_owner(wallet, source).await?;
            }
            let (chunk, after) = rest.split_at(count);
            let bytes = chunk.iter().map(|block| canonical::size(block) as u64).sum();
            self.pace.take_bytes(bytes).await;
            let written = match is_first_stay {
                true => self.put_all(wallet, chunk, seen.at + self.head_lifetime).await?,
                // What is left of the earlier stay may be purged at this moment.
                false => self.refill(wallet, chunk).await?,
            };
            if let Written::No = written {
                return self.look(wallet, seen.packed).await;
            }
            self.pace.progress.copied(chunk.len() as u64, bytes);
            rest = after;
        }
        self.record_runs(wallet, &page).await;
        let head = page.last().expect("it is not empty").head();
        // What was refilled reaches up to the tombstone now, or the chain has gone on after it.
        if seen.copy.tombstone.is_some() {
            return self.look(wallet, seen.packed).await;
        }
        seen.copy.prefix = Some(head);
        Ok(seen)
    }

    /// Writes blocks that may be written in any order, one by one. Later than `sign_by` they could land where the chain
    /// has been purged since.
    async fn put_all(&self, wallet: WalletId, blocks: &[Block], sign_by: Instant) -> Result<Written, MoveError> {
        let puts = blocks
            .iter()
            .map(|block| self.append_before(&self.route.to.store, wallet, Append::next(block.clone()), Some(sign_by)));
        let written = join_all(puts).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let is_whole = written.iter().all(|written| matches!(written, Written::Yes));
        Ok(if is_whole { Written::Yes } else { Written::No })
    }

    /// Writes blocks below a tombstone. A copy may have been interrupted before a restored cell got the tombstone: then some
    /// of them are there, with others missing in between.
    async fn refill(&self, wallet: WalletId, blocks: &[Block]) -> Result<Written, MoveError> {
        let target = &self.route.to.store;
        if let Written::Yes = self.append_at(target, wallet, Append::onto(blocks.to_vec())).await? {
            return Ok(Written::Yes);
        }
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(Written::Yes) };
        let range = BlockRange { first: first.number, last: last.number, newest_first: false };
        let there = retry::read(random(wallet), || target.blocks(wallet, range, blocks.len())).await?;
        let is_there = |block: &Block| there.iter().any(|found| found.hash == block.hash);
        if !blocks.iter().any(is_there) {
            return Ok(Written::No);
        }
        for part in blocks.chunk_by(|one, next| is_there(one) == is_there(next)).filter(|part| !is_there(&part[0])) {
            // The block below is named by each, so that nothing is written above what is purged at this moment.
            if let Written::No = self.append_at(target, wallet, Append::onto(part.to_vec())).await? {
                return Ok(Written::No);
            }
        }
        Ok(Written::Yes)
    }

    /// The two cells are seen one after the other, so that two true views can contradict each other. A fault is one only
    /// if another look finds the same.
    pub(super) async fn unless_changed(&self, wallet: WalletId, seen: Seen, what: String) -> Result<Seen, MoveError> {
        let again = self.look(wallet, seen.packed).await?;
        let is_same = again.source == seen.source && again.copy == seen.copy;
        if is_same { Err(diverged(wallet, what)) } else { Ok(again) }
    }

    /// The runs that ended in this page: without them the target would read their blocks to find the marks in them, so
    /// a failure costs time and nothing else.
    async fn record_runs(&self, wallet: WalletId, page: &[Block]) {
        // What the block before the page decides is left to the target's integrity job.
        if let Err(error) = self.route.to.store.put_snapshots(wallet, &snapshots_of(None, page)).await {
            tracing::debug!(%wallet, %error, "snapshots were not recorded");
        }
        for block in page.iter().filter(|block| block.number == last_of(run_of(block.number))) {
            match self.run(run_of(block.number), wallet, page).await {
                Ok(Some(run)) => {
                    if let Err(error) = self.route.to.store.put_run(wallet, &run).await {
                        tracing::debug!(%wallet, %error, "a run was not recorded");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%wallet, %error, "a run was not read"),
            }
        }
    }

    async fn run(&self, run: u64, wallet: WalletId, page: &[Block]) -> Result<Option<MarkRun>, StoreError> {
        let within: Vec<Block> = page.iter().filter(|block| run_of(block.number) == run).cloned().collect();
        if let Some(whole) = MarkRun::of(&within) {
            return Ok(Some(whole));
        }
        let mut blocks: Vec<Block> = Vec::new();
        while (blocks.len() as u64) < RUN_BLOCKS {
            let first = blocks.last().map_or(run * RUN_BLOCKS, |block| block.number + 1);
            let range = BlockRange { first, last: last_of(run), newest_first: false };
            let page = self.route.from.store.blocks(wallet, range, PAGE_BLOCKS).await?;
            if page.is_empty() {
                return Ok(None);
            }
            blocks.extend(page);
        }
        Ok(MarkRun::of(&blocks))
    }
}

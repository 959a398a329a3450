//! Takes old blocks out of a cell's table, once they are in packs of the archive, over any store.
//!
//! It must never delete what is read of the table alone: the newest blocks, by which processes and movers see how a chain
//! ends, and what is above an open transfer. Nor a block before its pack was read back. It may be interrupted anywhere, and
//! run by several processes at once: all of them write the same packs, and delete only what is in one.

use archive::Archive;
use ledger::marks::{MarkRun, run_of};
use ledger::{Block, Head, Timestamp, chain};
use topology::{CellId, WalletId};

use crate::{BlockRange, Store, StoreError};

/// The newest blocks of a chain stay in the table however old they are: far more than are ever read there to see how it
/// ends.
pub const KEPT_BLOCKS: u64 = 256;
/// Blocks read in one page.
const PAGE_BLOCKS: usize = 256;

/// What may be taken out.
#[derive(Debug, Clone, Copy)]
pub struct Packing<'a> {
    pub cell: &'a CellId,
    pub packs: &'a Archive,
    /// Blocks from this time on stay. It has to be longer ago than any write can be late ([`ledger::fence`]).
    pub before: Timestamp,
    /// Newest blocks that stay: [`KEPT_BLOCKS`], but in simulations.
    pub kept: u64,
}

impl Packing<'_> {
    /// Packs what may be packed of a wallet that lives in the cell; the number of packs.
    pub async fn pack<S: Store>(&self, store: &S, wallet: WalletId) -> Result<u64, StoreError> {
        let Some(head) = store.head(wallet).await?.filter(|head| head.home == *self.cell) else { return Ok(0) };
        // Block 0 stays. Of a pack that was deleted in part, the rest is found so too.
        let range = BlockRange { first: 1, last: u64::MAX, newest_first: false };
        let lowest = store.held_page(wallet, range, 1).await?.blocks.pop();
        let mut pack = lowest.map_or(u64::MAX, |block| self.packs.pack_of(block.number));
        let mut packed = 0_u64;
        while self.may_be_packed(*self.packs.numbers_of(pack).end(), &head) {
            let Some(blocks) = self.due(store, wallet, pack).await? else { break };
            self.record_runs(store, wallet, &blocks).await?;
            self.packs.put_pack(&blocks).await?;
            store.drop_packed(&blocks).await?;
            pack = pack.saturating_add(1);
            packed = packed.saturating_add(1);
        }
        Ok(packed)
    }

    /// Whether all up to this block is neither among the newest nor looked up for an open transfer.
    fn may_be_packed(&self, last: u64, head: &Block) -> bool {
        let state = &head.state;
        last.saturating_add(self.kept) <= head.number && (state.open_count == 0 || last < state.open_since)
    }

    /// The blocks of a pack, if all are old enough, each held against the one before.
    async fn due<S: Store>(&self, store: &S, wallet: WalletId, pack: u64) -> Result<Option<Vec<Block>>, StoreError> {
        let (first, last) = self.packs.numbers_of(pack).into_inner();
        let mut blocks: Vec<Block> = Vec::new();
        let mut before: Option<Head> = None;
        let mut next = first.saturating_sub(1);
        while next <= last {
            let range = BlockRange { first: next, last, newest_first: false };
            let page = store.blocks(wallet, range, PAGE_BLOCKS).await?;
            let missing = || StoreError::Corrupt(format!("block {next} of wallet {wallet} is missing"));
            next = page.last().ok_or_else(missing)?.number.saturating_add(1);
            for block in page {
                if before.is_some() || block.number == 0 {
                    let sound = chain::verify(before.as_ref(), &block);
                    sound.map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
                }
                before = Some(block.head());
                blocks.extend((block.number >= first).then_some(block));
            }
        }
        Ok(blocks.last().is_some_and(|block| block.at < self.before).then_some(blocks))
    }

    /// The marks of full runs that are not recorded yet: no block in a pack has to be read for its marks.
    async fn record_runs<S: Store>(&self, store: &S, wallet: WalletId, blocks: &[Block]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
        let recorded = store.mark_runs(wallet, run_of(first.number)..=run_of(last.number)).await?.runs;
        let runs = blocks.chunk_by(|one, next| run_of(one.number) == run_of(next.number)).filter_map(MarkRun::of);
        for run in runs.filter(|run| !recorded.iter().any(|there| there.run == run.run)) {
            store.put_run(wallet, &run).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Writes the chains of a cell that is being restored, over any store.
//!
//! It must never write a block that does not follow on the one below it; [`super::holes`] writes
//! those that stand alone.

use std::time::Duration;

use control_api::restore::RestoredChain;
use ledger::marks::{MarkRun, last_of, run_of};
use ledger::moving::NEWEST_BLOCKS;
use ledger::snapshots::snapshots_of;
use ledger::{Append, Block, moving};
use mover::{Side, random};
use store::commit::{CommitOutcome, commit};
use store::{Store, StoreError};
use tokio::time::Instant;
use topology::{CellId, WalletId};

use super::holes::{self, Held};
use super::{bad_chain, tombstones, try_again};
use crate::Result;

/// How long one write is tried.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Writes a part of a chain that belongs to the cell, and the rows that follow from it.
pub async fn put(store: &impl Store, wallet: WalletId, blocks: &[Block]) -> Result<RestoredChain> {
    // The holes of a copy that was under way are filled one by one.
    for _ in 0..NEWEST_BLOCKS {
        let held = holes::held(store, wallet).await?;
        if let Some(block) = held.differs(blocks) {
            return Ok(RestoredChain::Differs { block });
        }
        let missing = held.missing(blocks);
        if missing.is_empty() {
            break;
        }
        write(store, wallet, &held, missing).await?;
    }
    record_runs(store, wallet, blocks).await?;
    let last = holes::held(store, wallet).await?.prefix.map_or(0, |head| head.number);
    Ok(RestoredChain::Written { last })
}

/// Writes nothing of a chain that belongs to another cell by now, but the block by which the wallet
/// left.
pub async fn leave_elsewhere<S: Store>(
    cell: &CellId,
    store: &S,
    owner: &Side<S>,
    wallet: WalletId,
) -> Result<RestoredChain> {
    if let Some(head) = owner.store.head(wallet).await? {
        tombstones::leave(cell, store, owner, &head.head()).await?;
    }
    Ok(RestoredChain::Elsewhere { cell: owner.cell.clone() })
}

/// Appends blocks that follow on what the cell holds of a chain.
pub(super) async fn write(store: &impl Store, wallet: WalletId, held: &Held, blocks: &[Block]) -> Result<()> {
    let fault = |fault: ledger::chain::ChainFault| bad_chain(format!("wallet {wallet}: {fault}"));
    moving::check_links(held.prefix.as_ref(), blocks).map_err(fault)?;
    let mut rest = blocks;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(moving::chunk(rest));
        append(store, Append::onto(chunk.to_vec())).await?;
        rest = after;
    }
    Ok(())
}

pub(super) async fn append(store: &impl Store, append: Append) -> Result<()> {
    let wallet = append.blocks[0].wallet;
    match commit(store, &append, Instant::now() + WRITE_PATIENCE, random(wallet)).await {
        CommitOutcome::Applied => Ok(()),
        // Another request restores the same chain: what it wrote is looked at when this is asked for again.
        CommitOutcome::Conflict(_) => Err(try_again(format!("{wallet} is being written"))),
        CommitOutcome::NotApplied(why) | CommitOutcome::Unknown(why) => Err(StoreError::Unavailable(why).into()),
    }
}

/// Without the runs the cell would read their blocks to find idempotency keys; snapshots would be
/// found missing.
async fn record_runs(store: &impl Store, wallet: WalletId, blocks: &[Block]) -> Result<()> {
    store.put_snapshots(wallet, &snapshots_of(None, blocks)).await?;
    for block in blocks.iter().filter(|block| block.number == last_of(run_of(block.number))) {
        let run = run_of(block.number);
        let within: Vec<Block> = blocks.iter().filter(|block| run_of(block.number) == run).cloned().collect();
        if let Some(run) = MarkRun::of(&within) {
            store.put_run(wallet, &run).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ledger::{Entry, EntryKind, Money, Timestamp, chain};
    use store::memory::MemoryStore;
    use store::{BlockRange, Chains, Genesis};
    use topology::{Bucket, CellId};
    use uuid::Uuid;

    use super::*;

    fn a_chain(length: usize) -> Vec<Block> {
        let home = CellId::parse("cell-1").expect("sound");
        let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let wallet = WalletId::from_uuid(Uuid::from_u128(9));
        let mut blocks = vec![chain::open(wallet, home, Timestamp::from_micros(1), opened, None)];
        while let Some(last) = blocks.last().filter(|last| last.number + 1 < length as u64) {
            let mut state = last.state.clone();
            state.balance = state.balance.checked_add(Money::from_minor(1)).expect("small");
            let id = Uuid::from_u128(2 + u128::from(last.number));
            let deposit = Entry::new(id, EntryKind::Deposit, Money::from_minor(1), state.balance);
            blocks.push(chain::next(&last.head(), state, vec![deposit], last.at));
        }
        blocks
    }

    #[tokio::test]
    async fn a_copy_with_several_holes_is_filled() {
        let blocks = a_chain(14);
        for present in [&[0, 1, 4, 6, 7, 10][..], &[3, 5], &[0, 2, 13], &[]] {
            let store = MemoryStore::new(Genesis::of(Bucket::all()));
            for number in present {
                store.append(&Append::next(blocks[*number].clone())).await.expect("free");
            }
            let written = put(&store, blocks[0].wallet, &blocks).await.expect("written");
            assert_eq!(written, RestoredChain::Written { last: 13 }, "{present:?}");
            let all = BlockRange { first: 0, last: u64::MAX, newest_first: false };
            assert_eq!(store.blocks(blocks[0].wallet, all, 100).await.expect("answers"), blocks);
        }
    }
}

//! The copies of one wallet's chain in several cells: one of them is the chain, the others are beginnings of it.

use std::collections::BTreeMap;

use ledger::limits::COPY_BLOCKS;
use ledger::marks::{MarkRun, run_of};
use ledger::{Block, moving};
use topology::{CellId, WalletId};

use crate::report::{Violation, violated};
use crate::world::World;

/// What one cell holds of a wallet.
#[derive(Default)]
struct Held {
    blocks: Vec<Block>,
    runs: Vec<MarkRun>,
}

/// The longest copy of each chain, which holds all of it; the others agree with it, and rows follow from them.
pub fn longest(world: &World) -> Result<BTreeMap<WalletId, Vec<Block>>, Violation> {
    let mut wallets: BTreeMap<WalletId, Vec<(&CellId, Held)>> = BTreeMap::new();
    for cell in &world.cells {
        for (wallet, held) in held_by(&cell.store) {
            wallets.entry(wallet).or_default().push((&cell.id, held));
        }
    }
    let mut longest = BTreeMap::new();
    for (wallet, copies) in wallets {
        let ends: Vec<_> = copies
            .iter()
            .filter_map(|(cell, held)| {
                held.blocks.last().map(|head| (cell, held.blocks.len(), head.number, &head.home))
            })
            .map(|(cell, count, number, home)| format!("{cell}: {count} blocks to {number}, home {home}"))
            .collect();
        let ends = ends.join("; ");
        let wrong = |what: String| violated(format!("wallet {wallet}: {what} ({ends})"));
        let size = |held: &Held| (held.blocks.last().map(|block| block.number), held.blocks.len());
        let Some((_, chain)) = copies.iter().max_by_key(|(_, held)| size(held)) else { continue };
        if let Some(gap) = (0..).zip(&chain.blocks).find(|(number, block)| block.number != *number) {
            return wrong(format!("block {} is nowhere", gap.0));
        }
        let mut homes = 0;
        for (cell, held) in &copies {
            if let Some(other) = held.blocks.iter().find(|block| !agrees(&chain.blocks, block)) {
                return wrong(format!("two cells have different blocks {}, {cell} among them", other.number));
            }
            let Some(head) = held.blocks.last() else { continue };
            let is_home = head.home == **cell;
            homes += usize::from(is_home);
            let is_whole = held.blocks.len() as u64 == head.number + 1;
            if is_home && (!is_whole || held.blocks.len() != chain.blocks.len()) {
                return wrong(format!("{cell} serves it and has not all of it"));
            }
            if is_whole {
                check_rows(held).map_err(|what| Violation(format!("wallet {wallet}: {cell}: {what}")))?;
            } else if !is_hollow(cell, &held.blocks) && !is_unfinished(&held.blocks) {
                let numbers: Vec<u64> = held.blocks.iter().map(|block| block.number).collect();
                return wrong(format!("{cell} has holes in its copy that are not below a tombstone: {numbers:?}"));
            }
        }
        if homes > 1 {
            return wrong("two cells serve it".into());
        }
        longest
            .insert(wallet, copies.into_iter().map(|(_, held)| held.blocks).max_by_key(Vec::len).unwrap_or_default());
    }
    Ok(longest)
}

fn held_by(store: &store::memory::MemoryStore) -> BTreeMap<WalletId, Held> {
    let mut held: BTreeMap<WalletId, Held> = BTreeMap::new();
    for (wallet, blocks) in store.chains() {
        // What was emptied is as if it had never been there.
        if !blocks.is_empty() {
            held.entry(wallet).or_default().blocks = blocks;
        }
    }
    for (wallet, run) in store.mark_rows() {
        held.entry(wallet).or_default().runs.push(run);
    }
    held
}

fn agrees(chain: &[Block], block: &Block) -> bool {
    usize::try_from(block.number).is_ok_and(|number| chain.get(number) == Some(block))
}

/// Only of what is written at once by a mover some is missing.
fn is_unfinished(blocks: &[Block]) -> bool {
    let newest = blocks.last().map_or(0, |block| block.number);
    let whole = (newest + 1).saturating_sub(COPY_BLOCKS as u64);
    (0..whole).zip(blocks).all(|(number, block)| block.number == number)
}

/// A beginning, perhaps of a copy that was interrupted, and, further on, one last block by which the wallet left this cell.
fn is_hollow(cell: &CellId, blocks: &[Block]) -> bool {
    let Some((stone, below)) = blocks.split_last() else { return false };
    is_unfinished(below) && moving::is_tombstone(cell, stone)
}

/// The row of each full run lists the marks that its blocks bear.
fn check_rows(held: &Held) -> Result<(), String> {
    let runs: BTreeMap<u64, MarkRun> = held
        .blocks
        .chunk_by(|a, b| run_of(a.number) == run_of(b.number))
        .filter_map(MarkRun::of)
        .map(|run| (run.run, run))
        .collect();
    let differs = |row: &&MarkRun| runs.get(&row.run).is_some_and(|run| run != *row);
    held.runs
        .iter()
        .find(differs)
        .map_or(Ok(()), |row| Err(format!("the row of run {} is not what its blocks say", row.run)))
}

//! The blocks that only the former Region of a cell has: the branches that the cell did not go on with.

use std::collections::HashSet;

use anyhow::{Context, Result};
use ledger::Block;
use ledger::block::Hash;
use store::{BlockRange, Store};
use topology::WalletId;

use super::{Tables, listed};

/// Blocks that are read at once.
const PAGE_BLOCKS: usize = 256;

/// In the order of each chain.
pub async fn branches(former: &Tables, home: &Tables) -> Result<Vec<Block>> {
    let mut only_there = Vec::new();
    for wallet in listed(former).await? {
        let kept: HashSet<Hash> = chain(&home.store, wallet).await?.iter().map(|block| block.hash).collect();
        let blocks = chain(&former.store, wallet).await?;
        only_there.extend(blocks.into_iter().filter(|block| !kept.contains(&block.hash)));
    }
    Ok(only_there)
}

async fn chain(store: &impl Store, wallet: WalletId) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        let range = BlockRange { first: blocks.len() as u64, last: u64::MAX, newest_first: false };
        let page = store.blocks(wallet, range, PAGE_BLOCKS).await.context("the tables do not answer")?;
        let is_last = page.len() < PAGE_BLOCKS;
        blocks.extend(page);
        if is_last {
            return Ok(blocks);
        }
    }
}

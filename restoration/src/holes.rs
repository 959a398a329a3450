//! Chains that are there but for some blocks: what a cell holds of them, and what would fill the hole.

use ledger::{Append, Block, Head, moving};
use mover::newest_blocks;
use store::{BlockRange, HomeChange, HomeKey, HomeRow, HomeState, Store};
use topology::{CellId, WalletId};

use super::chains::append;
use crate::Result;

/// What the cell holds of a chain.
pub struct Held {
    /// The last block of the unbroken beginning.
    pub prefix: Option<Head>,
    /// The newest block. There are holes below it where it is not the same.
    pub newest: Option<Head>,
    /// The number of the lowest block above the first hole: of a copy, which is written in any order, there may be several.
    above: Option<u64>,
}

pub async fn held(store: &impl Store, wallet: WalletId) -> Result<Held> {
    let blocks = newest_blocks(store, wallet).await?;
    let prefix = moving::unbroken(&blocks).map(Block::head);
    let first = prefix.as_ref().map_or(0, |head| head.number + 1);
    let above = blocks.iter().rev().map(|block| block.number).find(|number| *number >= first);
    Ok(Held { prefix, newest: blocks.first().map(Block::head), above })
}

impl Held {
    /// The end of the chain, if nothing is missing below it.
    pub fn whole(self) -> Option<Head> {
        self.prefix.filter(|prefix| self.newest.as_ref() == Some(prefix))
    }

    /// The number of a block that is there already, and is another one.
    pub fn differs(&self, blocks: &[Block]) -> Option<u64> {
        let of = |head: &&Head| blocks.iter().any(|block| block.number == head.number && !moving::agrees(head, block));
        self.prefix.iter().chain(&self.newest).find(of).map(|head| head.number)
    }

    /// Those that fill the first hole, or continue the chain.
    pub fn missing<'b>(&self, blocks: &'b [Block]) -> &'b [Block] {
        let first = self.prefix.as_ref().map_or(0, |head| head.number + 1);
        let before = self.above.unwrap_or(u64::MAX);
        let begin = blocks.partition_point(|block| block.number < first);
        let end = blocks.partition_point(|block| block.number < before).max(begin);
        &blocks[begin..end]
    }
}

/// Puts the newest block of a chain into the cell that it names as home, although blocks below it
/// are missing: the cell does not serve the wallet, and neither serves nor continues an older part
/// of its chain. Nor does it create the wallet.
pub async fn leave_open(store: &impl Store, last_seen: &CellId, newest: &Block) -> Result<()> {
    let key = HomeKey::Wallet(newest.wallet);
    if store.home(key).await?.is_none() {
        let row = HomeRow { state: HomeState::Closing { to: last_seen.clone() }, epoch: 1 };
        store.change_homes(&[HomeChange { key, expected: None, row, unless_chain: true, while_served: None }]).await?;
    }
    let above = BlockRange { first: newest.number, last: u64::MAX, newest_first: false };
    match store.blocks(newest.wallet, above, 1).await?.is_empty() {
        true => append(store, Append::of(vec![newest.clone()], None)).await,
        false => Ok(()),
    }
}

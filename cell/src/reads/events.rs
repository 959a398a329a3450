//! What happens in a cell, for its followers: the blocks that its log of checkpoints commits to, in
//! the log's order. Nothing is written for it: the log is there, and the blocks are the chains
//! themselves. So a follower that comes back with an older cursor, however old, gets the same
//! again, and a signed checkpoint commits to everything that is sent.
//!
//! At least once: a wallet that has moved here brings blocks that its old cell may have sent.
//! (wallet, block) identifies each.

use std::collections::HashMap;
use std::fmt;

use ledger::Block;
use ledger::checkpoint::Leaf;
use store::log::Log;
use store::{BlockRange, Store, StoreError};
use topology::{CellId, WalletId};

use crate::reads::personal::Opener;

/// Blocks read in one go.
const PAGE_BLOCKS: usize = 128;
/// Owners of wallets that one follower's stream remembers.
const MAX_OPENERS: usize = 1_000;

/// Up to where a caller has followed a cell: the next leaf is number `leaf` of those that
/// checkpoint `checkpoint` added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub cell: CellId,
    pub checkpoint: u64,
    pub leaf: u64,
}

impl Cursor {
    /// Before everything.
    pub fn start(cell: CellId) -> Self {
        Self { cell, checkpoint: 1, leaf: 0 }
    }

    /// Reads what [`fmt::Display`] writes: `<cell>:<checkpoint>:<leaf>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, leaf) = text.rsplit_once(':')?;
        let (cell, checkpoint) = rest.rsplit_once(':')?;
        let cursor = Self {
            cell: CellId::parse(cell).ok()?,
            checkpoint: checkpoint.parse().ok().filter(|number| *number > 0)?,
            leaf: leaf.parse().ok()?,
        };
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.cell, self.checkpoint, self.leaf)
    }
}

/// Follows one cell from a cursor on.
pub struct Events<S> {
    store: S,
    log: Log<S>,
    pub cursor: Cursor,
    /// Leaves of the cursor's checkpoint, once it is read.
    leaves: Vec<Leaf>,
    /// The next block of the cursor's leaf.
    block: Option<u64>,
    /// Of the wallets that the cursor's checkpoint names; read again for the next one.
    openers: HashMap<WalletId, Opener>,
}

impl<S: Store> Events<S> {
    pub fn new(store: S, cursor: Cursor) -> Self {
        let log = Log::new(store.clone(), cursor.cell.clone());
        Self { store, log, cursor, leaves: Vec::new(), block: None, openers: HashMap::new() }
    }

    /// The next blocks, and what opens them; none: that was all for now. The cursor is after them, or where a page ends inside a leaf, before
    /// all of that leaf's.
    pub async fn page(&mut self) -> Result<(Vec<Block>, Opener), StoreError> {
        loop {
            if self.leaves.is_empty() {
                let Some(entry) = self.log.entry(self.cursor.checkpoint).await? else { return Ok(Default::default()) };
                self.leaves = self.log.leaves(&entry).await?;
            }
            let leaf = usize::try_from(self.cursor.leaf).ok().and_then(|place| self.leaves.get(place)).copied();
            let Some(leaf) = leaf else {
                self.cursor.checkpoint = self.cursor.checkpoint.saturating_add(1);
                self.cursor.leaf = 0;
                self.leaves.clear();
                self.openers.clear();
                continue;
            };
            let first = self.block.unwrap_or(leaf.first);
            let range = BlockRange { first, last: leaf.block, newest_first: false };
            let blocks = self.store.blocks(leaf.wallet, range, PAGE_BLOCKS).await?;
            match blocks.last() {
                Some(last) if last.number < leaf.block => self.block = Some(last.number.saturating_add(1)),
                // All of them; or they were forgotten since, and the wallet's new cell tells of them.
                _ => {
                    self.block = None;
                    self.cursor.leaf = self.cursor.leaf.saturating_add(1);
                }
            }
            if !blocks.is_empty() {
                return Ok((blocks, self.opener(leaf.wallet).await?));
            }
        }
    }
}

impl<S: Store> Events<S> {
    async fn opener(&mut self, wallet: WalletId) -> Result<Opener, StoreError> {
        if let Some(opener) = self.openers.get(&wallet) {
            return Ok(opener.clone());
        }
        let opener = Opener::of(&self.store, wallet).await?;
        if self.openers.len() < MAX_OPENERS {
            self.openers.insert(wallet, opener.clone());
        }
        Ok(opener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_prints_and_in_no_other_way() {
        let cursor = Cursor { cell: CellId::parse("cell-1").expect("sound"), checkpoint: 12, leaf: 345 };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for wrong in ["", "cell-1", "cell-1:1", "cell-1:0:0", "cell-1:01:0", "cell-1:1:-1", "Cell:1:1", "cell-1:1:1:1"]
        {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}

//! What happens in a cell, for its followers: the blocks of its archive, in the order of the archive's log. Nothing is
//! written for it. A follower that comes back with an older cursor, however old, gets the same again.
//!
//! At least once: a wallet that moves here brings blocks that its old cell may have sent, and the archive may hold a block
//! twice. (wallet, block) identifies each. Those that this cell wrote of a wallet come in their order; those that it
//! copied from another cell come in the order in which they were copied.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use archive::ArchiveError;
use futures_util::{StreamExt, TryStreamExt, stream};
use ledger::Block;
use store::{Store, StoreError};
use topology::{CellId, WalletId};

use crate::reads::personal::Opener;
use crate::reads::tail::Tail;

/// Blocks that are sent at once.
const PAGE_BLOCKS: usize = 128;
/// Owners of their wallets that are read at the same time.
const OWNERS_AT_ONCE: usize = 16;

/// Up to where a caller has followed a cell: the next block is number `place`, from 0 on, of the segment that entry
/// `entry` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub cell: CellId,
    pub entry: u64,
    pub place: u64,
}

impl Cursor {
    /// Before everything.
    pub fn start(cell: CellId) -> Self {
        Self { cell, entry: 1, place: 0 }
    }

    /// Reads what [`fmt::Display`] writes: `<cell>:<entry>:<place>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, place) = text.rsplit_once(':')?;
        let (cell, entry) = rest.rsplit_once(':')?;
        let cursor = Self {
            cell: CellId::parse(cell).ok()?,
            entry: entry.parse().ok().filter(|number| *number > 0)?,
            place: place.parse().ok()?,
        };
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.cell, self.entry, self.place)
    }
}

/// Why an answer ends before its time. The client comes back with its cursor.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Follows one cell from a cursor on.
pub struct Events<S> {
    store: S,
    tail: Tail,
    pub cursor: Cursor,
}

impl<S: Store> Events<S> {
    pub fn new(store: S, tail: Tail, cursor: Cursor) -> Self {
        Self { store, tail, cursor }
    }

    /// The next blocks, each with what opens it; none: that was all for now. The cursor is after them.
    pub async fn page(&mut self) -> Result<Vec<(Block, Opener)>, Interrupted> {
        while let Some(piece) = self.tail.piece(self.cursor.entry).await? {
            let place = usize::try_from(self.cursor.place).unwrap_or(usize::MAX);
            let rest = piece.blocks.get(place..).unwrap_or_default();
            let page = &rest[..rest.len().min(PAGE_BLOCKS)];
            if page.len() < rest.len() {
                self.cursor.place = self.cursor.place.saturating_add(PAGE_BLOCKS as u64);
            } else {
                (self.cursor.entry, self.cursor.place) = (self.cursor.entry.saturating_add(1), 0);
            }
            if !page.is_empty() {
                return Ok(self.opened(page).await?);
            }
        }
        Ok(vec![])
    }

    /// Owners are read again for each page: one may be erased meanwhile.
    async fn opened(&self, page: &[Block]) -> Result<Vec<(Block, Opener)>, StoreError> {
        let wallets: BTreeSet<WalletId> = page.iter().map(|block| block.wallet).collect();
        let read = stream::iter(wallets)
            .map(|wallet| async move { Ok::<_, StoreError>((wallet, Opener::of(&self.store, wallet).await?)) });
        let openers: HashMap<WalletId, Opener> = read.buffer_unordered(OWNERS_AT_ONCE).try_collect().await?;
        let opener = |block: &Block| openers.get(&block.wallet).cloned().unwrap_or_default();
        Ok(page.iter().map(|block| (block.clone(), opener(block))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_prints_and_in_no_other_way() {
        let cursor = Cursor { cell: CellId::parse("cell-1").expect("sound"), entry: 12, place: 345 };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for wrong in ["", "cell-1", "cell-1:1", "cell-1:0:0", "cell-1:01:0", "cell-1:1:-1", "Cell:1:1", "cell-1:1:1:1"]
        {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}

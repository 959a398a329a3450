//! A statement: what happened to a wallet between two times, oldest first, with the balance before and after. Read page
//! by page while it is sent, up to the head at the time it was asked for: however long it is, little of it is in memory.

use ledger::{Block, Money, Timestamp};
use store::{BlockRange, Store, StoreError};
use topology::WalletId;

use crate::reads::history::{self, Line};
use crate::reads::personal::Opener;

/// Blocks read in one go.
const PAGE_BLOCKS: usize = 128;

/// A statement that is being read.
#[derive(Debug, Clone)]
pub struct Statement {
    pub wallet: WalletId,
    pub from: Timestamp,
    pub to: Timestamp,
    pub opening: Money,
    /// The balance after what was read so far; at the end, the closing one.
    pub balance: Money,
    /// Where the next page starts; none: there is no more.
    next: Option<u64>,
    last: u64,
    opener: Opener,
}

impl Statement {
    /// Of what happened from `from` on, before `to`, in the wallet with this head.
    pub async fn open<S: Store>(
        store: &S,
        head: &Block,
        opener: Opener,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Statement, StoreError> {
        let before = history::block_at(store, head, from.plus_micros(-1)).await?;
        let opening = before.as_ref().map_or(Money::ZERO, |block| block.state.balance);
        let first = before.map_or(0, |block| block.number.saturating_add(1));
        let next = (first <= head.number && from < to).then_some(first);
        Ok(Statement { wallet: head.wallet, from, to, opening, balance: opening, next, last: head.number, opener })
    }

    /// The next lines; empty at the end.
    pub async fn page<S: Store>(&mut self, store: &S) -> Result<Vec<Line>, StoreError> {
        let mut lines = Vec::new();
        // One page may hold nothing but what is not listed.
        while let (Some(first), true) = (self.next, lines.is_empty()) {
            let range = BlockRange { first, last: self.last, newest_first: false };
            let blocks = store.blocks(self.wallet, range, PAGE_BLOCKS).await?;
            let Some(newest) = blocks.last() else {
                return Err(StoreError::Corrupt(format!("block {first} of wallet {} is missing", self.wallet)));
            };
            self.next = (newest.number < self.last && newest.at < self.to).then(|| newest.number.saturating_add(1));
            for block in blocks.iter().filter(|block| block.at < self.to) {
                self.balance = block.state.balance;
                lines.extend(self.opener.lines(block));
            }
        }
        Ok(lines)
    }
}

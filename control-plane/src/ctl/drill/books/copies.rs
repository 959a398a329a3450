//! The copies of one wallet's chain in the cells that hold one, read side by side, page by page.
//!
//! The cells that a wallet moved through keep what they had: the shorter copy must be the beginning of the longer.

use std::collections::VecDeque;

use ledger::chain;
use ledger::store::{BlockRange, Store, StoreError};
use ledger::{Block, Head};
use topology::{CellId, WalletId};

use super::{Faults, Tables};

/// Blocks held of one copy at once.
const PAGE_BLOCKS: usize = 256;

struct Copy<'a> {
    tables: &'a Tables,
    head: Head,
    page: VecDeque<Block>,
}

pub struct Copies<'a> {
    wallet: WalletId,
    /// The longest first: that is the chain.
    copies: Vec<Copy<'a>>,
    next: u64,
    previous: Option<Head>,
}

impl<'a> Copies<'a> {
    pub async fn open(wallet: WalletId, holders: &[usize], tables: &'a [Tables]) -> Result<Self, StoreError> {
        let mut copies = Vec::new();
        for tables in holders.iter().map(|position| &tables[*position]) {
            if let Some(head) = tables.store.head(wallet).await? {
                copies.push(Copy { tables, head: head.head(), page: VecDeque::new() });
            }
        }
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.head.number));
        Ok(Self { wallet, copies, next: 0, previous: None })
    }

    /// The one cell whose copy says that the wallet lives there; it must have the longest.
    pub fn home(&self) -> Result<&'a CellId, String> {
        let wallet = self.wallet;
        let at_home: Vec<&Copy<'a>> = self.copies.iter().filter(|copy| copy.head.home == copy.tables.cell).collect();
        let longest = self.copies.first().map_or(0, |copy| copy.head.number);
        match at_home.as_slice() {
            [copy] if copy.head.number == longest => Ok(&copy.tables.cell),
            [copy] => Err(format!("wallet {wallet} lives in {}, but another copy is longer", copy.tables.cell)),
            many => {
                let cells: Vec<&str> = many.iter().map(|copy| copy.tables.cell.as_str()).collect();
                Err(format!("wallet {wallet} lives in {} cells [{}]", many.len(), cells.join(", ")))
            }
        }
    }

    /// The next block of the chain, checked against the one before it and against every copy that is long enough.
    pub async fn next(&mut self, broken: &mut Faults) -> Result<Option<Block>, StoreError> {
        let number = self.next;
        let mut blocks = Vec::with_capacity(self.copies.len());
        for copy in self.copies.iter_mut().filter(|copy| copy.head.number >= number) {
            match copy.take(self.wallet, number).await? {
                Some(block) => blocks.push((&copy.tables.cell, block)),
                None => broken.add(format!("wallet {} in {}: no block {number}", self.wallet, copy.tables.cell)),
            }
        }
        let mut blocks = blocks.into_iter();
        let Some((cell, block)) = blocks.next() else { return Ok(None) };
        for (other, copy) in blocks.filter(|(_, copy)| copy.hash != block.hash) {
            broken.add(format!(
                "wallet {}: block {number} in {other} ({}) is not that in {cell}",
                self.wallet, copy.hash
            ));
        }
        if let Err(fault) = chain::verify(self.previous.as_ref(), &block) {
            broken.add(format!("wallet {} in {cell}: {fault}", self.wallet));
        }
        self.previous = Some(block.head());
        self.next += 1;
        Ok(Some(block))
    }
}

impl Copy<'_> {
    async fn take(&mut self, wallet: WalletId, number: u64) -> Result<Option<Block>, StoreError> {
        if self.page.is_empty() {
            let range = BlockRange { first: number, last: u64::MAX, newest_first: false };
            self.page = self.tables.store.blocks(wallet, range, PAGE_BLOCKS).await?.into();
        }
        Ok(self.page.pop_front())
    }
}

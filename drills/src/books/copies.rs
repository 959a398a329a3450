//! The copies of one wallet's chain in the cells that hold one, read side by side, page by page.
//!
//! The cells that a wallet moved through keep what they had: the shorter copy must be the beginning of the longer.

use std::collections::VecDeque;

use ledger::{Block, Head, chain};
use store::{BlockRange, Store, StoreError};
use topology::{CellId, WalletId};

use super::{Faults, Tables};

/// Blocks held of one copy at once.
const PAGE_BLOCKS: usize = 256;

struct Copy<'a, S> {
    tables: &'a Tables<S>,
    head: Head,
    page: VecDeque<Block>,
}

pub struct Copies<'a, S> {
    wallet: WalletId,
    /// The longest first: that is the chain.
    copies: Vec<Copy<'a, S>>,
    next: u64,
    previous: Option<Head>,
}

impl<'a, S: Store> Copies<'a, S> {
    pub async fn open(wallet: WalletId, holders: &[usize], tables: &'a [Tables<S>]) -> Result<Self, StoreError> {
        let mut copies = Vec::new();
        for tables in holders.iter().map(|position| &tables[*position]) {
            if let Some(head) = tables.store.head(wallet).await? {
                copies.push(Copy { tables, head: head.head(), page: VecDeque::new() });
            }
        }
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.head.number));
        Ok(Self { wallet, copies, next: 0, previous: None })
    }

    /// The one cell with a copy that says that the wallet lives there; it must have the longest.
    pub fn home(&self) -> Result<&'a CellId, String> {
        let wallet = self.wallet;
        let at_home: Vec<&Copy<'a, S>> = self.copies.iter().filter(|copy| copy.head.home == copy.tables.cell).collect();
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

impl<S: Store> Copy<'_, S> {
    async fn take(&mut self, wallet: WalletId, number: u64) -> Result<Option<Block>, StoreError> {
        if self.page.is_empty() {
            let range = BlockRange { first: number, last: u64::MAX, newest_first: false };
            self.page = self.tables.store.blocks(wallet, range, PAGE_BLOCKS).await?.into();
        }
        Ok(self.page.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Append, Entry, EntryKind, Guard, Money, Timestamp, WalletState};
    use store::Chains;
    use store::Genesis;
    use store::memory::MemoryStore;
    use uuid::Uuid;

    use super::*;

    fn cell(number: u16) -> CellId {
        CellId::parse(format!("cell-{number}")).expect("sound")
    }

    fn wallet() -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(9))
    }

    fn entry(id: u128, kind: EntryKind, balance: u64) -> Entry {
        let amount = if kind == EntryKind::Deposit { Money::from_minor(5) } else { Money::ZERO };
        Entry::new(Uuid::from_u128(id), kind, amount, Money::from_minor(balance))
    }

    fn after(block: &Block, entry: Entry) -> Block {
        let state = WalletState { balance: entry.balance_after, ..block.state.clone() };
        chain::next(&block.head(), state, vec![entry], block.at)
    }

    /// Opened in cell 1, a deposit, moved to cell 2, a deposit there.
    fn moved_chain() -> Vec<Block> {
        let opened = entry(1, EntryKind::Opened, 0);
        let mut blocks = vec![chain::open(wallet(), cell(1), Timestamp::from_micros(1), opened, None)];
        let moved = EntryKind::Moved { from: cell(1), to: cell(2), epoch: 1 };
        for entry in [entry(2, EntryKind::Deposit, 5), entry(3, moved, 5), entry(4, EntryKind::Deposit, 10)] {
            blocks.push(after(blocks.last().expect("block 0"), entry));
        }
        blocks
    }

    async fn tables(number: u16, blocks: &[Block]) -> Tables<MemoryStore> {
        let store = MemoryStore::new(Genesis::of([wallet().bucket()]));
        for block in blocks {
            let guard = (block.number == 0).then_some(Guard::Bucket { genesis: true });
            store.append(&Append::of(vec![block.clone()], guard)).await.expect("no fault is injected");
        }
        Tables { cell: cell(number), store }
    }

    /// The home, if there is one, whether every block is sound, and how many there are.
    async fn read(here: &[Block], there: &[Block]) -> (Option<CellId>, bool, usize) {
        let tables = [tables(1, here).await, tables(2, there).await];
        let mut copies = Copies::open(wallet(), &[0, 1], &tables).await.expect("memory answers");
        let (home, mut broken, mut count) = (copies.home().ok().cloned(), Faults::default(), 0);
        while copies.next(&mut broken).await.expect("memory answers").is_some() {
            count += 1;
        }
        (home, broken.check("", String::new()).passed, count)
    }

    #[tokio::test]
    async fn what_a_moved_wallet_left_must_begin_its_chain() {
        let chain = moved_chain();
        assert_eq!(read(&chain[..3], &chain).await, (Some(cell(2)), true, 4));
        let other = [chain[0].clone(), after(&chain[0], entry(7, EntryKind::Deposit, 5))];
        assert_eq!(read(&other, &chain).await, (None, false, 4), "another block 1, and a second home");
    }

    #[tokio::test]
    async fn a_wallet_lives_in_exactly_one_cell() {
        let chain = moved_chain();
        assert_eq!(read(&chain[..2], &chain[..2]).await.0, Some(cell(1)), "copied, not moved yet");
        assert_eq!(read(&chain[..3], &chain[..2]).await.0, None, "the last block has not arrived");
        assert_eq!(read(&chain[..2], &chain).await.0, None, "the old cell does not know that it has lost the wallet");
    }
}

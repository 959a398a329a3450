//! The auditor: reads every chain and row of every cell straight from the tables, and holds them
//! against the rules of the ledger and against the answers that clients got. Trusts no process of
//! the fleet but the databases.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger::limits::RUN_BLOCKS;
use ledger::marks::{MarkRun, last_of, run_of};
use ledger::{Block, Entry, EntryKind, chain};
use reconciliation::{Reported, Sums, Transfers};
use store::dynamodb::DynamoStore;
use store::verify::Replayed;
use store::{BlockRange, Chains, Homes};
use topology::{Bucket, WalletId};
use uuid::Uuid;

use super::journal::{Request, What};
use super::{Fleet, until};

const PAGE: usize = 1_000;
/// Pages of one listing; a test that needs more should be a smaller one.
const MAX_PAGES: usize = 10_000;

/// Everything that one cell stores of its wallets.
pub struct CellBooks {
    pub name: String,
    pub chains: BTreeMap<WalletId, Vec<Block>>,
    runs: BTreeMap<(WalletId, u64), MarkRun>,
}

pub struct Books {
    pub cells: Vec<CellBooks>,
    /// Which of the cells has each wallet's longest chain; what others hold of it was left behind, or is on its way.
    longest: BTreeMap<WalletId, usize>,
}

/// Whether couriers may still be at work between the reads of two tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Moving,
    Still,
}

/// What an audit adds up.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub deposits: u64,
    pub withdrawals: u64,
    pub balances: u64,
    pub in_flight: u64,
    pub open_transfers: usize,
    pub blocks: usize,
    pub entries: usize,
}

impl Books {
    /// Money must not be sent meanwhile; it may still be arriving (see [`Moment`]).
    pub async fn read(fleet: &Fleet) -> Self {
        Self::read_cells(fleet, fleet.shape.cells).await
    }

    /// The same of so many cells, if some were added since the start.
    pub async fn read_cells(fleet: &Fleet, count: u16) -> Self {
        let mut cells = Vec::new();
        for cell in 1..=count {
            cells.push(CellBooks::read(&fleet.store(cell).await, &format!("cell-{cell}")).await);
        }
        Self::of(cells)
    }

    /// The same of cells that were read one by one.
    pub fn of(cells: Vec<CellBooks>) -> Self {
        let mut longest: BTreeMap<WalletId, usize> = BTreeMap::new();
        let last = |cell: &CellBooks, wallet| cell.chains.get(wallet).and_then(|chain| chain.last()).map(|b| b.number);
        for (position, cell) in cells.iter().enumerate() {
            for wallet in cell.chains.keys() {
                let known = longest.entry(*wallet).or_insert(position);
                // Right after a cutover both end with the same block: the one at home serves.
                let (mine, best) = (last(cell, wallet), last(&cells[*known], wallet));
                if mine > best || (mine == best && cell.is_home_of(wallet)) {
                    *known = position;
                }
            }
        }
        Self { cells, longest }
    }

    /// What is there once no transfer is open any more.
    pub async fn read_settled(fleet: &Fleet, within_s: u64) -> Self {
        let mut settled = None;
        until(within_s, "no transfer is open", async || {
            let books = Self::read(fleet).await;
            let is_still = books.cells.iter().all(|cell| cell.open_at_home() == 0);
            settled = Some(books);
            is_still
        })
        .await;
        settled.expect("just read")
    }

    /// Every wallet's chain, wherever it lives.
    pub fn chains(&self) -> impl Iterator<Item = (&WalletId, &Vec<Block>)> {
        self.longest.iter().map(|(wallet, cell)| (wallet, &self.cells[*cell].chains[wallet]))
    }

    /// The cell that serves the wallet.
    pub fn home(&self, wallet: WalletId) -> Option<&str> {
        self.longest.get(&wallet).map(|cell| self.cells[*cell].name.as_str())
    }

    /// Copies of one chain agree block by block; only the longest is at home, and it is whole.
    fn check_copies(&self, moment: Moment) {
        for (wallet, whole) in self.chains() {
            for cell in self.cells.iter().filter(|cell| cell.chains.contains_key(wallet)) {
                let copy = &cell.chains[wallet];
                for block in copy {
                    let number = usize::try_from(block.number).expect("a short chain");
                    assert_eq!(
                        Some(block.hash),
                        whole.get(number).map(|b| b.hash),
                        "{wallet} differs in {}",
                        cell.name
                    );
                }
                let serves = cell.is_home_of(wallet);
                let is_longest = self.home(*wallet) == Some(cell.name.as_str());
                assert!(!serves || is_longest, "{wallet} is served in {} from an old chain", cell.name);
                assert!(serves || !is_longest || moment == Moment::Moving, "{wallet} is served nowhere");
                let numbers = copy.iter().map(|block| block.number);
                let is_whole = numbers.eq(0..copy.len() as u64);
                assert!(is_whole || (!is_longest && copy.len() == 1), "{wallet} has a hole in {}", cell.name);
            }
        }
    }

    pub fn chain(&self, wallet: WalletId) -> &[Block] {
        self.chains().find(|(own, _)| **own == wallet).map(|(_, chain)| chain.as_slice()).unwrap_or_default()
    }

    /// Panics at the first thing that cannot be.
    pub fn audit(&self, moment: Moment) -> Totals {
        self.check_copies(moment);
        for (wallet, blocks) in self.chains() {
            check_chain(*wallet, blocks);
        }
        for cell in &self.cells {
            cell.check_runs();
        }
        let mut totals = self.totals();
        let mut transfers = Transfers::default();
        for (wallet, blocks) in self.chains() {
            blocks.iter().flat_map(|block| &block.entries).for_each(|entry| transfers.take(*wallet, entry));
        }
        let faults: Vec<_> = transfers.faults().collect();
        assert!(faults.is_empty(), "{faults:?}");
        totals.in_flight = transfers.in_flight();
        totals.open_transfers = transfers.open.values().filter(|legs| legs.in_flight().is_some()).count();
        let Totals { balances, deposits: came_in, withdrawals: went_out, in_flight, .. } = totals;
        let sums = Sums { balances, in_flight: in_flight.into(), came_in, went_out };
        assert_eq!(sums.difference(), 0, "money was made or lost: {totals:?}");
        totals
    }

    fn totals(&self) -> Totals {
        let (mut totals, mut sums) = (Totals::default(), Sums::default());
        for (_, blocks) in self.chains() {
            totals.blocks += blocks.len();
            totals.balances += blocks.last().map_or(0, |head| head.state.balance.minor());
            for entry in blocks.iter().flat_map(|block| &block.entries) {
                totals.entries += 1;
                sums.take(entry);
            }
        }
        (totals.deposits, totals.withdrawals) = (sums.came_in, sums.went_out);
        totals
    }

    /// Every acknowledged request is in exactly one chain exactly once and as asked; no refused one is in any.
    pub fn check_requests<'a>(&self, requests: impl IntoIterator<Item = &'a Request>) {
        let mut keyed: HashMap<[u8; 16], Vec<(WalletId, &Entry)>> = HashMap::new();
        let mut returned = BTreeSet::new();
        for (wallet, blocks) in self.chains() {
            for entry in blocks.iter().flat_map(|block| &block.entries) {
                if let Some(key) = &entry.key {
                    keyed.entry(key.key).or_default().push((*wallet, entry));
                }
                if let EntryKind::TransferReturned { transfer, .. } = entry.kind {
                    returned.insert(transfer);
                }
            }
        }
        for request in requests {
            let entries = keyed.get(&request.key_hash()).map_or(&[][..], Vec::as_slice);
            let count = entries.len();
            assert!(request.reported.entries().contains(&count), "in the chains {count} times: {request:?}");
            match (&request.reported, entries) {
                (Reported::Done(transfer), [(wallet, entry)]) => {
                    check_done(request, *wallet, entry, *transfer);
                    assert!(transfer.is_none_or(|id| !returned.contains(&id)), "returned: {request:?}");
                }
                (Reported::Returned, [(_, entry)]) => {
                    assert!(returned.contains(&entry.id), "not returned: {request:?}");
                }
                _ => {}
            }
        }
    }
}

impl CellBooks {
    pub async fn read(store: &DynamoStore, name: &str) -> Self {
        let mut books = Self { name: name.to_owned(), chains: BTreeMap::new(), runs: BTreeMap::new() };
        for wallet in members(store).await {
            let chain = read_chain(store, wallet).await;
            if chain.is_empty() {
                continue;
            }
            books.chains.insert(wallet, chain);
            let mut last = Some(u64::MAX);
            while let Some(newest) = last {
                let page = store.mark_runs(wallet, 0..=newest).await.expect("the tables answer");
                let oldest = page.runs.last().map(|run| run.run).filter(|_| page.more);
                last = oldest.and_then(|oldest| oldest.checked_sub(1));
                books.runs.extend(page.runs.into_iter().map(|run| ((wallet, run.run), run)));
            }
        }
        books
    }

    /// Open transfers out of wallets that live here.
    pub fn open_at_home(&self) -> usize {
        let heads = self.chains.iter().filter(|(wallet, _)| self.is_home_of(wallet)).filter_map(|(_, c)| c.last());
        heads.map(|head| head.state.open_count as usize).sum()
    }

    fn is_home_of(&self, wallet: &WalletId) -> bool {
        let head = self.chains.get(wallet).and_then(|chain| chain.last());
        head.is_some_and(|head| head.home.as_str() == self.name)
    }

    /// A run of marks that is recorded is what its blocks say. One may be missing: it is only an index.
    fn check_runs(&self) {
        for ((wallet, number), run) in &self.runs {
            let first = usize::try_from(number * RUN_BLOCKS).expect("a short chain");
            let last = usize::try_from(last_of(*number)).expect("a short chain");
            let blocks = self.chains.get(wallet).and_then(|chain| chain.get(first..=last));
            let expected = blocks.and_then(MarkRun::of);
            assert_eq!(Some(run), expected.as_ref(), "run {number} (of block {}) of {wallet}", run_of(first as u64));
        }
    }
}

fn check_chain(wallet: WalletId, blocks: &[Block]) {
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let (mut head, mut replayed) = (None, Replayed::default());
    for block in blocks {
        assert_eq!(block.wallet, wallet);
        assert_eq!(replayed.take(block), Vec::<String>::new(), "wallet {wallet}, block {}", block.number);
        chain::verify(head.as_ref(), block).unwrap_or_else(|fault| panic!("wallet {wallet}: {fault}"));
        head = Some(block.head());
        for entry in &block.entries {
            assert!(ids.insert(entry.id), "wallet {wallet}: entry {} twice", entry.id);
            let fresh = entry.key.is_none_or(|key| keys.insert(key.key));
            assert!(fresh, "wallet {wallet}: two entries with the key of entry {}", entry.id);
        }
    }
    assert!(head.is_some(), "wallet {wallet} has no block");
}

fn check_done(request: &Request, wallet: WalletId, entry: &Entry, transfer: Option<Uuid>) {
    let (kind, amount) = match request.what {
        What::Hold { amount, .. } => (matches!(entry.kind, EntryKind::HoldPlaced { .. }), amount),
        What::Capture { hold, .. } => {
            (matches!(entry.kind, EntryKind::HoldCaptured { hold: of } if of == hold), entry.amount)
        }
        What::Reverse { transaction, .. } => (entry.kind.reverses() == Some(transaction), entry.amount),
        What::Batch { .. } => {
            (matches!(&entry.kind, EntryKind::Batch { outcomes } if outcomes.len() == 2), entry.amount)
        }
        What::Deposit { amount, .. } => (matches!(entry.kind, EntryKind::Deposit), amount),
        What::Withdraw { amount, .. } => (matches!(entry.kind, EntryKind::Withdrawal), amount),
        What::Transfer { to, amount, .. } => {
            (matches!(entry.kind, EntryKind::TransferOut { to: other, .. } if other == to), amount)
        }
    };
    let same = kind && amount == entry.amount && wallet == request.payer() && transfer.is_none_or(|id| id == entry.id);
    assert!(same, "asked: {request:?}; done, in {wallet}: {entry:?}");
}

/// Every wallet that has left something in the cell.
async fn members(store: &DynamoStore) -> Vec<WalletId> {
    let mut members = Vec::new();
    for _ in 0..MAX_PAGES {
        let all = (Bucket(0), Bucket(u16::MAX));
        let page = store.members(all, members.last().copied(), PAGE).await.expect("the tables answer");
        if page.is_empty() {
            return members;
        }
        members.extend(page);
    }
    panic!("more than {MAX_PAGES} pages of wallets");
}

pub async fn read_chain(store: &DynamoStore, wallet: WalletId) -> Vec<Block> {
    let mut chain: Vec<Block> = Vec::new();
    for _ in 0..MAX_PAGES {
        let first = chain.last().map_or(0, |block| block.number + 1);
        let range = BlockRange { first, last: u64::MAX, newest_first: false };
        let page = store.blocks(wallet, range, PAGE).await.expect("the tables answer");
        if page.is_empty() {
            return chain;
        }
        chain.extend(page);
    }
    panic!("wallet {wallet}: more than {MAX_PAGES} pages");
}

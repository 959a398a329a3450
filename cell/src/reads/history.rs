//! Reads of the past: a wallet at a point in time, its transactions, the outcome of a transfer. Never replays a whole
//! chain: a snapshot finds the place, and the blocks up to the next one are read from there: two queries.

use ledger::flow::{Flow, Leg};
use ledger::limits::RUN_BLOCKS;
use ledger::marks::{last_of, run_of};
use ledger::snapshots::{Snapshot, snapshot_of};
use ledger::{Block, Entry, EntryKind, OpenTransfer, Personal, Timestamp, TransactionId};
use store::{BlockRange, Store, StoreError};
use topology::WalletId;
use topology::wire::CreditRefusal;

use crate::clock::time_of;
use crate::reads::personal::Opener;

/// Blocks read in one go where the place is known to be near.
const PAGE_BLOCKS: usize = 2 * RUN_BLOCKS as usize;
/// Pages read by one listing or one search for an outcome.
const MAX_PAGES: usize = 64;
/// Pages read from a snapshot on, before it is taken for granted that snapshots are missing.
const MAX_STEPS: usize = 4;
/// Steps of a binary search over 2^64 blocks.
const MAX_PROBES: usize = 64;
/// Pages read for the end of a transfer. One that ended later is asked of its payee, which costs less.
const MAX_OUTCOME_PAGES: usize = 4;
/// How far the clocks of the instances of a cell may differ: each is trusted to 5 s.
const CLOCK_SLACK_MICROS: i64 = 10_000_000;

/// What a chain says of a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// The last block at or before it. A block after it is there too, so nothing that is still to come changes this.
    Block(Block),
    /// The last block of the chain as it is stored here now.
    Head(Block),
    /// The wallet came later: its first block.
    Before(Block),
    /// There is no block here.
    Absent,
    /// Blocks that should be here are not: right only of a wallet that has moved away and is being forgotten.
    Hole { number: u64 },
}

/// What the wallet was at `at`: two queries, unless snapshots are missing. A store with packs asks for the head as well where
/// the chain ends within the page: it has to know that nothing above is in a pack.
pub async fn past<S: Store>(store: &S, wallet: WalletId, at: Timestamp) -> Result<Past, StoreError> {
    let snapshot = store.snapshot_before(wallet, at).await?;
    let (mut first, mut next) = snapshot.map_or((0, last_of(0)), |snapshot| (snapshot.block, snapshot.next));
    let mut newest: Option<Block> = None;
    for step in 0..MAX_STEPS {
        // One block more than up to the next snapshot: a page that ends before it ends with the chain.
        let range = BlockRange { first, last: next.saturating_add(1), newest_first: false };
        let page = store.page(wallet, range, PAGE_BLOCKS).await?;
        if let (0, Some(snapshot)) = (step, &snapshot) {
            match page.blocks.first() {
                Some(block) if block.number == snapshot.block => check_snapshot(snapshot, block)?,
                _ => return Ok(Past::Hole { number: snapshot.block }),
            }
        }
        if let Some((number, _)) = (first..).zip(&page.blocks).find(|(number, block)| block.number != *number) {
            return Ok(Past::Hole { number });
        }
        let mut before = page.blocks.iter().take_while(|block| block.at <= at).count();
        let mut blocks = page.blocks.into_iter();
        while before > 0 {
            newest = blocks.next();
            before -= 1;
        }
        if let Some(after) = blocks.next() {
            return Ok(newest.map_or(Past::Before(after), Past::Block));
        }
        let last = newest.as_ref().map(|block| block.number);
        if !page.more && last.is_none_or(|last| last <= next) {
            return Ok(newest.map_or(Past::Absent, Past::Head));
        }
        first = last.map_or(first, |last| last + 1);
        next = next.max(last_of(run_of(first)));
    }
    match newest {
        Some(low) => bisect(store, low, at).await,
        None => Err(StoreError::Corrupt(format!("the first blocks of wallet {wallet} cannot be read"))),
    }
}

/// The last block at or before `at`, where no snapshot is near: `low` is one of those.
async fn bisect<S: Store>(store: &S, low: Block, at: Timestamp) -> Result<Past, StoreError> {
    let wallet = low.wallet;
    let head = store.head(wallet).await?.ok_or_else(|| missing(wallet, low.number))?;
    if head.at <= at {
        return Ok(Past::Head(head));
    }
    // Invariant: block `low` is at or before `at`, block `high` is after it.
    let (mut low, mut high) = (low, head.number);
    for _ in 0..MAX_PROBES {
        if high - low.number <= 1 {
            return Ok(Past::Block(low));
        }
        let middle = low.number + (high - low.number) / 2;
        let range = BlockRange { first: middle, last: middle, newest_first: false };
        match store.blocks(wallet, range, 1).await?.pop() {
            Some(block) if block.at <= at => low = block,
            Some(_) => high = middle,
            None => return Ok(Past::Hole { number: middle }),
        }
    }
    Err(StoreError::Corrupt(format!("the times in wallet {wallet} are not in order")))
}

/// A snapshot says what its block says, or neither is believed.
fn check_snapshot(snapshot: &Snapshot, block: &Block) -> Result<(), StoreError> {
    if snapshot_of(block) == *snapshot {
        return Ok(());
    }
    let Block { wallet, number, .. } = block;
    Err(StoreError::Corrupt(format!("the snapshot of block {number} of wallet {wallet} is not that block's")))
}

pub fn missing(wallet: WalletId, number: u64) -> StoreError {
    StoreError::Corrupt(format!("block {number} of wallet {wallet} is missing"))
}

/// The last block at or before `at`, given the head; `None` if the wallet did not exist then.
pub async fn block_at<S: Store>(store: &S, head: &Block, at: Timestamp) -> Result<Option<Block>, StoreError> {
    if head.at <= at {
        return Ok(Some(head.clone()));
    }
    match past(store, head.wallet, at).await? {
        Past::Block(block) | Past::Head(block) => Ok(Some(block)),
        Past::Before(_) | Past::Absent => Ok(None),
        Past::Hole { number } => Err(missing(head.wallet, number)),
    }
}

/// Where a listing goes on: after entry `entry` of block `block`, towards the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub block: u64,
    pub entry: u16,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub entry: Entry,
    pub personal: Personal,
    pub at: Timestamp,
    pub block: u64,
    pub hash: ledger::Hash,
}

/// Entries between `from` and `to` (both inclusive), newest first, at most `limit`; and where the next page starts.
pub async fn transactions<S: Store>(
    store: &S,
    head: &Block,
    opener: &Opener,
    from: Timestamp,
    to: Timestamp,
    start: Option<Position>,
    limit: usize,
) -> Result<(Vec<Line>, Option<Position>), StoreError> {
    let mut lines = Vec::new();
    let newest = match start {
        Some(position) => Some(position.block.min(head.number)),
        None => block_at(store, head, to).await?.map(|block| block.number),
    };
    let Some(mut last) = newest else { return Ok((lines, None)) };
    for _ in 0..MAX_PAGES {
        let range = BlockRange { first: 0, last, newest_first: true };
        let page = store.blocks(head.wallet, range, limit.clamp(1, PAGE_BLOCKS)).await?;
        for block in &page {
            if block.at < from {
                return Ok((lines, None));
            }
            for (index, line) in opener.lines(block).enumerate().rev() {
                let place = Position { block: block.number, entry: u16::try_from(index).expect("at most 100 entries") };
                let passed = start.is_some_and(|s| place.block == s.block && place.entry >= s.entry);
                if passed || block.at > to {
                    continue;
                }
                if lines.len() == limit {
                    let next = Position { entry: place.entry + 1, ..place };
                    return Ok((lines, Some(next)));
                }
                lines.push(line);
            }
        }
        match page.last() {
            Some(block) if block.number > 0 => last = block.number - 1,
            _ => return Ok((lines, None)),
        }
    }
    Ok((lines, Some(Position { block: last, entry: u16::MAX })))
}

/// An entry, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub entry: Entry,
    pub at: Timestamp,
    pub block: u64,
}

/// Finds an entry by its id, from the time in it on; `None` if there is none.
pub async fn entry<S: Store>(store: &S, head: &Block, id: TransactionId) -> Result<Option<Found>, StoreError> {
    let Some(made) = time_of(id) else { return Ok(None) };
    let before = block_at(store, head, made.plus_micros(-CLOCK_SLACK_MICROS)).await?;
    let mut first = before.map_or(0, |block| block.number);
    let mut end = SearchEnd::of(made);
    for _ in 0..MAX_PAGES {
        let range = BlockRange { first, last: u64::MAX, newest_first: false };
        let page = store.blocks(head.wallet, range, PAGE_BLOCKS).await?;
        let Some(last) = page.last() else { return Ok(None) };
        if let Some((block, entry)) = page.iter().find_map(|block| Some((block, block.entry(id)?))) {
            return Ok(Some(Found { entry: entry.clone(), at: block.at, block: block.number }));
        }
        if end.is_past(&page) {
            return Ok(None);
        }
        first = last.number + 1;
    }
    Err(too_far(head.wallet, id))
}

/// Where the search for an id ends. A block is written soon after its entries' ids were made, and is never older than
/// its predecessor. So where a clock was ahead once, the blocks after it bear that clock's time until the others have
/// caught up, and an id may be in any of these.
struct SearchEnd {
    latest: Timestamp,
    /// The first time met after `latest`.
    jumped_to: Option<Timestamp>,
}

impl SearchEnd {
    fn of(made: Timestamp) -> Self {
        Self { latest: made.plus_micros(CLOCK_SLACK_MICROS + COMMIT_SLACK_MICROS), jumped_to: None }
    }

    /// Whether the next page cannot hold the id any more.
    fn is_past(&mut self, page: &[Block]) -> bool {
        let jumped = page.iter().map(|block| block.at).find(|at| *at > self.latest);
        self.jumped_to = self.jumped_to.or(jumped);
        self.jumped_to.is_some_and(|jumped_to| page.last().is_some_and(|last| last.at > jumped_to))
    }
}

/// More blocks would have to be read than one request may.
fn too_far(wallet: WalletId, id: TransactionId) -> StoreError {
    StoreError::Unavailable(format!("the search for {id} in wallet {wallet} was given up after {MAX_PAGES} pages"))
}

/// What the paying chain says of a transfer out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRecord {
    pub out: Entry,
    pub open: OpenTransfer,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No end of it is recorded; its payee may have answered already.
    InFlight,
    /// `at`: unknown where only the payee's word was read.
    Settled {
        at: Option<Timestamp>,
    },
    Returned {
        at: Option<Timestamp>,
        reason: CreditRefusal,
    },
    /// It has ended, far from where it left in the chain: the payee knows how.
    Ended,
}

/// Finds a transfer in the paying chain from the time in its id on; `None` if it never left this wallet.
pub async fn transfer<S: Store>(
    store: &S,
    head: &Block,
    transfer: TransactionId,
) -> Result<Option<TransferRecord>, StoreError> {
    let Some(made) = time_of(transfer) else { return Ok(None) };
    let before = block_at(store, head, made.plus_micros(-CLOCK_SLACK_MICROS)).await?;
    let mut first = before.map_or(0, |block| block.number);
    let mut found: Option<TransferRecord> = None;
    let mut end = SearchEnd::of(made);
    let mut pages_after = 0;
    for _ in 0..MAX_PAGES {
        let range = BlockRange { first, last: u64::MAX, newest_first: false };
        let page = store.blocks(head.wallet, range, PAGE_BLOCKS).await?;
        let Some(last) = page.last() else { return Ok(found) };
        first = last.number + 1;
        for (block, entry) in page.iter().flat_map(|block| block.entries.iter().map(move |entry| (block, entry))) {
            let outcome = match (entry.flow(), &entry.kind) {
                (Flow::Transfer { id, .. }, _) if id != transfer => continue,
                (Flow::Transfer { leg: Leg::Sent { .. }, .. }, _) => {
                    let open = OpenTransfer::of(block, entry).expect("it sends");
                    found = Some(TransferRecord { out: entry.clone(), open, outcome: Outcome::InFlight });
                    continue;
                }
                (Flow::Transfer { leg: Leg::Settled, .. }, _) => Outcome::Settled { at: Some(block.at) },
                (_, EntryKind::TransferReturned { reason, .. }) => {
                    Outcome::Returned { at: Some(block.at), reason: *reason }
                }
                _ => continue,
            };
            if let Some(record) = &mut found {
                record.outcome = outcome;
                return Ok(found);
            }
        }
        match &mut found {
            None if end.is_past(&page) => return Ok(None),
            None => {}
            Some(record) => {
                pages_after += 1;
                let state = &head.state;
                let may_be_open = state.open_count > 0 && state.open_since <= record.open.block;
                if pages_after == MAX_OUTCOME_PAGES {
                    record.outcome = if may_be_open { Outcome::InFlight } else { Outcome::Ended };
                    return Ok(found);
                }
            }
        }
    }
    Err(too_far(head.wallet, transfer))
}

/// Longest time between a transfer's admission and its block: queueing and retries are bounded well below.
const COMMIT_SLACK_MICROS: i64 = 120_000_000;

#[cfg(test)]
mod tests;

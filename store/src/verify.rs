//! Holds one wallet against itself: every block against the one before it, what it does against all that was done
//! before, every row of `snapshots` against what replaying the blocks gives, and the blocks against what the cell has
//! committed to in its log.
//!
//! It only reads. Writes may go on meanwhile: what was changed while it looked is not counted as
//! wrong; and a fault is reported only if a second look finds it too, since a wallet may be moving
//! or being forgotten.

mod replayed;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use ledger::block::{Block, Hash, Head};
use ledger::marks::{MarkRun, last_of, run_of};
use ledger::snapshots::{Snapshot, is_due, is_heavy, snapshot_of};
use ledger::{canonical, chain, moving};
pub use replayed::Replayed;
use sha2::{Digest, Sha256};
use topology::{CellId, WalletId};

use crate::{BlockRange, Derived, Store, StoreError, Stored};

/// Blocks or rows asked for in one page.
const PAGE: usize = 256;
/// Faults reported of one wallet; one is enough for an operator to look.
const MAX_BREAKS: usize = 32;
/// Missing rows handed out at one look; the rest is found by the next.
const MAX_MISSING: usize = 4_096;

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// Which item: `block 7`, `snapshots marks#…`.
    pub place: String,
    /// The block that it is about, where it is about one.
    pub block: Option<u64>,
    pub what: String,
}

/// A block that the cell's log names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub block: u64,
    pub hash: Hash,
}

/// What was found out about one wallet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub blocks: u64,
    pub rows: u64,
    /// Of canonical bytes.
    pub bytes: u64,
    /// The last sound block here.
    pub head: Option<Head>,
    pub breaks: Vec<Break>,
    /// Rows that follow from the blocks and are not recorded yet: no fault, since they are recorded after the blocks.
    pub missing_runs: Vec<MarkRun>,
    pub missing_snapshots: Vec<Snapshot>,
}

/// Slows a verification down.
pub trait Pace {
    /// So much has just been read.
    fn took(&mut self, items: u64, bytes: u64) -> impl Future<Output = ()> + Send;
}

/// As fast as it goes.
pub struct FullSpeed;

impl Pace for FullSpeed {
    async fn took(&mut self, _: u64, _: u64) {}
}

/// Verifies a wallet in the tables of `cell`. `committed`: what the cell's log says of it, by rising block number.
pub async fn verify<S: Store, P: Pace + Send>(
    store: &S,
    cell: &CellId,
    wallet: WalletId,
    committed: &[Committed],
    pace: &mut P,
) -> Result<Report, StoreError> {
    let first = look(store, cell, wallet, committed, pace).await?;
    if first.breaks.is_empty() {
        return Ok(first);
    }
    let mut second = look(store, cell, wallet, committed, pace).await?;
    let places: BTreeSet<&String> = first.breaks.iter().map(|found| &found.place).collect();
    second.breaks.retain(|found| places.contains(&found.place));
    Ok(second)
}

async fn look<S: Store, P: Pace + Send>(
    store: &S,
    cell: &CellId,
    wallet: WalletId,
    committed: &[Committed],
    pace: &mut P,
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let snapshots = rows(store, wallet, &mut report, pace).await?;
    let mut replay = Replay { snapshots, committed, report, ..Replay::default() };
    let mut first = 0;
    loop {
        let page = store.stored_blocks(wallet, first, PAGE).await?;
        let (count, before) = (page.items.len() as u64, replay.report.bytes);
        for item in page.items {
            let number = item.key.parse::<u64>().unwrap_or(first);
            first = number.saturating_add(1);
            packed(store, cell, wallet, number, &mut replay, pace).await?;
            replay.block(cell, item);
        }
        pace.took(count, replay.report.bytes.saturating_sub(before)).await;
        if !page.more {
            return Ok(replay.end(cell));
        }
    }
}

/// Goes through the blocks up to `end` that are not in the table but in packs.
async fn packed<S: Store, P: Pace + Send>(
    store: &S,
    cell: &CellId,
    wallet: WalletId,
    end: u64,
    replay: &mut Replay<'_>,
    pace: &mut P,
) -> Result<(), StoreError> {
    while store.packs().is_some() && replay.due < end {
        let (first, before) = (replay.due, replay.report.bytes);
        let range = BlockRange { first, last: end.saturating_sub(1), newest_first: false };
        let blocks = match store.blocks(wallet, range, PAGE).await {
            Ok(blocks) if blocks.is_empty() => return Ok(()),
            Ok(blocks) => blocks,
            Err(StoreError::Corrupt(what)) => {
                tell(&mut replay.report.breaks, format!("block {first}"), Some(first), what);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let count = blocks.len() as u64;
        for block in blocks {
            replay.block(cell, Stored { key: block.number.to_string(), value: Ok(block) });
        }
        pace.took(count, replay.report.bytes.saturating_sub(before)).await;
    }
    Ok(())
}

/// The fingerprints of all rows of the wallet. What is not sound is reported right away.
async fn rows<S: Store, P: Pace + Send>(
    store: &S,
    wallet: WalletId,
    report: &mut Report,
    pace: &mut P,
) -> Result<BTreeMap<String, Option<Hash>>, StoreError> {
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.stored_rows(wallet, after.as_deref(), PAGE).await?;
        pace.took(page.items.len() as u64, 0).await;
        for Stored { key, value } in page.items {
            report.rows = report.rows.saturating_add(1);
            let value = value.and_then(|row| {
                (row.key() == key)
                    .then(|| fingerprint(&row))
                    .ok_or_else(|| "it is stored under another name".to_owned())
            });
            if let Err(what) = &value {
                tell(&mut report.breaks, place(&key), None, what.clone());
            }
            after = Some(key.clone());
            found.insert(key, value.ok());
        }
        if !page.more {
            return Ok(found);
        }
    }
}

fn place(key: &str) -> String {
    format!("snapshots {key}")
}

fn tell(breaks: &mut Vec<Break>, place: String, block: Option<u64>, what: impl Into<String>) {
    if breaks.len() < MAX_BREAKS {
        breaks.push(Break { place, block, what: what.into() });
    }
}

/// Two rows with one fingerprint say the same.
fn fingerprint(row: &Derived) -> Hash {
    let digest = match row {
        Derived::Marks(run) => Sha256::new()
            .chain_update(run.run.to_be_bytes())
            .chain_update(run.last_at.micros().to_be_bytes())
            .chain_update(run.to_bytes()),
        other => Sha256::new().chain_update(format!("{other:?}")),
    };
    Hash(digest.finalize().into())
}

/// The state of the replay of one chain.
#[derive(Default)]
struct Replay<'a> {
    /// The stored rows, by name.
    snapshots: BTreeMap<String, Option<Hash>>,
    committed: &'a [Committed],
    report: Report,
    replayed: Replayed,
    /// The block before, if it is sound and directly before.
    previous: Option<Block>,
    after_heavy: bool,
    due: u64,
    /// The blocks of the run so far.
    run: Vec<Block>,
    /// Missing numbers, and whether what comes after them is the wallet's leaving this cell.
    gaps: Vec<(u64, u64, bool)>,
    unsound: bool,
}

impl Replay<'_> {
    fn block(&mut self, cell: &CellId, item: Stored<Block>) {
        self.report.blocks = self.report.blocks.saturating_add(1);
        let Ok(number) = item.key.parse::<u64>() else {
            return tell(&mut self.report.breaks, format!("block {}", item.key), None, "it has no number");
        };
        let place = || format!("block {number}");
        if number > self.due {
            let leaves = item.value.as_ref().is_ok_and(|block| moving::is_tombstone(cell, block));
            self.gaps.push((self.due, number.saturating_sub(1), leaves));
            self.previous = None;
        }
        let whole = number == 0 || number == self.due && self.previous.is_some();
        self.due = number.saturating_add(1);
        let block = match item.value {
            Ok(block) => block,
            Err(what) => {
                self.unsound = true;
                self.previous = None;
                return tell(&mut self.report.breaks, place(), Some(number), what);
            }
        };
        if whole && let Err(fault) = chain::verify(self.previous.as_ref().map(Block::head).as_ref(), &block) {
            self.unsound = true;
            tell(&mut self.report.breaks, place(), Some(number), fault.to_string());
        }
        if let Ok(index) = self.committed.binary_search_by_key(&number, |leaf| leaf.block)
            && let leaf = &self.committed[index]
            && leaf.hash != block.hash
        {
            let what = format!("the cell has committed to hash {} for this block, stored is {}", leaf.hash, block.hash);
            tell(&mut self.report.breaks, place(), Some(number), what);
        }
        self.report.bytes = self.report.bytes.saturating_add(canonical::size(&block) as u64);
        self.check_against_before(&block);
        self.snapshots_follow(&block);
        self.report.head = Some(block.head());
        self.previous = Some(block);
    }

    /// With a block missing or unsound before, what was done cannot be known.
    fn check_against_before(&mut self, block: &Block) {
        let faults = self.replayed.take(block);
        if !self.unsound && self.gaps.is_empty() {
            for what in faults {
                tell(&mut self.report.breaks, format!("block {}", block.number), Some(block.number), what);
            }
        }
    }

    fn snapshots_follow(&mut self, block: &Block) {
        if is_due(block, self.after_heavy) {
            let snapshot = snapshot_of(block);
            if self.is_missing(&Derived::Snapshot(snapshot), block.number)
                && self.report.missing_snapshots.len() < MAX_MISSING
            {
                self.report.missing_snapshots.push(snapshot);
            }
        }
        self.after_heavy = is_heavy(block);
        self.run.retain(|earlier| run_of(earlier.number) == run_of(block.number));
        self.run.push(block.clone());
        if block.number == last_of(run_of(block.number))
            && let Some(run) = MarkRun::of(&self.run)
        {
            if self.is_missing(&Derived::Marks(run.clone()), block.number)
                && self.report.missing_runs.len() < MAX_MISSING
            {
                self.report.missing_runs.push(run);
            }
            self.run.clear();
        }
    }

    /// Whether the row is not there. One that is there has to be this one.
    fn is_missing(&mut self, row: &Derived, block: u64) -> bool {
        let key = row.key();
        match self.snapshots.remove(&key) {
            None => return true,
            Some(Some(stored)) if stored != fingerprint(row) => {
                let place = place(&key);
                tell(&mut self.report.breaks, place, Some(block), "it is not what its blocks say");
            }
            // What is not sound was reported before.
            Some(_) => {}
        }
        false
    }

    fn end(mut self, cell: &CellId) -> Report {
        let is_elsewhere = self.report.head.as_ref().is_none_or(|head| head.home != *cell);
        // A wallet that has moved away may be forgotten here but for its last block: then its rows go too, in time.
        let forgotten = is_elsewhere && matches!(self.gaps[..], [(_, _, true)]);
        if !forgotten {
            for (first, last, _) in std::mem::take(&mut self.gaps) {
                self.unsound = true;
                let what =
                    if first == last { "it is missing".into() } else { format!("it and all to {last} are missing") };
                tell(&mut self.report.breaks, format!("block {first}"), Some(first), what);
            }
            let last = self.due.checked_sub(1);
            for leaf in self.committed.iter().filter(|leaf| last.is_none_or(|last| leaf.block > last)) {
                let what = format!("the cell has committed to it (hash {}), and it is missing", leaf.hash);
                tell(&mut self.report.breaks, format!("block {}", leaf.block), Some(leaf.block), what);
            }
        }
        // Without all blocks it is unknown which rows there should be.
        if !self.unsound && !forgotten {
            for key in std::mem::take(&mut self.snapshots).into_keys() {
                self.superfluous(&key);
            }
        }
        if self.unsound || forgotten {
            self.report.missing_runs.clear();
            self.report.missing_snapshots.clear();
        }
        self.report.breaks.sort();
        self.report.breaks.dedup_by(|a, b| a.place == b.place);
        self.report
    }

    fn superfluous(&mut self, key: &str) {
        let place = place(key);
        if !self.report.breaks.iter().any(|known| known.place == place) {
            tell(&mut self.report.breaks, place, None, "no block says that there is such a row");
        }
    }
}

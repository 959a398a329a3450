//! Puts the blocks of the log together to the chains of wallets, and holds each against the rules of a chain. It does no
//! I/O: it takes blocks in the order of the log, in as many passes as it asks for, and names what may be in packs.
//!
//! It holds one row for each wallet: its head and its open transfers, less than a kilobyte. Blocks may come in any order.
//! Those that wait for an earlier one take at most [`WAITING_BYTES`] together; of more, the highest ones are dropped, and
//! another pass finds them again. Each pass brings every such chain on by a block at least, in practice by all of them.

mod repeats;

use std::collections::{BTreeMap, HashMap};

use ledger::block::Head;
use ledger::open::OpenTransfers;
use ledger::{Block, canonical, chain};
use topology::{CellId, WalletId};

use self::repeats::Windows;
use crate::Finding;
use crate::findings::Findings;

/// Most bytes of blocks that wait for an earlier one of their chain.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Most blocks of which a pass compares the hashes, 16 bytes each.
const COMPARED_BLOCKS: usize = 4 * 1024 * 1024;

/// What is known of one wallet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// The last block of the beginning of the chain that has no hole.
    pub head: Option<Head>,
    pub open: OpenTransfers,
    /// The highest block of all, and the highest one by which the wallet is at home in the cell.
    highest: u64,
    highest_at_home: Option<u64>,
    waiting: BTreeMap<u64, Block>,
    /// Waiting blocks were dropped: another pass is due.
    was_dropped: bool,
    /// The number that was due when the pass began.
    began: u64,
    /// The chain is broken after its head; the rest of it is not looked at.
    is_broken: bool,
    /// All blocks that may be in the log more than once are from this to that number.
    repeated: Option<(u64, u64)>,
}

impl Row {
    /// The number of the first block that the chain lacks.
    pub fn due(&self) -> u64 {
        self.head.as_ref().map_or(0, Head::next_number)
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn has_hole(&self) -> bool {
        !self.is_broken && self.due() <= self.highest
    }

    /// A block is missing that the cell has served: one above it says that the wallet is at home here. Otherwise the hole
    /// is a copy that was under way or given up, or what was purged before the archive began.
    pub fn is_missing_blocks(&self) -> bool {
        self.has_hole() && self.highest_at_home.is_some_and(|highest| highest >= self.due())
    }

    pub fn is_partial_copy(&self) -> bool {
        self.has_hole() && !self.is_missing_blocks()
    }
}

/// Numbers that a chain lacks below a block that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Gap {
    pub wallet: WalletId,
    pub due: u64,
    pub next: u64,
}

/// What the next pass over the log is for.
enum Pass {
    First,
    /// Chains of which waiting blocks were dropped.
    Again,
    /// Whether blocks that are in the log more than once are the same each time.
    Compare(Windows),
    /// No pass is due.
    Done,
}

/// The bounds, which tests make small.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub waiting_bytes: usize,
    pub compared_blocks: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { waiting_bytes: WAITING_BYTES, compared_blocks: COMPARED_BLOCKS }
    }
}

pub(crate) struct Chains {
    cell: CellId,
    bounds: Bounds,
    pub rows: HashMap<WalletId, Row>,
    waiting_bytes: usize,
    pass: Pass,
    /// What is to be compared by passes after this one.
    comparisons: Vec<Windows>,
    pub blocks: u64,
    pub repeated: u64,
}

impl Chains {
    pub fn new(cell: CellId, bounds: Bounds) -> Self {
        let (rows, comparisons) = (HashMap::new(), Vec::new());
        Self { cell, bounds, rows, waiting_bytes: 0, pass: Pass::First, comparisons, blocks: 0, repeated: 0 }
    }

    pub fn cell(&self) -> &CellId {
        &self.cell
    }

    /// Takes the next block of the log in, which `entry` holds. What its chain lacks now may be in packs, or come later.
    pub fn take(&mut self, entry: u64, block: Block, findings: &mut Findings) -> Option<Gap> {
        let (wallet, number) = (block.wallet, block.number);
        match &mut self.pass {
            Pass::Compare(windows) => {
                if windows.differs(&block) {
                    findings.add(Finding::fork(entry, &block));
                }
            }
            Pass::First => {
                self.blocks = self.blocks.saturating_add(1);
                let row = self.rows.entry(block.wallet).or_default();
                row.highest = row.highest.max(block.number);
                if block.home == self.cell {
                    row.highest_at_home = row.highest_at_home.max(Some(block.number));
                }
                self.link(entry, block, findings);
            }
            // What it did to these rows was counted by the first pass.
            Pass::Again => {
                let repeated = self.repeated;
                if self.rows.get(&block.wallet).is_some_and(|row| row.was_dropped && block.number >= row.due()) {
                    self.link(entry, block, findings);
                }
                self.repeated = repeated;
            }
            Pass::Done => {}
        }
        let row = self.rows.get(&wallet).filter(|row| !row.is_broken)?;
        let waiting = row.waiting.first_key_value().map(|(lowest, _)| *lowest);
        // It may have been dropped.
        let next = if number > row.due() { number } else { waiting? };
        Some(Gap { wallet, due: row.due(), next })
    }

    /// Takes a block in that is in a pack. What is in the log has been taken, or comes later.
    pub fn take_packed(&mut self, entry: u64, block: Block, findings: &mut Findings) {
        if self.rows.get(&block.wallet).is_some_and(|row| block.number == row.due()) {
            self.link(entry, block, findings);
        }
    }

    /// Puts a block where it belongs: at the end of its chain, or among those that wait.
    fn link(&mut self, entry: u64, block: Block, findings: &mut Findings) {
        let row = self.rows.entry(block.wallet).or_default();
        if row.is_broken {
            return;
        }
        let due = row.due();
        if block.number < due {
            self.repeated = self.repeated.saturating_add(1);
            let at_head = row.head.as_ref().filter(|head| head.number == block.number);
            match at_head {
                Some(head) if head.hash == block.hash => {}
                Some(_) => findings.add(Finding::fork(entry, &block)),
                None => row.repeated = Some(widened(row.repeated, block.number)),
            }
            return;
        }
        if block.number > due {
            return self.wait(entry, block, findings);
        }
        let mut next = Some(block);
        while let Some(block) = next {
            if let Err(what) = append(row, &block) {
                findings.add(Finding::of_block(entry, block.wallet, block.number, what));
                row.is_broken = true;
                break;
            }
            next = row.waiting.remove(&row.due());
            self.waiting_bytes -= next.as_ref().map_or(0, canonical::size);
        }
        if row.is_broken {
            self.waiting_bytes -= row.waiting.values().map(canonical::size).sum::<usize>();
            row.waiting = BTreeMap::new();
        }
    }

    fn wait(&mut self, entry: u64, block: Block, findings: &mut Findings) {
        let row = self.rows.entry(block.wallet).or_default();
        if let Some(there) = row.waiting.get(&block.number) {
            self.repeated = self.repeated.saturating_add(1);
            if there.hash != block.hash {
                findings.add(Finding::fork(entry, &block));
            }
            return;
        }
        self.waiting_bytes += canonical::size(&block);
        row.waiting.insert(block.number, block);
        while self.waiting_bytes > self.bounds.waiting_bytes {
            let Some((_, highest)) = row.waiting.pop_last() else { break };
            self.waiting_bytes -= canonical::size(&highest);
            row.was_dropped = true;
            // What comes of this number later can only be compared in a pass of its own.
            row.repeated = Some(widened(row.repeated, highest.number));
        }
    }

    /// Ends a pass; whether another one is due.
    pub fn end_pass(&mut self) -> bool {
        if matches!(self.pass, Pass::First | Pass::Again) {
            let is_first = matches!(self.pass, Pass::First);
            for row in self.rows.values_mut() {
                let due = row.due();
                row.was_dropped = row.was_dropped && row.has_hole() && (is_first || due > row.began);
                row.began = due;
                if !row.was_dropped {
                    // What they wait for is not in the log.
                    self.waiting_bytes -= row.waiting.values().map(canonical::size).sum::<usize>();
                    row.waiting = BTreeMap::new();
                }
            }
            if self.rows.values().any(|row| row.was_dropped) {
                self.pass = Pass::Again;
                return true;
            }
            let repeated = self.rows.iter().filter_map(|(wallet, row)| Some((*wallet, row.repeated?)));
            self.comparisons = repeats::plan(repeated, self.bounds.compared_blocks);
        }
        self.pass = self.comparisons.pop().map_or(Pass::Done, Pass::Compare);
        !matches!(self.pass, Pass::Done)
    }
}

/// The next block of a chain, if the rules allow it there.
fn append(row: &mut Row, block: &Block) -> Result<(), String> {
    chain::verify(row.head.as_ref(), block).map_err(|fault| fault.to_string())?;
    row.open.take(block);
    let (count, since) = (row.open.len(), row.open.since());
    if (usize::try_from(block.state.open_count), block.state.open_since) != (Ok(count), since) {
        return Err(format!("block {} says something else than its chain of open transfers", block.number));
    }
    row.head = Some(block.head());
    Ok(())
}

fn widened(range: Option<(u64, u64)>, number: u64) -> (u64, u64) {
    range.map_or((number, number), |(first, last)| (first.min(number), last.max(number)))
}

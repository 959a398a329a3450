//! What one run did, or which invariant it found broken.

use std::fmt;

/// What one run did, to show that it did something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub blocks: usize,
    pub entries: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
    pub transfers: usize,
    pub returned: usize,
    /// Holds that were placed, and those that expired.
    pub holds: [usize; 2],
    pub reversals: usize,
    pub batches: usize,
    pub calls: u64,
    pub faults: u64,
    /// Wallets that changed their cell.
    pub moves: usize,
    /// Moves that a request completed because the mover had not.
    pub adopted: u64,
    pub groups: u64,
    pub taken_back: u64,
    /// Copies that were forgotten, wholly or in part.
    pub forgotten: u64,
    /// Buckets that movers left closed, and that were settled.
    pub settled: u64,
    /// Blocks that are in packs only.
    pub packed: usize,
    /// Cells that were restored, and entries that this lost.
    pub restores: usize,
    pub lost: usize,
    /// Entries of all archives, in the seeds that have any.
    pub archived: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks, {} entries, {} acknowledged, {} refused, {} attempts unanswered, {} transfers ({} returned), {} holds ({} expired), {} reversals, {} batches, {} of {} store calls faulted, {} moves ({} completed by a request), {} groups moved and {} taken back, {} copies forgotten, {} buckets left closed, {} blocks in packs only, {} restores ({} entries lost)",
            self.blocks,
            self.entries,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.transfers,
            self.returned,
            self.holds[0],
            self.holds[1],
            self.reversals,
            self.batches,
            self.faults,
            self.calls,
            self.moves,
            self.adopted,
            self.groups,
            self.taken_back,
            self.forgotten,
            self.settled,
            self.packed,
            self.restores,
            self.lost
        )?;
        match self.archived {
            0 => Ok(()),
            entries => write!(f, ", {entries} entries archived"),
        }
    }
}

/// A broken invariant, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

pub fn violated<T>(words: String) -> Result<T, Violation> {
    Err(Violation(words))
}

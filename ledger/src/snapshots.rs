//! Which blocks have a snapshot. Like every row it follows from the blocks: so that a point in the past is found with
//! two queries, whatever the length of the chain and the size of its blocks.
//!
//! The rule keeps what is read from one snapshot to the next below one page of DynamoDB (1 MB): blocks between two
//! snapshots are light ones, at most a run of them; a heavy block has a snapshot of its own, and so has the one after it.

use crate::block::{Block, Hash};
use crate::canonical;
use crate::marks::{last_of, run_of};
use crate::money::Money;
use crate::time::Timestamp;

/// A point of a chain to start reading history from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub at: Timestamp,
    pub block: u64,
    /// The next block that has a snapshot is this one, or comes before it.
    pub next: u64,
    pub balance: Money,
    pub hash: Hash,
}

/// A block of at least so many canonical bytes is heavy. A run of lighter ones is at most 256 KB, 64 read units; the
/// snapshot of a heavy one adds at most a quarter to what writing the block costs, of a full one an eighth or less.
pub const HEAVY_BYTES: usize = 4 * 1024;

pub fn is_heavy(block: &Block) -> bool {
    canonical::encode(block).len() >= HEAVY_BYTES
}

/// Whether `block` has a snapshot; `after_heavy`: the block before it is heavy.
pub fn is_due(block: &Block, after_heavy: bool) -> bool {
    after_heavy || block.number == last_of(run_of(block.number)) || is_heavy(block)
}

/// The snapshot of `block`, if it is to have one.
pub fn snapshot_of(block: &Block) -> Snapshot {
    let following = block.number.saturating_add(1);
    Snapshot {
        at: block.at,
        block: block.number,
        next: if is_heavy(block) { following } else { last_of(run_of(following)) },
        balance: block.state.balance,
        hash: block.hash,
    }
}

/// The snapshots of consecutive blocks. The first block's is left out where only the block before it could tell.
pub fn snapshots_of(before: Option<&Block>, blocks: &[Block]) -> Vec<Snapshot> {
    let mut after_heavy = before.is_some_and(is_heavy);
    let mut due = Vec::new();
    for block in blocks {
        if is_due(block, after_heavy) {
            due.push(snapshot_of(block));
        }
        after_heavy = is_heavy(block);
    }
    due
}

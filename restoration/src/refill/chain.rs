//! What a restore knows of one wallet, and which blocks continue its chain. Pure.

use ledger::block::Hash;
use ledger::snapshots::is_heavy;
use ledger::{Block, Head, chain};

use crate::holes::Held;

/// A wallet that the restore has met.
pub(super) enum Chain {
    Ours(Ours),
    /// It belongs to another cell by now.
    Elsewhere,
    /// The tables hold another block of this number than the archive.
    Differs(u64),
}

#[derive(Default)]
pub(super) struct Ours {
    /// Up to here nothing is missing; absent before block 0.
    pub last: Option<Tip>,
    /// The newest block that the tables held when the restore met the wallet: up to it, they are read first.
    pub there: Option<u64>,
}

/// The end of a chain.
pub(super) struct Tip {
    pub number: u64,
    pub hash: Hash,
    /// Whether the block is, so that the next one has a snapshot.
    pub is_heavy: bool,
}

impl Chain {
    pub fn is_ours(&self) -> bool {
        matches!(self, Chain::Ours(_))
    }

    /// The number that comes next.
    pub fn next(&self) -> Option<u64> {
        match self {
            Chain::Ours(ours) => Some(ours.next()),
            Chain::Elsewhere | Chain::Differs(_) => None,
        }
    }

    /// Whether the tables held more than the archive.
    pub fn is_exceeded(&self) -> bool {
        matches!(self, Chain::Ours(ours) if ours.is_exceeded())
    }

    /// Whether one of these continues the chain.
    pub fn wants_any(&self, blocks: &[Block]) -> bool {
        self.next().is_some_and(|next| blocks.iter().any(|block| block.number == next))
    }
}

impl Ours {
    /// Of which the tables hold this: the whole log is read, so its beginning is still to come.
    pub fn new(held: &Held) -> Self {
        Self { last: None, there: held.newest.as_ref().map(|newest| newest.number) }
    }

    /// The same, met in the middle of the log with this block: what is unbroken in the tables was written before.
    pub fn met(first: &Block, held: &Held) -> Self {
        let of = |prefix: &Head| match first.number.checked_sub(1).filter(|before| *before < prefix.number) {
            // Block by block from here on: rows that follow from them may be missing.
            Some(number) => Tip { number, hash: first.previous, is_heavy: false },
            None => Tip { number: prefix.number, hash: prefix.hash, is_heavy: false },
        };
        let last = held.prefix.as_ref().filter(|_| first.number > 0).map(of);
        Self { last, ..Self::new(held) }
    }

    pub fn next(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.number.saturating_add(1))
    }

    /// Whether the tables held more than the archive.
    pub fn is_exceeded(&self) -> bool {
        self.there.is_some_and(|there| there >= self.next())
    }

    /// Of blocks in the order of their numbers, those that continue the chain, and those that come too early or do not
    /// follow. Those that were seen before are in neither.
    pub fn split(&self, blocks: Vec<Block>) -> (Vec<Block>, Vec<Block>) {
        let (mut follow, mut too_early): (Vec<Block>, Vec<Block>) = (Vec::new(), Vec::new());
        for block in blocks {
            let next = follow.last().map_or(self.next(), |last| last.number.saturating_add(1));
            if block.number < next {
                continue;
            }
            match block.number == next && self.follows(follow.last(), &block) {
                true => follow.push(block),
                false => too_early.push(block),
            }
        }
        (follow, too_early)
    }

    fn follows(&self, before: Option<&Block>, block: &Block) -> bool {
        match (before, &self.last) {
            (Some(before), _) => chain::verify(Some(&before.head()), block).is_ok(),
            (None, Some(last)) => block.previous == last.hash,
            (None, None) => chain::verify(None, block).is_ok(),
        }
    }

    /// After these were written.
    pub fn reaches(&mut self, last: &Block) {
        self.last = Some(Tip { number: last.number, hash: last.hash, is_heavy: is_heavy(last) });
    }
}

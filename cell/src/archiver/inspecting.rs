//! Which of the blocks that come by the change stream have to be looked at in the tables: what is no sound block, what does
//! not follow on the block before it, and what cannot be held against that block because it is not remembered.
//!
//! It never judges: what it names may be sound. It never waits: what does not fit into the queue is found by the next pass
//! of verification.

use std::collections::HashMap;

use ledger::{Block, Hash};
use store::Batch;
use tokio::sync::mpsc;
use topology::WalletId;

/// Blocks that are named and not looked at yet.
pub const QUEUE: usize = 4_096;
/// Wallets of which the newest block is remembered, in each of two generations: about 10 MB together.
const REMEMBERED: usize = 50_000;

/// A block by its wallet and number.
pub type Place = (WalletId, u64);

pub struct Inspecting {
    doubtful: mpsc::Sender<Place>,
    /// The newest block of each wallet, as far as it came by.
    young: HashMap<WalletId, (u64, Hash)>,
    old: HashMap<WalletId, (u64, Hash)>,
}

impl Inspecting {
    pub fn new(doubtful: mpsc::Sender<Place>) -> Self {
        Self { doubtful, young: HashMap::new(), old: HashMap::new() }
    }

    pub fn see(&mut self, batch: &Batch) {
        let unsound = batch.unsound.iter().filter_map(|unsound| unsound.block);
        for place in unsound {
            self.name(place);
        }
        for block in &batch.blocks {
            if !self.follows(block) {
                self.name((block.wallet, block.number));
            }
            self.remember(block);
        }
    }

    fn name(&self, place: Place) {
        // Full, or nothing verifies here.
        let _ = self.doubtful.try_send(place);
    }

    /// Whether it continues what is remembered, or is that again.
    fn follows(&self, block: &Block) -> bool {
        match self.young.get(&block.wallet).or_else(|| self.old.get(&block.wallet)) {
            Some((number, hash)) if *number == block.number => *hash == block.hash,
            Some((number, hash)) => number.checked_add(1) == Some(block.number) && *hash == block.previous,
            None => false,
        }
    }

    fn remember(&mut self, block: &Block) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(block.wallet, (block.number, block.hash));
    }
}

#[cfg(test)]
mod tests {
    use store::Unsound;

    use super::*;
    use crate::feed::tests::{HERE, block, wallet};

    fn linked(number: u64, previous: u8, hash: u8) -> Block {
        Block { previous: Hash([previous; 32]), hash: Hash([hash; 32]), ..block(wallet(1), number, 0, HERE) }
    }

    #[test]
    fn what_does_not_follow_is_named() {
        // Number, hash of the block before, and own hash of the blocks that come; which of them are named.
        type Case<'a> = (&'a [(u64, u8, u8)], &'a [u64]);
        let cases: [Case<'_>; 6] = [
            (&[(4, 3, 4), (5, 4, 5), (6, 5, 6)], &[4]),
            (&[(4, 3, 4), (4, 3, 4), (5, 4, 5)], &[4]),
            // Another block before it, another block in its place, one that is missing, and an old one.
            (&[(4, 3, 4), (5, 9, 5)], &[4, 5]),
            (&[(4, 3, 4), (4, 3, 9)], &[4, 4]),
            (&[(4, 3, 4), (6, 5, 6)], &[4, 6]),
            (&[(4, 3, 4), (2, 1, 2)], &[4, 2]),
        ];
        for (blocks, expected) in cases {
            let (sender, mut named) = mpsc::channel(QUEUE);
            let blocks = blocks.iter().map(|(number, previous, hash)| linked(*number, *previous, *hash)).collect();
            Inspecting::new(sender).see(&Batch { blocks, ..Batch::default() });
            let named: Vec<_> = std::iter::from_fn(|| named.try_recv().ok()).collect();
            assert_eq!(named, expected.iter().map(|number| (wallet(1), *number)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_sound_block_is_named_and_a_full_queue_holds_up_nothing() {
        let (sender, mut named) = mpsc::channel(1);
        let unsound = |block| Unsound { record: "7".into(), block, what: "its hash differs".into() };
        let unsound = [None, Some((wallet(1), 3)), Some((wallet(2), 5))].map(unsound).to_vec();
        Inspecting::new(sender).see(&Batch { unsound, ..Batch::default() });
        assert_eq!((named.try_recv().ok(), named.try_recv().ok()), (Some((wallet(1), 3)), None));
    }
}

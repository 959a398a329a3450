//! Which blocks are archived already, while all wallets are walked.
//!
//! Pure. It holds a row for each wallet, about 120 bytes: 120 MB for a million wallets, while the walk lasts.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Block, Hash};
use topology::WalletId;

#[derive(Debug, Default)]
pub struct Known(BTreeMap<WalletId, Archived>);

/// What is archived of a chain.
#[derive(Debug, Default)]
struct Archived {
    /// All blocks below this number are.
    next: u64,
    /// And these, after a hole. Only a chain that is being copied has one.
    beyond: BTreeSet<u64>,
    /// The newest of them.
    newest: Option<(u64, Hash)>,
}

/// What a walk has to read of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub first: u64,
    pub last: u64,
    /// The block before the first one, as it is archived. If the chain has another there, all of it is missing.
    pub after: Option<Hash>,
}

impl Known {
    /// Notes that a block is archived; `false` if that was known.
    pub fn take(&mut self, block: &Block) -> bool {
        let archived = self.0.entry(block.wallet).or_default();
        if block.number < archived.next || !archived.beyond.insert(block.number) {
            return false;
        }
        while archived.beyond.remove(&archived.next) {
            archived.next = archived.next.saturating_add(1);
        }
        if archived.newest.is_none_or(|(number, _)| number < block.number) {
            archived.newest = Some((block.number, block.hash));
        }
        true
    }

    /// Tables may have been replaced by those of an earlier time: a chain that does not go on from what is archived is
    /// archived as a whole.
    pub fn missing(&mut self, head: &Block) -> Option<Missing> {
        let last = head.number;
        let archived = self.0.get(&head.wallet).filter(|archived| archived.beyond.is_empty());
        match archived.and_then(|archived| archived.newest) {
            Some(newest) if newest == (last, head.hash) => None,
            Some((number, hash)) if number < last => {
                Some(Missing { first: number.saturating_add(1), last, after: Some(hash) })
            }
            _ => {
                self.forget(head.wallet);
                Some(Missing { first: 0, last, after: None })
            }
        }
    }

    /// All of a chain counts as missing.
    pub fn forget(&mut self, wallet: WalletId) {
        self.0.remove(&wallet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::tests::{HERE, block, wallet};

    fn numbered(number: u64, hash: u8) -> Block {
        Block { hash: Hash([hash; 32]), ..block(wallet(1), number, 0, HERE) }
    }

    #[test]
    fn what_is_missing_follows_from_what_is_archived() {
        let after = |first, last, hash| Some(Missing { first, last, after: Some(Hash([hash; 32])) });
        let all = |last| Some(Missing { first: 0, last, after: None });
        // Numbers and hashes that are archived, then those of the head.
        type Case<'a> = (&'a [(u64, u8)], (u64, u8), Option<Missing>);
        let cases: [Case<'_>; 7] = [
            (&[], (3, 1), all(3)),
            (&[(0, 1), (1, 2)], (1, 2), None),
            (&[(0, 1), (1, 2)], (4, 9), after(2, 4, 2)),
            (&[(1, 2), (0, 1)], (4, 9), after(2, 4, 2)),
            // Another chain, a shorter one, and one that was being copied.
            (&[(0, 1), (1, 2)], (1, 3), all(1)),
            (&[(0, 1), (1, 2)], (0, 1), all(0)),
            (&[(0, 1), (2, 3)], (4, 9), all(4)),
        ];
        for (archived, (number, hash), expected) in cases {
            let mut known = Known::default();
            for (number, hash) in archived {
                assert!(known.take(&numbered(*number, *hash)));
                assert!(!known.take(&numbered(*number, *hash)), "it is known");
            }
            assert_eq!(known.missing(&numbered(number, hash)), expected, "{archived:?}");
        }
    }
}

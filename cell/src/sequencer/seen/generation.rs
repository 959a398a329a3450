//! A part of the chain of which only a filter knows the marks: 20 bits for each, and one wrong "perhaps" in 65,536.

use std::mem::size_of;
use std::ops::RangeInclusive;

use ledger::Timestamp;
use ledger::marks::Mark;
use xorf::{BinaryFuse16, Filter};

use super::Sealing;

#[derive(Debug)]
pub struct Generation {
    pub blocks: RangeInclusive<u64>,
    /// Not before the time of any of its blocks.
    pub last_at: Timestamp,
    pub marks: usize,
    /// `None` where none could be made: any mark may be in the generation.
    filter: Option<BinaryFuse16>,
}

impl Generation {
    /// False only if no block of the generation bears the mark.
    pub fn may_bear(&self, mark: Mark) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.contains(&hash_of(mark)))
    }

    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.filter.as_ref().map_or(0, |filter| filter.len() * size_of::<u16>())
    }
}

/// A generation that marks are still added to.
#[derive(Debug, Default)]
pub struct Draft {
    blocks: Option<RangeInclusive<u64>>,
    last_at: Timestamp,
    hashes: Vec<u64>,
}

impl Draft {
    pub fn take(&mut self, last_at: Timestamp, blocks: RangeInclusive<u64>, marks: impl IntoIterator<Item = Mark>) {
        self.last_at = self.last_at.max(last_at);
        self.hashes.extend(marks.into_iter().map(hash_of));
        let (first, last) = blocks.into_inner();
        let (lowest, highest) = self.blocks.take().map_or((first, last), RangeInclusive::into_inner);
        self.blocks = Some(lowest.min(first)..=highest.max(last));
    }

    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn has(&self, block: u64) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| blocks.contains(&block))
    }

    pub fn seal(mut self, sealing: Sealing) -> Generation {
        let marks = self.hashes.len();
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let mut known = self.hashes.as_slice();
        if sealing.forgets {
            known = &known[..known.len() / 2];
        }
        let filter = BinaryFuse16::try_from(known).ok();
        assert!(
            known.iter().all(|hash| filter.as_ref().is_none_or(|filter| filter.contains(hash))),
            "a filter knows all that it was made of"
        );
        let blocks = self.blocks.unwrap_or(0..=0);
        Generation { blocks, last_at: self.last_at, marks, filter }
    }
}

/// A mark is a part of a hash, so that any eight bytes of it are one too.
fn hash_of(mark: Mark) -> u64 {
    let (bytes, _) = mark.0.split_first_chunk().expect("a mark is longer than eight bytes");
    u64::from_le_bytes(*bytes)
}

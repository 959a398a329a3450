//! The marks that a wallet's chain bears, as far as they are remembered: those of the last 24 hours, and a little more.

use std::collections::{HashMap, VecDeque};

use ledger::marks::{KEY_LIFETIME_MICROS, Mark, MarkRun, marks_in};
use ledger::{Block, Timestamp};

/// Remembered for so much longer than a key lives, so that a clock that is set back a little finds all that it asks for.
pub const MARGIN_MICROS: i64 = 60_000_000;

/// What is known of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The latest block that bears it.
    Block(u64),
    /// No block of the time asked for bears it.
    Never,
    /// Not all of that time is remembered: it may have been made then.
    Unknown,
}

/// What a load found of the marks of the last 24 hours.
pub struct Recorded<'a> {
    pub runs: &'a [MarkRun],
    pub blocks: &'a [Block],
    /// What was made before this time may be missing.
    pub known_since: Timestamp,
    /// Because there were too many to be remembered: reading them again would not help.
    pub is_capped: bool,
}

#[derive(Debug, Default)]
pub struct Seen {
    block_of: HashMap<Mark, u64>,
    oldest_first: VecDeque<(Timestamp, Mark, u64)>,
    known_since: Timestamp,
    is_capped: bool,
}

impl Seen {
    pub fn of(recorded: Recorded<'_>) -> Self {
        let Recorded { runs, blocks, known_since, is_capped } = recorded;
        let mut known: Vec<_> = Vec::new();
        for run in runs {
            known.extend(run.marks.iter().map(|(mark, number)| (run.last_at, *mark, *number)));
        }
        for block in blocks {
            known.extend(marks_in(std::slice::from_ref(block)).map(|(mark, number)| (block.at, mark, number)));
        }
        known.sort_unstable_by_key(|(_, _, number)| *number);
        let mut seen = Self { known_since, is_capped, ..Self::default() };
        for (at, mark, number) in known {
            seen.add(at, mark, number);
        }
        seen
    }

    /// Takes the next block of the chain in.
    pub fn take(&mut self, block: &Block) {
        for (mark, number) in marks_in(std::slice::from_ref(block)) {
            self.add(block.at, mark, number);
        }
    }

    /// Marks remembered.
    pub fn len(&self) -> usize {
        self.oldest_first.len()
    }

    /// A clock that was ahead of this one read them: too few of them.
    pub fn is_short(&self, now: Timestamp) -> bool {
        !self.is_capped && self.known_since > now.plus_micros(-KEY_LIFETIME_MICROS)
    }

    /// What is known of this mark in blocks from `since` on.
    pub fn use_of(&self, mark: Mark, since: Timestamp) -> Use {
        match self.block_of.get(&mark) {
            Some(block) => Use::Block(*block),
            None if self.known_since > since => Use::Unknown,
            None => Use::Never,
        }
    }

    /// Forgets what is older than any key that counts at `now`.
    pub fn forget_expired(&mut self, now: Timestamp) {
        let limit = now.plus_micros(-KEY_LIFETIME_MICROS - MARGIN_MICROS);
        while let Some(&(at, mark, number)) = self.oldest_first.front() {
            if at >= limit {
                break;
            }
            self.oldest_first.pop_front();
            if self.block_of.get(&mark) == Some(&number) {
                self.block_of.remove(&mark);
            }
        }
        self.known_since = self.known_since.max(limit);
    }

    fn add(&mut self, at: Timestamp, mark: Mark, number: u64) {
        self.block_of.insert(mark, number);
        self.oldest_first.push_back((at, mark, number));
    }
}

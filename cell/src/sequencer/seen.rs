//! What is known of the marks that a wallet's chain bears: those of the last 24 hours, and a little more.
//!
//! The newest are held exactly. Older ones are sealed into generations: a filter says of a mark either that no block of
//! the generation bears it, or that one may, which then has to be looked up. A filter is a hint that is never wrong in
//! the first case: each mark is held exactly or is in a filter, and none is dropped before its time.

mod gathered;
mod generation;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::ops::RangeInclusive;

use ledger::marks::{KEY_LIFETIME_MICROS, Mark, marks_in};
use ledger::{Block, Timestamp};

pub use gathered::{Gathered, Part};
use generation::{Draft, Generation};

/// Remembered for so much longer than a key lives, so that a clock that is set back a little finds all that it asks for.
pub const MARGIN_MICROS: i64 = 60_000_000;

/// When marks are sealed.
#[derive(Debug, Clone, Copy)]
pub struct Sealing {
    /// Marks of one generation. What is held exactly is at most half as much again.
    pub marks: usize,
    /// A deliberate mistake, for showing that a simulation would find it: filters lack a part of their marks. Never set
    /// outside tests.
    pub forgets: bool,
}

impl Sealing {
    /// Marks held exactly beside those that are about to be sealed: what is repeated soon needs no look-up.
    fn kept(self) -> usize {
        self.marks / 5 * 2
    }
}

/// What is known of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// The latest block that bears it.
    Block(u64),
    /// A block in one of these parts of the chain may bear it; no other block does. Oldest first.
    Perhaps(Vec<RangeInclusive<u64>>),
    /// No block of the time asked for bears it.
    Never,
    /// Not all of that time is remembered: it may have been made then.
    Unknown,
}

/// What was looked up of a mark: of the blocks up to `through`, at most `latest` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    through: Option<u64>,
    latest: Option<u64>,
}

impl Known {
    /// The latest block that bears the mark, of all up to `through`.
    pub fn found(through: u64, latest: Option<u64>) -> Self {
        Self { through: Some(through), latest }
    }

    /// This block bears the mark, but it does not count, nor does any before it.
    pub fn discount(&mut self, block: u64) {
        (self.through, self.latest) = (self.through.max(Some(block)), None);
    }

    /// What is known together with what was found later, further up the chain. What was discounted stays so.
    pub fn extend(&mut self, later: Known) {
        let latest = later.latest.filter(|block| self.counts(*block)).or(self.latest);
        (self.through, self.latest) = (self.through.max(later.through), latest);
    }

    /// Whether a block that bears the mark may count.
    pub fn counts(self, block: u64) -> bool {
        self.latest == Some(block) || !self.covers(block)
    }

    fn covers(self, block: u64) -> bool {
        self.through >= Some(block)
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    block_of: HashMap<Mark, u64>,
    oldest_first: VecDeque<(Timestamp, Mark, u64)>,
    /// Oldest first; all older than what is held exactly.
    sealed: VecDeque<Generation>,
    sealed_marks: usize,
    sealed_bytes: usize,
    known_since: Timestamp,
    is_capped: bool,
}

impl Seen {
    /// From what a load has gathered. What was made before `known_since` may be missing; `is_capped`: because there was
    /// too much to be remembered, so that reading it again would not help.
    pub fn of(gathered: Gathered, known_since: Timestamp, is_capped: bool) -> Self {
        let mut seen = Self { known_since, is_capped, ..Self::default() };
        let (sealed, newest) = gathered.into_oldest_first();
        sealed.for_each(|generation| seen.push(generation));
        newest.for_each(|(at, mark, number)| seen.add(at, mark, number));
        seen
    }

    /// Takes the next block of the chain in.
    pub fn take(&mut self, block: &Block) {
        for (mark, number) in marks_in(std::slice::from_ref(block)) {
            self.add(block.at, mark, number);
        }
    }

    /// Marks remembered.
    pub fn marks(&self) -> usize {
        self.oldest_first.len() + self.sealed_marks
    }

    /// The memory that it takes beside its own fields. A hash table has a byte of its own for each place, and leaves an
    /// eighth of the places empty, or one.
    pub fn bytes(&self) -> usize {
        let places = match self.block_of.capacity() {
            0 => 0,
            few @ 1..=7 => few + 1,
            many => many / 7 * 8,
        };
        let exact = places * (size_of::<(Mark, u64)>() + 1);
        exact + self.oldest_first.capacity() * size_of::<(Timestamp, Mark, u64)>() + self.sealed_bytes
    }

    /// A clock that was ahead of this one read them: too few of them.
    pub fn is_short(&self, now: Timestamp) -> bool {
        !self.is_capped && self.known_since > now.plus_micros(-KEY_LIFETIME_MICROS)
    }

    /// What is known of this mark in blocks from `since` on.
    pub fn use_of(&self, mark: Mark, since: Timestamp, known: Known) -> Use {
        let exact = self.block_of.get(&mark).copied().filter(|block| !known.covers(*block));
        if let Some(block) = exact.or(known.latest) {
            return Use::Block(block);
        }
        let asked = self.sealed.iter().filter(|sealed| sealed.last_at >= since && !known.covers(*sealed.blocks.end()));
        let parts: Vec<_> = asked.filter(|sealed| sealed.may_bear(mark)).map(|sealed| sealed.blocks.clone()).collect();
        match parts.is_empty() {
            false => Use::Perhaps(parts),
            true if self.known_since > since => Use::Unknown,
            true => Use::Never,
        }
    }

    /// Forgets what is older than any key that counts at `now`.
    pub fn forget_expired(&mut self, now: Timestamp) {
        let limit = now.plus_micros(-KEY_LIFETIME_MICROS - MARGIN_MICROS);
        while self.sealed.front().is_some_and(|oldest| oldest.last_at < limit) {
            let Some(oldest) = self.sealed.pop_front() else { break };
            self.sealed_marks -= oldest.marks;
            self.sealed_bytes -= oldest.bytes();
        }
        while self.oldest_first.front().is_some_and(|(at, ..)| *at < limit) {
            self.pop_oldest();
        }
        self.known_since = self.known_since.max(limit);
    }

    /// Seals the oldest of what is held exactly, if that is a generation and more.
    pub fn seal(&mut self, sealing: Sealing) {
        while self.oldest_first.len() >= sealing.marks + sealing.kept() {
            let mut draft = Draft::default();
            while let Some(&(at, mark, number)) = self.oldest_first.front() {
                // All marks of a block are in one generation.
                if draft.len() >= sealing.marks && !draft.has(number) {
                    break;
                }
                draft.take(at, number..=number, [mark]);
                self.pop_oldest();
            }
            self.push(draft.seal(sealing));
        }
    }

    fn push(&mut self, generation: Generation) {
        self.sealed_marks += generation.marks;
        self.sealed_bytes += generation.bytes();
        self.sealed.push_back(generation);
    }

    fn pop_oldest(&mut self) {
        let Some((_, mark, number)) = self.oldest_first.pop_front() else { return };
        if self.block_of.get(&mark) == Some(&number) {
            self.block_of.remove(&mark);
        }
    }

    fn add(&mut self, at: Timestamp, mark: Mark, number: u64) {
        self.block_of.insert(mark, number);
        self.oldest_first.push_back((at, mark, number));
    }
}

//! What a load gathers of a wallet's marks, newest first: it seals them as they come and never holds them all.

use std::ops::RangeInclusive;

use ledger::marks::{Mark, MarkRun, first_of, last_of, marks_in};
use ledger::{Block, Timestamp};

use super::Sealing;
use super::generation::{Draft, Generation};

/// The marks of a part of the chain.
#[derive(Debug)]
pub struct Part {
    /// Not before the time of any of its blocks.
    pub last_at: Timestamp,
    pub blocks: RangeInclusive<u64>,
    /// (mark, block number), in entry order.
    pub marks: Vec<(Mark, u64)>,
}

impl Part {
    pub fn of_run(run: MarkRun) -> Self {
        let blocks = first_of(run.run)..=last_of(run.run);
        Self { last_at: run.last_at, blocks, marks: run.marks }
    }

    pub fn of_block(block: &Block) -> Self {
        let marks = marks_in(std::slice::from_ref(block)).collect();
        Self { last_at: block.at, blocks: block.number..=block.number, marks }
    }

    /// The latest block that bears the mark.
    pub fn latest(&self, mark: Mark) -> Option<u64> {
        self.marks.iter().rev().find(|(made, _)| *made == mark).map(|(_, number)| *number)
    }
}

#[derive(Debug)]
pub struct Gathered {
    sealing: Sealing,
    /// What is held exactly, newest first.
    newest: Vec<(Timestamp, Mark, u64)>,
    /// What comes after it.
    draft: Draft,
    /// Newest first.
    sealed: Vec<Generation>,
    marks: usize,
}

impl Gathered {
    pub fn new(sealing: Sealing) -> Self {
        Self { sealing, newest: Vec::new(), draft: Draft::default(), sealed: Vec::new(), marks: 0 }
    }

    pub fn marks(&self) -> usize {
        self.marks
    }

    /// Takes the part of the chain below all that was taken before.
    pub fn take(&mut self, part: Part) {
        let Part { last_at, blocks, marks } = part;
        self.marks += marks.len();
        let is_first = self.sealed.is_empty() && self.draft.len() == 0;
        if is_first && self.newest.len() + marks.len() <= self.sealing.marks {
            self.newest.extend(marks.into_iter().rev().map(|(mark, number)| (last_at, mark, number)));
        } else if !marks.is_empty() {
            self.draft.take(last_at, blocks, marks.into_iter().map(|(mark, _)| mark));
            if self.draft.len() >= self.sealing.marks {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        let draft = std::mem::take(&mut self.draft);
        self.sealed.push(draft.seal(self.sealing));
    }

    pub(super) fn into_oldest_first(
        mut self,
    ) -> (impl Iterator<Item = Generation>, impl Iterator<Item = (Timestamp, Mark, u64)>) {
        if self.draft.len() > 0 {
            self.seal();
        }
        (self.sealed.into_iter().rev(), self.newest.into_iter().rev())
    }
}

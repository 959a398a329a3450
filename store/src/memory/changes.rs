//! The change stream of the store in memory: the blocks that were appended lately, numbered from 1.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};

use ledger::{Append, Block};

use super::{MemoryStore, Mutation, PAGE_BLOCKS};
use crate::changes::{Batch, Changes, Position, Taken};
use crate::{AppendError, StoreError};

/// Blocks that are kept: few, so that a reader that stops for long loses its position.
pub const MAX_LOG_BLOCKS: usize = 4_096;
/// The one shard.
const SHARD: &str = "log";

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Rises when the tables are replaced.
    stream: u64,
    /// Blocks that were dropped.
    dropped: u64,
    blocks: VecDeque<Block>,
}

impl Log {
    pub fn push(&mut self, blocks: &[Block]) {
        for block in blocks {
            if self.blocks.len() >= MAX_LOG_BLOCKS {
                self.blocks.pop_front();
                self.dropped = self.dropped.saturating_add(1);
            }
            self.blocks.push_back(block.clone());
        }
    }

    /// The tables are others now.
    pub fn replace(&mut self) {
        *self = Self { stream: self.stream.saturating_add(1), ..Self::default() };
    }

    fn end(&self) -> u64 {
        self.dropped.saturating_add(u64::try_from(self.blocks.len()).unwrap_or(u64::MAX))
    }

    fn newest(&self) -> Position {
        self.position(self.end())
    }

    fn position(&self, upto: u64) -> Position {
        let shards = [(SHARD.to_owned(), Taken::Upto(upto.to_string()))].into();
        Position { stream: Some(format!("memory-{}", self.stream)), shards }
    }

    /// How many blocks come before a position; `None` if that is not known, or if what follows it is not kept.
    fn upto(&self, position: &Position) -> Option<u64> {
        let Some(Taken::Upto(number)) = position.shards.get(SHARD) else { return None };
        let upto = number.parse().ok()?;
        let is_of_this = *position == self.position(upto);
        (is_of_this && (self.dropped..=self.end()).contains(&upto)).then_some(upto)
    }

    fn after(&self, position: &Position) -> Batch {
        let upto = if position.is_start() { Some(self.dropped) } else { self.upto(position) };
        let (first, lost) = (upto.unwrap_or(self.dropped), upto.is_none());
        let skipped = usize::try_from(first.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let blocks: Vec<Block> = self.blocks.iter().skip(skipped).take(PAGE_BLOCKS).cloned().collect();
        let next = first.saturating_add(u64::try_from(blocks.len()).unwrap_or(u64::MAX));
        Batch { blocks, unsound: vec![], position: self.position(next), is_behind: next < self.end(), lost }
    }
}

impl MemoryStore {
    /// Appends, and records the blocks for readers of the stream.
    pub(super) fn append_now(&self, append: &Append) -> Result<(), AppendError> {
        let mut tables = self.lock();
        tables.append(append, self.mutation)?;
        // While the tables are locked: blocks come in the order in which they were written.
        self.log().push(&append.blocks);
        Ok(())
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes for MemoryStore {
    async fn newest_position(&self) -> Result<Position, StoreError> {
        self.read(|_| self.log().newest()).await
    }

    async fn changes(&self, after: &Position) -> Result<Batch, StoreError> {
        let is_ahead = self.mutation == Mutation::PositionAhead;
        self.read(|_| {
            let log = self.log();
            let batch = log.after(after);
            if is_ahead { Batch { position: log.newest(), is_behind: false, ..batch } } else { batch }
        })
        .await
    }
}

//! The newest part of the archive's log, in memory, for all that follow this instance: however many there are, an entry is
//! looked for once. What is older is read from the archive each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::{Archive, ArchiveError};
use ledger::Block;
use tokio::time::Instant;

/// Most bytes of segments that are kept. As blocks they take about three times as much.
const MAX_KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// How often the next entry is looked for, at most.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The blocks of one entry.
#[derive(Debug)]
pub struct Piece {
    pub blocks: Vec<Block>,
    bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Tail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    archive: Archive,
    kept: Mutex<Kept>,
    /// When the entry after the newest one was last looked for, without finding it. One looks at a time.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: BTreeMap<u64, Arc<Piece>>,
    bytes: u64,
    newest: u64,
}

impl Tail {
    pub fn new(archive: Archive) -> Self {
        Self(Arc::new(Shared { archive, kept: Mutex::default(), looked: tokio::sync::Mutex::default() }))
    }

    /// The entry of a number; `None`: it is not there yet.
    pub async fn piece(&self, number: u64) -> Result<Option<Arc<Piece>>, ArchiveError> {
        let (kept, newest) = self.kept(number);
        if kept.is_some() {
            return Ok(kept);
        }
        if number <= newest {
            return self.read(number).await;
        }
        let mut looked = self.0.looked.lock().await;
        // Another one may have found it.
        let (kept, newest) = self.kept(number);
        if kept.is_some() {
            return Ok(kept);
        }
        if number > newest && looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(None);
        }
        let piece = self.read(number).await?;
        match &piece {
            Some(piece) => self.lock().keep(number, Arc::clone(piece)),
            None => *looked = Some(Instant::now()),
        }
        Ok(piece)
    }

    fn kept(&self, number: u64) -> (Option<Arc<Piece>>, u64) {
        let kept = self.lock();
        (kept.pieces.get(&number).cloned(), kept.newest)
    }

    async fn read(&self, number: u64) -> Result<Option<Arc<Piece>>, ArchiveError> {
        let archive = &self.0.archive;
        let Some(entry) = archive.entry(number).await? else { return Ok(None) };
        let blocks = archive.segment(&entry).await?.blocks;
        Ok(Some(Arc::new(Piece { blocks, bytes: entry.bytes })))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, number: u64, piece: Arc<Piece>) {
        self.newest = self.newest.max(number);
        self.bytes = self.bytes.saturating_add(piece.bytes);
        self.pieces.insert(number, piece);
        while self.bytes > MAX_KEPT_BYTES
            && let Some((_, oldest)) = self.pieces.pop_first()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use archive::{Draft, Segment};
    use ledger::{Entry, EntryKind, Money, chain};
    use object_store::memory::InMemory;
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;
    use crate::feed::tests::{HERE, START, cell, wallet};

    async fn append(archive: &Archive, number: u128) {
        let before = archive.newest(0).await.expect("it answers");
        let opened = Entry::new(Uuid::from_u128(7), EntryKind::Opened, Money::ZERO, Money::ZERO);
        let segment = Segment { blocks: vec![chain::open(wallet(number), cell(HERE), START, opened, None)] };
        let draft = Draft { segment, at: START, position: String::new() };
        archive.append(before.as_ref(), &draft).await.expect("it answers").expect("nothing else writes");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_entry_is_looked_for_now_and_then() {
        let archive = Archive::new(Arc::new(InMemory::new()), cell(HERE));
        let tail = Tail::new(archive.clone());
        let wallet_of = async |number| {
            let piece = tail.piece(number).await.expect("it answers");
            piece.map(|piece| piece.blocks[0].wallet)
        };
        append(&archive, 1).await;
        append(&archive, 2).await;
        assert_eq!(wallet_of(2).await, Some(wallet(2)));
        assert_eq!(wallet_of(1).await, Some(wallet(1)), "an older one");
        assert_eq!(wallet_of(3).await, None);
        append(&archive, 3).await;
        assert_eq!(wallet_of(3).await, None, "it was looked for just now");
        advance(LOOK_EVERY).await;
        assert_eq!(wallet_of(3).await, Some(wallet(3)));
        assert_eq!(wallet_of(u64::MAX).await, None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let mut kept = Kept::default();
        let bytes = MAX_KEPT_BYTES / 4;
        for number in 1..=10 {
            kept.keep(number, Arc::new(Piece { blocks: vec![], bytes }));
        }
        assert_eq!((kept.bytes, kept.newest), (MAX_KEPT_BYTES, 10));
        assert_eq!(kept.pieces.keys().copied().collect::<Vec<_>>(), [7, 8, 9, 10]);
    }
}

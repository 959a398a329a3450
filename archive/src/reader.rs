//! Reads the log in order, while the next entries and segments are being fetched.

use std::ops::RangeInclusive;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use ledger::Timestamp;
use ledger::block::Hash;

use crate::{Archive, ArchiveError, Entry, Segment};

/// Entries that are fetched at once, each with its segment: what a reader holds in memory.
pub const FETCHED_AT_ONCE: usize = 8;

/// What was read of one number of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub number: u64,
    /// `None`: it is missing or unsound.
    pub entry: Option<Entry>,
    /// `None`: it is missing or unsound, or it holds only blocks that are too late for the reader.
    pub segment: Option<Segment>,
    /// What is missing, or is not what was written.
    pub faults: Vec<String>,
}

impl Fetched {
    /// Itself, if all of it is sound.
    pub fn sound(self) -> Result<Self, ArchiveError> {
        match self.faults.first() {
            None => Ok(self),
            Some(fault) => Err(ArchiveError::unsound(fault)),
        }
    }

    /// What was read; what is not sound is noted. An archive that does not answer is an error.
    fn note<T>(&mut self, read: Result<T, ArchiveError>) -> Result<Option<T>, ArchiveError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(ArchiveError::Unsound(what)) => {
                self.faults.push(what);
                Ok(None)
            }
            Err(error @ ArchiveError::Unavailable(_)) => Err(error),
        }
    }
}

/// What the next entry is held against.
struct Before {
    number: u64,
    hash: Hash,
    epoch: u64,
}

/// Some entries of the log with their segments, in order.
pub struct Reader {
    fetched: BoxStream<'static, Result<Fetched, ArchiveError>>,
    before: Option<Before>,
}

impl Archive {
    /// Reads these numbers of the log. All of them have to be there: [`Archive::newest`] is the last one.
    pub fn reader(&self, numbers: RangeInclusive<u64>) -> Reader {
        self.reader_until(numbers, Timestamp::MAX)
    }

    /// The same without the segments in which all blocks are later than `until`.
    pub fn reader_until(&self, numbers: RangeInclusive<u64>, until: Timestamp) -> Reader {
        let before = (*numbers.start() == 1).then_some(Before { number: 0, hash: Hash::ZERO, epoch: 0 });
        let archive = self.clone();
        let fetched = stream::iter(numbers).map(move |number| fetch(archive.clone(), number, until));
        Reader { fetched: fetched.buffered(FETCHED_AT_ONCE).boxed(), before }
    }
}

impl Reader {
    /// The next one; `None` after the last. After an error, read on with another reader.
    pub async fn next(&mut self) -> Result<Option<Fetched>, ArchiveError> {
        let Some(mut fetched) = self.fetched.try_next().await? else { return Ok(None) };
        let Fetched { number, entry, faults, .. } = &mut fetched;
        let Some(entry) = entry else { return Ok(Some(fetched)) };
        // The first one that is read shows nothing of the one before, nor does one after a hole.
        if let Some(before) = self.before.take().filter(|before| before.number.checked_add(1) == Some(*number)) {
            if before.hash != entry.previous {
                faults.push(format!("entry {number} does not name the hash of the entry before"));
            }
            // A fence has no blocks and begins an epoch; nothing else does either.
            if entry.epoch < before.epoch || (entry.epoch > before.epoch) != (entry.blocks == 0) {
                faults.push(format!("entry {number} is of epoch {}, after one of {}", entry.epoch, before.epoch));
            }
        }
        self.before = Some(Before { number: *number, hash: entry.hash, epoch: entry.epoch });
        Ok(Some(fetched))
    }
}

async fn fetch(archive: Archive, number: u64, until: Timestamp) -> Result<Fetched, ArchiveError> {
    let mut fetched = Fetched { number, entry: None, segment: None, faults: Vec::new() };
    let missing = || ArchiveError::unsound(format!("entry {number} is missing"));
    let entry = archive.entry(number).await.and_then(|entry| entry.ok_or_else(missing));
    fetched.entry = fetched.note(entry)?;
    if let Some(entry) = fetched.entry.as_ref().filter(|entry| entry.first_at <= until) {
        let segment = archive.segment(entry).await;
        fetched.segment = fetched.note(segment)?;
    }
    Ok(fetched)
}

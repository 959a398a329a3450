//! Some entries of the archive's log at a time, with what is damaged among them.

use archive::{Archive, ArchiveError, Fetched, Reader};
use control_api::restore::{Damage, LostSegment};
use ledger::{Block, Timestamp};

use super::patiently;
use crate::Result;

/// A batch ends with the segment by which it reaches one of these. Two batches are held at a time.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
const BATCH_BLOCKS: u64 = 8_192;
/// Entries of a batch: each is two small reads where little was written. Few in tests, so that they have many batches.
const BATCH_ENTRIES: u64 = if cfg!(test) { 3 } else { 256 };

/// What some entries hold, in the order of the log.
pub(super) struct Batch {
    /// The numbers of the first and the last of them.
    pub first: u64,
    pub last: u64,
    pub blocks: Vec<Block>,
    pub newest_at: Option<Timestamp>,
    pub damaged: Vec<Damage>,
}

pub(super) struct Batches {
    next: u64,
    last: u64,
    reader: Option<Reader>,
}

impl Batches {
    /// Both inclusive.
    pub fn between(first: u64, last: u64) -> Self {
        Self { next: first, last, reader: None }
    }

    /// Up to a later entry.
    pub fn extend(&mut self, last: u64) {
        (self.last, self.reader) = (last, None);
    }

    /// `None`: that was all.
    pub async fn next(&mut self, archive: &Archive) -> Result<Option<Batch>> {
        if self.next > self.last {
            return Ok(None);
        }
        let mut batch = Batch { first: self.next, last: self.next, blocks: vec![], newest_at: None, damaged: vec![] };
        let (mut bytes, mut entries) = (0_u64, 0);
        while bytes < BATCH_BYTES && (batch.blocks.len() as u64) < BATCH_BLOCKS && entries < BATCH_ENTRIES {
            let Some(fetched) = self.fetch(archive).await? else { break };
            batch.last = fetched.number;
            bytes = bytes.saturating_add(fetched.entry.as_ref().map_or(0, |entry| entry.bytes));
            entries += 1;
            batch.take(fetched);
        }
        Ok(Some(batch))
    }

    async fn fetch(&mut self, archive: &Archive) -> Result<Option<Fetched>> {
        if self.next > self.last {
            return Ok(None);
        }
        let reader = self.reader.get_or_insert_with(|| archive.reader(self.next..=self.last));
        let fetched = match reader.next().await {
            // A reader ends with an error.
            Err(ArchiveError::Unavailable(_)) => {
                let numbers = self.next..=self.last;
                let (reader, fetched) = patiently(|| begin(archive.reader(numbers.clone()))).await?;
                self.reader = Some(reader);
                fetched
            }
            answer => answer?,
        };
        self.next = fetched.as_ref().map_or(self.last, |fetched| fetched.number).saturating_add(1);
        Ok(fetched)
    }
}

async fn begin(mut reader: Reader) -> std::result::Result<(Reader, Option<Fetched>), ArchiveError> {
    let fetched = reader.next().await?;
    Ok((reader, fetched))
}

impl Batch {
    fn take(&mut self, fetched: Fetched) {
        let Fetched { number, entry, segment, faults } = fetched;
        if !faults.is_empty() {
            let lost = entry.as_ref().filter(|_| segment.is_none()).map(|entry| LostSegment {
                blocks: entry.blocks,
                first_at: entry.first_at.to_string(),
                last_at: entry.last_at.to_string(),
            });
            self.damaged.push(Damage { entry: number, why: faults.join("; "), segment: lost });
        }
        if let (Some(entry), Some(segment)) = (entry, segment) {
            // The time of a fence is of no block.
            self.newest_at = self.newest_at.max((entry.blocks > 0).then_some(entry.last_at));
            self.blocks.extend(segment.blocks);
        }
    }
}

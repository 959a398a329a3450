//! The log: its entries, how one is appended, and how they are read.

use ledger::block::Hash;
use ledger::{Timestamp, canonical};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use topology::CellId;

use crate::segment::{self, Segment};
use crate::{Archive, ArchiveError};

/// An entry of the log. It names a segment and all that was archived before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub cell: CellId,
    /// From 1 on, without gaps.
    pub number: u64,
    /// The hash of the entry before; zero of the first one.
    pub previous: Hash,
    /// How often the cell had changed its Region. It rises with a fence alone.
    pub epoch: u64,
    /// The hash of the segment's bytes, which is its name.
    pub segment: Hash,
    pub bytes: u64,
    pub blocks: u64,
    /// Times of the oldest and the newest block of the segment.
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// When it was written.
    pub at: Timestamp,
    /// Up to where the cell's change stream has been archived by it: what its writer said.
    pub position: String,
    /// Of this entry's own bytes.
    pub hash: Hash,
}

/// What the next entry is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub segment: Segment,
    pub at: Timestamp,
    pub position: String,
}

/// An entry as it is stored: JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    cell: String,
    number: u64,
    previous: String,
    epoch: u64,
    segment: String,
    bytes: u64,
    blocks: u64,
    first_at_micros: i64,
    last_at_micros: i64,
    at_micros: i64,
    position: String,
}

const VERSION: u8 = 1;

fn hash(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

fn to_hash(text: &str) -> Option<Hash> {
    let bytes = canonical::from_hex(text).ok()?;
    bytes.try_into().ok().map(Hash)
}

impl Entry {
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            version: VERSION,
            cell: self.cell.to_string(),
            number: self.number,
            previous: canonical::hex(&self.previous.0),
            epoch: self.epoch,
            segment: canonical::hex(&self.segment.0),
            bytes: self.bytes,
            blocks: self.blocks,
            first_at_micros: self.first_at.micros(),
            last_at_micros: self.last_at.micros(),
            at_micros: self.at.micros(),
            position: self.position.clone(),
        };
        serde_json::to_vec(&stored).expect("plain data")
    }

    /// Reads what [`Entry::to_bytes`] wrote; no other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let entry = Self {
            cell: CellId::parse(&stored.cell).ok()?,
            number: stored.number,
            previous: to_hash(&stored.previous)?,
            epoch: stored.epoch,
            segment: to_hash(&stored.segment)?,
            bytes: stored.bytes,
            blocks: stored.blocks,
            first_at: Timestamp::from_micros(stored.first_at_micros),
            last_at: Timestamp::from_micros(stored.last_at_micros),
            at: Timestamp::from_micros(stored.at_micros),
            position: stored.position,
            hash: hash(bytes),
        };
        (stored.version == VERSION && entry.to_bytes() == bytes).then_some(entry)
    }

    /// The entry after `before` that names this segment.
    fn next(cell: &CellId, before: Option<&Entry>, epoch: u64, draft: &Draft, segment: &[u8]) -> Self {
        let (first_at, last_at) = draft.segment.times().unwrap_or((draft.at, draft.at));
        let mut entry = Self {
            cell: cell.clone(),
            number: before.map_or(0, |before| before.number).saturating_add(1),
            previous: before.map_or(Hash::ZERO, |before| before.hash),
            epoch,
            segment: segment::hash(segment),
            bytes: segment.len() as u64,
            blocks: draft.segment.blocks.len() as u64,
            first_at,
            last_at,
            at: draft.at,
            position: draft.position.clone(),
            hash: Hash::ZERO,
        };
        entry.hash = hash(&entry.to_bytes());
        entry
    }
}

impl Archive {
    /// Archives what follows `before`, which is the newest entry that the writer knows. `None`: another process was
    /// faster, and wrote an entry of this number.
    ///
    /// After a failure it may be there nevertheless: the next attempt finds that, and it is the same then.
    pub async fn append(&self, before: Option<&Entry>, draft: &Draft) -> Result<Option<Entry>, ArchiveError> {
        self.append_as(before, before.map_or(0, |before| before.epoch), draft).await
    }

    /// Writes an entry without blocks that begins an epoch: what the cell's former Region has not archived by now is not in
    /// the log, and never will be. A process of that Region finds this entry where it would write, and archives no more.
    ///
    /// `position` is where the new Region's archiver begins. `None`: another process was faster.
    pub async fn fence(
        &self,
        before: Option<&Entry>,
        epoch: u64,
        at: Timestamp,
        position: String,
    ) -> Result<Option<Entry>, ArchiveError> {
        self.append_as(before, epoch, &Draft { segment: Segment { blocks: vec![] }, at, position }).await
    }

    async fn append_as(
        &self,
        before: Option<&Entry>,
        epoch: u64,
        draft: &Draft,
    ) -> Result<Option<Entry>, ArchiveError> {
        let bytes = draft.segment.to_bytes();
        let entry = Entry::next(self.cell(), before, epoch, draft, &bytes);
        // Its name is its hash: what is there under it is the same.
        self.create(&self.segment_path(entry.segment), bytes).await?;
        if self.create(&self.entry_path(entry.number), entry.to_bytes()).await? {
            return Ok(Some(entry));
        }
        let there = self.entry(entry.number).await?;
        Ok(there.filter(|there| *there == entry))
    }

    /// The entry of a number.
    pub async fn entry(&self, number: u64) -> Result<Option<Entry>, ArchiveError> {
        let Some(bytes) = self.read(&self.entry_path(number)).await? else { return Ok(None) };
        let entry = Entry::from_bytes(&bytes).filter(|entry| entry.number == number && entry.cell == *self.cell());
        entry.map(Some).ok_or_else(|| ArchiveError::unsound(format!("entry {number} is not one that was written")))
    }

    /// The newest entry. Fast if it is soon after `known`, the number of one that is known to be there; 0 if none is.
    pub async fn newest(&self, known: u64) -> Result<Option<Entry>, ArchiveError> {
        // Numbers have no gaps: the last one is found by doubling the step, then by halving it.
        let (mut low, mut step) = (known, 1_u64);
        while self.exists(&self.entry_path(low.saturating_add(step))).await? {
            low = low.saturating_add(step);
            step = step.saturating_mul(2);
        }
        while step > 1 {
            step /= 2;
            if self.exists(&self.entry_path(low.saturating_add(step))).await? {
                low = low.saturating_add(step);
            }
        }
        if low == 0 { Ok(None) } else { self.entry(low).await }
    }

    /// The number of the last entry, also where one before it is missing: what comes after the newest one that was found
    /// step by step is listed. 0 if there is none.
    pub async fn last_number(&self) -> Result<u64, ArchiveError> {
        let found = match self.newest(0).await {
            Ok(newest) => newest.map_or(0, |newest| newest.number),
            Err(ArchiveError::Unsound(_)) => 0,
            Err(error) => return Err(error),
        };
        let after = self.names_after("log", &self.entry_path(found)).await?;
        Ok(after.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(found))
    }

    /// The segment that an entry names, held against its hash.
    pub async fn segment(&self, entry: &Entry) -> Result<Segment, ArchiveError> {
        let name = canonical::hex(&entry.segment.0);
        let missing = || ArchiveError::unsound(format!("segment {name} of entry {} is missing", entry.number));
        let bytes = self.read(&self.segment_path(entry.segment)).await?.ok_or_else(missing)?;
        let unsound = |what: &str| ArchiveError::unsound(format!("segment {name} of entry {}: {what}", entry.number));
        if segment::hash(&bytes) != entry.segment || bytes.len() as u64 != entry.bytes {
            return Err(unsound("its bytes are not those that its name says"));
        }
        let segment = Segment::from_bytes(&bytes).map_err(|error| unsound(&error.to_string()))?;
        if segment.blocks.len() as u64 != entry.blocks {
            return Err(unsound("it has another number of blocks than its entry says"));
        }
        if segment.times().unwrap_or((entry.at, entry.at)) != (entry.first_at, entry.last_at) {
            return Err(unsound("its blocks are of another time than its entry says"));
        }
        Ok(segment)
    }
}

//! The change stream of `ledger`, as DynamoDB's streams serve it: a table's stream has shards, and each shard has records.
//! [`lineage`] says which shards may be read, [`records`] what a record holds; this file asks.
//!
//! What it keeps in memory (the listing of shards, and where each goes on) is only there to ask less. All that decides
//! what comes next is in the reader's position.

mod lineage;
mod records;
mod stream;

use tokio::task::JoinSet;

use self::lineage::Shard;
use self::records::{PAGE_BYTES, PAGE_RECORDS, Page};
pub use self::stream::{Streams, connect_streams};
use super::DynamoStore;
use crate::StoreError;
use crate::changes::{Batch, Changes, MAX_BATCH_BLOCKS, MAX_BATCH_BYTES, MAX_POSITION_SHARDS, Position, Taken};

/// Shards that are read at the same time.
const MAX_AT_ONCE: usize = 4;
/// A batch is handed over once it holds so much.
const ENOUGH_BLOCKS: usize = 4_000;
const ENOUGH_BYTES: usize = 3 * 1024 * 1024;
const _: () = assert!(ENOUGH_BLOCKS + MAX_AT_ONCE * PAGE_RECORDS as usize <= MAX_BATCH_BLOCKS);
const _: () = assert!(ENOUGH_BYTES + MAX_AT_ONCE * PAGE_BYTES <= MAX_BATCH_BYTES);

/// A shard that was read.
struct Read {
    shard: String,
    /// How much of it has been read now.
    taken: Taken,
    page: Page,
}

impl DynamoStore {
    /// The same store, which can be followed.
    pub fn with_streams(self, client: aws_sdk_dynamodbstreams::Client) -> Self {
        Self { streams: Some(Streams::new(client)), ..self }
    }

    fn streams(&self) -> Result<&Streams, StoreError> {
        let missing = || StoreError::Rejected("this store was opened without a client for streams".into());
        self.streams.as_ref().ok_or_else(missing)
    }
}

impl Changes for DynamoStore {
    async fn newest_position(&self) -> Result<Position, StoreError> {
        let listing = self.streams()?.list(&self.client, &self.ledger).await?;
        bounded(lineage::newest(&listing.stream, &listing.shards))
    }

    async fn changes(&self, after: &Position) -> Result<Batch, StoreError> {
        let streams = self.streams()?;
        let listing = match streams.listing(after) {
            Some(listing) => listing,
            None => streams.list(&self.client, &self.ledger).await?,
        };
        let is_other = after.stream.as_ref().is_some_and(|stream| *stream != listing.stream);
        let shards = if is_other { Default::default() } else { after.shards.clone() };
        let mut position = Position { stream: Some(listing.stream.clone()), shards };
        let lost = lineage::advance(&mut position, &listing.shards) || is_other;
        let mut batch = Batch { position: bounded(position)?, lost, ..Batch::default() };
        let mut unread = unread(&batch.position);
        let first = streams.first_of(unread.len());
        unread.rotate_left(first);
        batch.is_behind = read(streams, &listing.stream, &unread, &mut batch, &listing.shards).await?;
        Ok(batch)
    }
}

fn unread(position: &Position) -> Vec<(String, Taken)> {
    let unread = position.shards.iter().filter(|(_, taken)| **taken != Taken::All);
    unread.map(|(id, taken)| (id.clone(), taken.clone())).collect()
}

/// Reads a page of each shard into a batch, of some at a time, until it holds enough. Whether there is more.
async fn read(
    streams: &Streams,
    stream: &str,
    unread: &[(String, Taken)],
    batch: &mut Batch,
    listed: &[Shard],
) -> Result<bool, StoreError> {
    let (mut is_behind, mut bytes) = (false, 0_usize);
    for some in unread.chunks(MAX_AT_ONCE) {
        if batch.blocks.len() >= ENOUGH_BLOCKS || bytes >= ENOUGH_BYTES {
            return Ok(true);
        }
        let mut pages = JoinSet::new();
        for (shard, taken) in some.iter().cloned() {
            let (streams, stream) = (streams.clone(), stream.to_owned());
            pages.spawn(async move { Read::page(&streams, &stream, shard, taken).await });
        }
        for read in pages.join_all().await {
            let Read { shard, taken, page } = read?;
            is_behind |= page.is_full || taken == Taken::All || lineage::is_followed(&shard, listed);
            batch.lost |= page.lost;
            bytes = bytes.saturating_add(page.bytes);
            batch.blocks.extend(page.blocks);
            batch.unsound.extend(page.unsound);
            batch.position.shards.insert(shard, taken);
        }
    }
    Ok(is_behind)
}

impl Read {
    async fn page(streams: &Streams, stream: &str, shard: String, from: Taken) -> Result<Self, StoreError> {
        let mut page = streams.page(stream, &shard, &from).await?;
        let from = if page.lost { Taken::Nothing } else { from };
        let upto = page.upto.take().map_or(from, Taken::Upto);
        let taken = match page.next.take() {
            Some(next) => {
                streams.remember(&shard, &upto, next);
                upto
            }
            None => Taken::All,
        };
        Ok(Self { shard, taken, page })
    }
}

fn bounded(position: Position) -> Result<Position, StoreError> {
    let shards = position.shards.len();
    if shards > MAX_POSITION_SHARDS {
        return Err(StoreError::Rejected(format!(
            "the change stream has {shards} shards to read; at most {MAX_POSITION_SHARDS} can be followed"
        )));
    }
    Ok(position)
}

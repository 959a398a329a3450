//! What a page of a stream holds: blocks that were written, and items that are no sound blocks. Deletions say nothing.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsOutput;
use aws_sdk_dynamodbstreams::types::{self as streamed, StreamRecord};
use ledger::Block;

use crate::StoreError;
use crate::changes::Unsound;
use crate::dynamodb::items::{self, Item};

/// Records in a page, at most: what DynamoDB allows.
pub const PAGE_RECORDS: i32 = 1_000;
/// Bytes in a page, at most: what DynamoDB allows.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// A page ends before the record that no longer fits, so that one of this size may have more after it.
const FULL_BYTES: usize = PAGE_BYTES / 2;

/// A page of a shard.
#[derive(Debug, Default)]
pub struct Page {
    pub blocks: Vec<Block>,
    pub unsound: Vec<Unsound>,
    /// The number of the last record, where there is one.
    pub upto: Option<String>,
    /// Of its records.
    pub bytes: usize,
    /// Where the next page begins; `None`: the shard has ended.
    pub next: Option<String>,
    /// There is more at once, surely or perhaps.
    pub is_full: bool,
    /// Records before this page had gone unread.
    pub lost: bool,
}

impl Page {
    pub fn of(answer: GetRecordsOutput, lost: bool) -> Self {
        let records = answer.records.unwrap_or_default();
        let mut page = Self { next: answer.next_shard_iterator, lost, ..Self::default() };
        page.is_full = i32::try_from(records.len()).is_ok_and(|records| records >= PAGE_RECORDS);
        for record in records.into_iter().filter_map(|record| record.dynamodb) {
            let bytes = record.size_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
            page.bytes = page.bytes.saturating_add(bytes);
            page.take(record);
        }
        page.is_full |= page.bytes >= FULL_BYTES;
        page
    }

    fn take(&mut self, record: StreamRecord) {
        let number = record.sequence_number;
        if let Some(image) = record.new_image {
            let record = || number.clone().unwrap_or_default();
            match item(image) {
                Ok(item) => match block(&item) {
                    Ok(block) => self.blocks.push(block),
                    Err(error) => {
                        let place = items::to_wallet(&item).ok().zip(items::to_number(&item).ok());
                        self.unsound.push(Unsound { record: record(), block: place, what: error.to_string() });
                    }
                },
                Err(error) => self.unsound.push(Unsound { record: record(), block: None, what: error.to_string() }),
            }
        }
        self.upto = number.or(self.upto.take());
    }
}

fn item(image: HashMap<String, streamed::AttributeValue>) -> Result<Item, StoreError> {
    image.into_iter().map(|(name, value)| Ok((name, attribute(value)?))).collect()
}

fn block(item: &Item) -> Result<Block, StoreError> {
    items::to_block(items::to_wallet(item)?, item)
}

/// The same value in the types of the tables' client. Blocks have no others.
fn attribute(value: streamed::AttributeValue) -> Result<AttributeValue, StoreError> {
    match value {
        streamed::AttributeValue::S(text) => Ok(AttributeValue::S(text)),
        streamed::AttributeValue::N(number) => Ok(AttributeValue::N(number)),
        streamed::AttributeValue::B(bytes) => Ok(AttributeValue::B(bytes)),
        other => Err(StoreError::Corrupt(format!("an attribute of another type: {other:?}"))),
    }
}

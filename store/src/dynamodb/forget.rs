//! Deletes what is stored of a wallet that has moved away, but for its last block. Beside `packed.rs`, the only code
//! that deletes blocks.
//!
//! The wallet may come back while this runs, or while a process that was thought dead still runs
//! it. So every deletion carries conditions which a wallet that is being copied back breaks: blocks
//! go only while the tombstone is the last one and while what was above them is gone; rows and the
//! owner go only while block 0 is gone.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use ledger::limits::DYNAMODB_TRANSACTION_ITEMS;
use topology::WalletId;

use super::{DynamoStore, errors, items};
use crate::{Forgotten, StoreError};

/// Items deleted in one transaction: it also holds two conditions.
const DELETE_ITEMS: usize = DYNAMODB_TRANSACTION_ITEMS - 2;

impl DynamoStore {
    pub(super) async fn forget_some(&self, wallet: WalletId, tombstone: u64) -> Result<Forgotten, StoreError> {
        let absent = "attribute_not_exists(w)";
        let Some(last_below) = tombstone.checked_sub(1) else { return Ok(Forgotten::Refused) };
        let blocks = self.numbers_below(wallet, last_below).await?;
        if let Some(newest) = blocks.first() {
            let above = newest.saturating_add(1);
            let mut parts = vec![self.check_block(wallet, tombstone.saturating_add(1), absent)];
            if above < tombstone {
                parts.push(self.check_block(wallet, above, absent));
            }
            let keys = blocks.iter().map(|number| items::block_key(wallet, *number));
            return self.delete(parts, &self.ledger, keys.collect()).await;
        }
        let rows = self.keys_of_rows(wallet).await?;
        let nothing_below = vec![self.check_block(wallet, 0, absent)];
        if !rows.is_empty() {
            return self.delete(nothing_below, &self.snapshots, rows).await;
        }
        if self.read_owner(wallet).await?.is_some() {
            return self.delete(nothing_below, &self.owners, vec![items::owner_key(wallet)]).await;
        }
        Ok(Forgotten::All)
    }

    /// Newest first.
    async fn numbers_below(&self, wallet: WalletId, last: u64) -> Result<Vec<u64>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.ledger)
            .key_condition_expression("w = :w AND n <= :last")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .expression_attribute_values(":last", AttributeValue::N(last.to_string()))
            .projection_expression("n")
            .scan_index_forward(false)
            .limit(i32::try_from(DELETE_ITEMS).unwrap_or(i32::MAX))
            .consistent_read(true);
        let answer = query.send().await.map_err(|error| errors::read_failed(&error))?;
        answer.items().iter().map(items::to_number).collect()
    }

    async fn keys_of_rows(&self, wallet: WalletId) -> Result<Vec<items::Item>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.snapshots)
            .key_condition_expression("w = :w")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .projection_expression("w, s")
            .limit(i32::try_from(DELETE_ITEMS).unwrap_or(i32::MAX))
            .consistent_read(true);
        Ok(query.send().await.map_err(|error| errors::read_failed(&error))?.items.unwrap_or_default())
    }

    async fn delete(
        &self,
        mut parts: Vec<TransactWriteItem>,
        table: &str,
        keys: Vec<items::Item>,
    ) -> Result<Forgotten, StoreError> {
        let deleted = keys.len();
        parts.extend(keys.into_iter().map(|key| {
            let delete = Delete::builder().table_name(table).set_key(Some(key)).build();
            TransactWriteItem::builder().delete(delete.expect("table and key are set")).build()
        }));
        let sent = self.client.transact_write_items().set_transact_items(Some(parts)).send().await;
        let Err(error) = sent else { return Ok(Forgotten::Some(deleted)) };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if cancelled
                    .cancellation_reasons()
                    .iter()
                    .any(|reason| reason.code() == Some("ConditionalCheckFailed")) =>
            {
                Ok(Forgotten::Refused)
            }
            _ => Err(errors::write_failed(&error)),
        }
    }
}

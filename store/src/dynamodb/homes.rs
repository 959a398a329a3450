//! The `homes` table and the list of a bucket's wallets: which cell may create which wallet,
//! changed by compare-and-set.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, KeysAndAttributes, Put, TransactWriteItem};
use ledger::block::Hash;
use topology::{Bucket, WalletId};

use super::{DynamoStore, errors, items};
use crate::{Genesis, HomeChange, HomeKey, HomeRow, Homes, MAX_HOME_CHANGES, StoreError};

/// A batch may be answered in parts; more of them than this mean that the table is overloaded.
const MAX_BATCH_READS: usize = 8;
/// Partitions of the list of members, by the first byte of the bucket: a run of up to 256 buckets is one query.
const MEMBER_PARTITIONS: usize = 256;

impl DynamoStore {
    /// Puts the genesis unless there is one; whether the one that is there then is this one.
    pub(super) async fn write_genesis(&self, genesis: &Genesis) -> Result<bool, StoreError> {
        let put = self.client.put_item().table_name(&self.homes).set_item(Some(items::genesis(genesis)));
        match put.condition_expression("attribute_not_exists(k)").send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|service| service.is_conditional_check_failed_exception()) =>
            {
                Ok(self.genesis().await?.as_ref() == Some(genesis))
            }
            Err(error) => Err(errors::write_failed(&error)),
        }
    }

    pub(super) async fn write_homes(&self, changes: &[HomeChange]) -> Result<bool, StoreError> {
        assert!(changes.len() <= MAX_HOME_CHANGES, "the caller bounds a change of homes");
        let mut parts = Vec::new();
        for change in changes {
            parts.push(self.home_put(change));
            let HomeKey::Wallet(wallet) = change.key else { continue };
            parts.push(TransactWriteItem::builder().put(self.member_put(wallet)).build());
            if change.unless_chain {
                parts.push(self.check_block(wallet, 0, "attribute_not_exists(w)"));
            }
            if let Some(from_start) = change.while_served {
                parts.push(self.check_served(wallet.bucket(), from_start));
            }
        }
        let sent = self.client.transact_write_items().set_transact_items(Some(parts)).send().await;
        let Err(error) = sent else { return Ok(true) };
        let failed = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancelled.cancellation_reasons().iter().any(|reason| reason.code() == Some("ConditionalCheckFailed"))
            }
            other => other.and_then(ProvideErrorMetadata::code) == Some("ConditionalCheckFailedException"),
        };
        if failed { Ok(false) } else { Err(errors::write_failed(&error)) }
    }

    pub(super) async fn read_homes(&self, keys: &[HomeKey]) -> Result<Vec<Option<HomeRow>>, StoreError> {
        let mut found = HashMap::new();
        let mut missing: Vec<items::Item> = keys.iter().map(|key| items::home_key(*key)).collect();
        for _ in 0..MAX_BATCH_READS {
            if missing.is_empty() {
                break;
            }
            let wanted = KeysAndAttributes::builder().set_keys(Some(missing)).consistent_read(true).build();
            let read = self.client.batch_get_item().request_items(&self.homes, wanted.expect("keys are set"));
            let answer = read.send().await.map_err(|error| errors::read_failed(&error))?;
            for item in answer.responses.unwrap_or_default().remove(&self.homes).unwrap_or_default() {
                found.insert(items::home_name(&item)?.to_owned(), items::to_home(&item)?);
            }
            let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.homes);
            missing = left.map(|left| left.keys).unwrap_or_default();
        }
        if !missing.is_empty() {
            return Err(StoreError::Unavailable("rows of homes were left unread".into()));
        }
        keys.iter().map(|key| Ok(found.remove(items::home_name(&items::home_key(*key))?))).collect()
    }

    fn home_put(&self, change: &HomeChange) -> TransactWriteItem {
        let mut put = Put::builder().table_name(&self.homes).set_item(Some(items::home(change.key, &change.row)));
        put = match &change.expected {
            None => put.condition_expression("attribute_not_exists(k)"),
            Some(row) => {
                let (state, to) = items::home_state(&row.state);
                let to_matches = if to.is_some() { "#to = :to" } else { "attribute_not_exists(#to)" };
                let put = put
                    .condition_expression(format!("#state = :state AND epoch = :epoch AND {to_matches}"))
                    .expression_attribute_names("#state", "state")
                    .expression_attribute_names("#to", "to")
                    .expression_attribute_values(":state", AttributeValue::S(state.into()))
                    .expression_attribute_values(":epoch", AttributeValue::N(row.epoch.to_string()));
                match to {
                    Some(to) => put.expression_attribute_values(":to", AttributeValue::S(to.to_string())),
                    None => put,
                }
            }
        };
        TransactWriteItem::builder().put(put.build().expect("table and item are set")).build()
    }

    /// Lists the wallet among its bucket's; harmless to repeat.
    pub(super) fn member_put(&self, wallet: WalletId) -> Put {
        Put::builder()
            .table_name(&self.snapshots)
            .set_item(Some(items::member(wallet)))
            .build()
            .expect("table and item are set")
    }

    /// A condition that the cell may create wallets of the bucket.
    pub(super) fn check_served(&self, bucket: Bucket, from_start: bool) -> TransactWriteItem {
        let serving = if from_start { "attribute_not_exists(k) OR #s = :serving" } else { "#s = :serving" };
        let check = ConditionCheck::builder()
            .table_name(&self.homes)
            .set_key(Some(items::home_key(HomeKey::Bucket(bucket))))
            .condition_expression(serving)
            .expression_attribute_names("#s", "state")
            .expression_attribute_values(":serving", AttributeValue::S("serving".into()));
        TransactWriteItem::builder().condition_check(check.build().expect("table, key, condition are set")).build()
    }

    /// A condition on one block of a chain.
    pub(super) fn check_block(&self, wallet: WalletId, number: u64, condition: &str) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.ledger)
            .set_key(Some(items::block_key(wallet, number)))
            .condition_expression(condition);
        TransactWriteItem::builder().condition_check(check.build().expect("table, key, condition are set")).build()
    }

    /// A condition that a block of a chain is there and is this one.
    pub(super) fn check_hash(&self, wallet: WalletId, number: u64, hash: Hash) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(&self.ledger)
            .set_key(Some(items::block_key(wallet, number)))
            .condition_expression("h = :hash")
            .expression_attribute_values(":hash", items::hash(hash));
        TransactWriteItem::builder().condition_check(check.build().expect("table, key, condition are set")).build()
    }

    pub(super) async fn list_members(
        &self,
        (first, last): (Bucket, Bucket),
        after: Option<WalletId>,
        limit: usize,
    ) -> Result<Vec<WalletId>, StoreError> {
        let mut found = Vec::new();
        let start = after.map_or(first, |wallet| wallet.bucket().max(first));
        for partition in (start.0 >> 8..=last.0 >> 8).take(MEMBER_PARTITIONS) {
            // Ids sort as their buckets do; `g` sorts after every hexadecimal digit.
            let lowest = after.map_or_else(|| first.to_string(), |wallet| format!("{wallet}g")).max(first.to_string());
            let missing = limit.saturating_sub(found.len());
            let answer = self
                .client
                .query()
                .table_name(&self.snapshots)
                .key_condition_expression("w = :partition AND s BETWEEN :lowest AND :highest")
                .expression_attribute_values(":partition", AttributeValue::S(items::member_partition(partition)))
                .expression_attribute_values(":lowest", AttributeValue::S(lowest))
                .expression_attribute_values(":highest", AttributeValue::S(format!("{last}g")))
                .limit(i32::try_from(missing).unwrap_or(i32::MAX))
                .consistent_read(true)
                .send()
                .await
                .map_err(|error| errors::read_failed(&error))?;
            for item in answer.items() {
                found.push(items::to_member(item)?);
            }
            // A page that was cut short goes on here with the next call, not in the next partition.
            if found.len() >= limit || (answer.last_evaluated_key.is_some() && !found.is_empty()) {
                break;
            }
        }
        Ok(found)
    }
}

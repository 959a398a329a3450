//! Items exactly as they are stored, for verification. An item is sound if writing what it says would write this very
//! item, attribute by attribute: so nothing beside the canonical bytes can differ unseen either.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::FutureExt;
use ledger::block::Block;
use topology::WalletId;

use super::{DynamoStore, errors, items};
use crate::{Derived, StoreError, Stored, StoredPage};

impl DynamoStore {
    pub(super) async fn read_stored_blocks(
        &self,
        wallet: WalletId,
        first: u64,
        limit: usize,
    ) -> Result<StoredPage<Block>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.ledger)
            .key_condition_expression("w = :w AND n >= :first")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .expression_attribute_values(":first", AttributeValue::N(first.to_string()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true);
        let answer = query.send().boxed().await.map_err(|error| errors::read_failed(&error))?;
        let stored = |item: &items::Item| {
            let value = items::to_block(wallet, item).map_err(|error| error.to_string());
            let value = value.and_then(|block| same(item, &items::block(&block)).map(|()| block));
            Ok(Stored { key: items::to_number(item)?.to_string(), value })
        };
        let stored = answer.items().iter().map(stored).collect::<Result<_, StoreError>>()?;
        Ok(StoredPage { items: stored, more: answer.last_evaluated_key.is_some() })
    }

    pub(super) async fn read_stored_rows(
        &self,
        wallet: WalletId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StoredPage<Derived>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.snapshots)
            .key_condition_expression("w = :w AND s > :after")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            // A space sorts before every name.
            .expression_attribute_values(":after", AttributeValue::S(after.unwrap_or(" ").to_owned()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true);
        let answer = query.send().boxed().await.map_err(|error| errors::read_failed(&error))?;
        let stored = |item: &items::Item| {
            let key = items::field_text(item, "s")?.to_owned();
            let value = derived(wallet, &key, item).map_err(|error| error.to_string());
            let value = value.and_then(|(row, written)| same(item, &written).map(|()| row));
            Ok(Stored { key, value })
        };
        let stored = answer.items().iter().map(stored).collect::<Result<_, StoreError>>()?;
        Ok(StoredPage { items: stored, more: answer.last_evaluated_key.is_some() })
    }
}

/// What the row says, and the item that would be written for it.
fn derived(wallet: WalletId, key: &str, item: &items::Item) -> Result<(Derived, items::Item), StoreError> {
    let kind = key.split_once('#').map_or("", |(kind, _)| kind);
    Ok(match kind {
        "marks" => {
            let run = items::to_mark_run(item)?;
            let written = items::mark_run(wallet, &run);
            (Derived::Marks(run), written)
        }
        "snap" => {
            let snapshot = items::to_snapshot(item)?;
            (Derived::Snapshot(snapshot), items::snapshot(wallet, &snapshot))
        }
        _ => return Err(StoreError::Corrupt(format!("a row named {key:?}"))),
    })
}

fn same(stored: &items::Item, written: &items::Item) -> Result<(), String> {
    if stored == written {
        return Ok(());
    }
    let mut names: Vec<&String> = stored.keys().chain(written.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter(|name| stored.get(*name) != written.get(*name));
    Err(format!("attribute {:?} is not what would be written", differing.collect::<Vec<_>>()))
}

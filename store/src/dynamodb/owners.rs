//! Owners of wallets, in a table of their own: so that a reader of chains need not have the right to read them. What was
//! erased leaves a row that says so.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use ledger::Owner;
use topology::WalletId;

use super::{DynamoStore, errors, items};
use crate::StoreError;

/// What is written only where there is no row, be it an owner or the mark of one that was erased.
const ABSENT: &str = "attribute_not_exists(w)";

impl DynamoStore {
    pub(super) async fn read_owner(&self, wallet: WalletId) -> Result<Option<Owner>, StoreError> {
        let item = self.get(&self.owners, items::owner_key(wallet)).await?;
        item.map_or(Ok(None), |item| items::to_owner(&item))
    }

    pub(super) async fn has_mark(&self, wallet: WalletId) -> Result<bool, StoreError> {
        let item = self.get(&self.owners, items::owner_key(wallet)).await?;
        Ok(item.is_some_and(|item| item.contains_key("e")))
    }

    pub(super) async fn write_owner(&self, wallet: WalletId, owner: &Owner) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.owners).set_item(Some(items::owner(wallet, owner)));
        match put.condition_expression(ABSENT).send().await {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            sent => sent.map(drop).map_err(|error| errors::write_failed(&error)),
        }
    }

    pub(super) async fn write_erased(&self, wallet: WalletId) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.owners).set_item(Some(items::erased(wallet)));
        put.send().await.map(drop).map_err(|error| errors::write_failed(&error))
    }

    /// A part of the transaction that creates the wallet.
    pub(super) fn owner_put(&self, wallet: WalletId, owner: &Owner) -> TransactWriteItem {
        let put = Put::builder().table_name(&self.owners).set_item(Some(items::owner(wallet, owner)));
        TransactWriteItem::builder().put(put.build().expect("table and item are set")).build()
    }
}

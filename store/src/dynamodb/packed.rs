//! Deletes blocks that are in a pack of the archive. No condition on other items is needed: what is gone here is read from
//! the pack, wherever the wallet is by then. The place of an old block is free afterwards, but no write that was decided
//! before it was taken can still land ([`ledger::fence`]).

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use ledger::Block;
use ledger::block::Hash;
use tokio::task::JoinSet;
use topology::WalletId;

use super::{DynamoStore, errors, items};
use crate::StoreError;

/// Blocks of one wallet that are deleted at the same time.
const DELETED_AT_ONCE: usize = 16;

impl DynamoStore {
    pub(super) async fn delete_packed(&self, packed: &[Block]) -> Result<(), StoreError> {
        let packed: Vec<_> = packed.iter().filter(|block| block.number > 0).collect();
        for some in packed.chunks(DELETED_AT_ONCE) {
            let mut deleting = JoinSet::new();
            for block in some {
                let (store, (wallet, number, hash)) = (self.clone(), (block.wallet, block.number, block.hash));
                deleting.spawn(async move { store.delete_same(wallet, number, hash).await });
            }
            deleting.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        Ok(())
    }

    /// If the table holds this very block.
    async fn delete_same(&self, wallet: WalletId, number: u64, hash: Hash) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.ledger)
            .set_key(Some(items::block_key(wallet, number)))
            .condition_expression("attribute_not_exists(w) OR h = :h")
            .expression_attribute_values(":h", items::hash(hash));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Err(StoreError::Corrupt(format!(
                    "block {} of wallet {} is not the one in its pack",
                    number, wallet
                ))),
                _ => Err(errors::write_failed(&error)),
            },
        }
    }
}

//! The store on DynamoDB: four tables of one cell, named by a prefix. The same code runs against AWS, the local fleet
//! and Amazon's DynamoDB Local; only endpoint and credentials differ.
//!
//! The SDK's own retries are off: a retry that hides a lost answer would turn our own write into a "conflict". What
//! is retried, and when a write must be read back, is decided in [`super::commit`].
//!
//! A call of the SDK is a future of many kilobytes. It is boxed where it is made, so that no caller carries it on its stack.

mod cell_rows;
mod changes;
mod clock;
mod connection;
mod errors;
mod forget;
mod homes;
mod identity;
mod items;
mod owners;
mod packed;
mod signed;
mod stored;
mod tables;
mod watched;

use std::ops::RangeInclusive;
use std::time::Duration;

use archive::Archive;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::builders::ConditionCheckBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, Select, TransactWriteItem};
use futures_util::FutureExt;
use ledger::block::Block;
use ledger::marks::MarkRun;
use ledger::snapshots::Snapshot;
use ledger::time::Timestamp;
use ledger::{Append, Guard, Owner};
use tokio::time::Instant;
use topology::{Bucket, WalletId};

use super::{
    AppendError, BlockRange, CellRow, CellRows, Chains, Derived, Forgotten, Genesis, HomeChange, HomeKey, HomeRow,
    Homes, Owners, Page, RunPage, StoreError, StoredPage,
};
pub use changes::connect_streams;
pub use clock::DatabaseClock;
pub use connection::{Connection, client_config, shared_config};
pub use identity::Identity;
use signed::Signed;
pub use tables::{TABLES, check_reachable, create_tables};

/// One attempt at one call; bounded retries are the caller's.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A client with this store's timeouts and no retries of its own; its calls are watched.
pub async fn connect(connection: &Connection) -> Client {
    let config = Box::pin(client_config(connection))
        .await
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .interceptor(watched::Watched)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Client::from_conf(config.build())
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}

/// An item of a transaction, and what a failed condition of it means.
type Part = (TransactWriteItem, errors::Source);

#[derive(Debug, Clone)]
pub struct DynamoStore {
    client: Client,
    clock: DatabaseClock,
    /// Of a store that is followed.
    streams: Option<changes::Streams>,
    packs: Option<Archive>,
    ledger: String,
    snapshots: String,
    homes: String,
    owners: String,
}

impl DynamoStore {
    /// The tables `<prefix>ledger`, `<prefix>snapshots`, `<prefix>homes`, `<prefix>owners`.
    pub fn new(client: Client, prefix: &str) -> Self {
        let name = |table| format!("{prefix}{table}");
        let clock = DatabaseClock::default();
        let config = client.config().to_builder().interceptor(clock.clone());
        Self {
            client: Client::from_conf(config.build()),
            clock,
            streams: None,
            packs: None,
            ledger: name("ledger"),
            snapshots: name("snapshots"),
            homes: name("homes"),
            owners: name("owners"),
        }
    }

    /// The same, with old blocks in the packs of this archive.
    pub fn with_packs(self, packs: Archive) -> Self {
        Self { packs: Some(packs), ..self }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What time it is by the database.
    pub fn clock(&self) -> DatabaseClock {
        self.clock.clone()
    }

    fn put_block(&self, block: &Block) -> Put {
        Put::builder()
            .table_name(&self.ledger)
            .set_item(Some(items::block(block)))
            .condition_expression("attribute_not_exists(w)")
            .build()
            .expect("table and item are set")
    }

    fn guard_items(&self, first: &Block, guard: Guard) -> Vec<TransactWriteItem> {
        let wallet = first.wallet;
        let check = |condition: ConditionCheckBuilder| {
            let check = condition.table_name(&self.homes).set_key(Some(items::home_key(HomeKey::Wallet(wallet))));
            TransactWriteItem::builder().condition_check(check.build().expect("table, key, condition are set")).build()
        };
        match guard {
            Guard::Unbroken => {
                let below = first.number.checked_sub(1).map(|number| self.check_hash(wallet, number, first.previous));
                let lower = first.number.checked_sub(2);
                let lower = lower.map(|number| self.check_block(wallet, number, "attribute_exists(w)"));
                below.into_iter().chain(lower).collect()
            }
            Guard::Granted => {
                let granted = ConditionCheck::builder().condition_expression("#s = :serving");
                let granted = granted.expression_attribute_names("#s", "state");
                vec![check(granted.expression_attribute_values(":serving", AttributeValue::S("serving".into())))]
            }
            Guard::Bucket { genesis } => vec![
                self.check_served(wallet.bucket(), genesis),
                check(ConditionCheck::builder().condition_expression("attribute_not_exists(k)")),
            ],
        }
    }

    async fn append_one(&self, block: &Block, signed: Signed) -> Result<(), AppendError> {
        // A copy begins: the list of its bucket's wallets comes first, so that none is missing from it.
        if block.number == 0 {
            let listed = self.put_derived(items::member(block.wallet)).await;
            listed.map_err(|error| AppendError::NotApplied(error.to_string()))?;
        }
        self.client
            .put_item()
            .table_name(&self.ledger)
            .set_item(Some(items::block(block)))
            .condition_expression("attribute_not_exists(w)")
            .customize()
            .interceptor(signed)
            .send()
            .boxed()
            .await
            .map(drop)
            .map_err(|error| errors::put_failed(&error))
    }

    async fn append_guarded(&self, append: &Append, signed: Signed) -> Result<(), AppendError> {
        let mut parts: Vec<Part> = append.blocks.iter().flat_map(|block| self.block_items(block)).collect();
        if let (Some(guard), Some(block)) = (append.guard, append.blocks.first()) {
            let checks = self.guard_items(block, guard);
            parts.extend(checks.into_iter().map(|check| (check, errors::Source::Guard)));
        }
        if let (Some(owner), Some(block)) = (&append.owner, append.blocks.first()) {
            parts.push((self.owner_put(block.wallet, owner), errors::Source::Nothing));
        }
        let (items, sources): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        let sent = call.customize().interceptor(signed).send().boxed().await;
        sent.map(drop).map_err(|error| errors::transaction_failed(&sources, &error))
    }

    fn block_items(&self, block: &Block) -> Vec<Part> {
        let put = |put| TransactWriteItem::builder().put(put).build();
        let mut parts = vec![(put(self.put_block(block)), errors::Source::Block)];
        if block.number == 0 {
            parts.push((put(self.member_put(block.wallet)), errors::Source::Nothing));
        }
        parts
    }

    /// Writes a row of `snapshots` that follows from blocks: every writer writes the same.
    async fn put_derived(&self, item: items::Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.snapshots).set_item(Some(item));
        put.send().boxed().await.map(drop).map_err(|error| errors::write_failed(&error))
    }

    async fn get(&self, table: &str, key: items::Item) -> Result<Option<items::Item>, StoreError> {
        let answer =
            self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true).send().boxed().await;
        answer.map(|output| output.item).map_err(|error| errors::read_failed(&error))
    }
}

impl Chains for DynamoStore {
    async fn head(&self, wallet: WalletId) -> Result<Option<Block>, StoreError> {
        let range = BlockRange { first: 0, last: u64::MAX, newest_first: true };
        Ok(self.held_page(wallet, range, 1).await?.blocks.pop())
    }

    fn packs(&self) -> Option<&Archive> {
        self.packs.as_ref()
    }

    async fn held_page(&self, wallet: WalletId, range: BlockRange, limit: usize) -> Result<Page, StoreError> {
        let answer = self
            .client
            .query()
            .table_name(&self.ledger)
            .key_condition_expression("w = :w AND n BETWEEN :first AND :last")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .expression_attribute_values(":first", AttributeValue::N(range.first.to_string()))
            .expression_attribute_values(":last", AttributeValue::N(range.last.to_string()))
            .scan_index_forward(!range.newest_first)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .boxed()
            .await
            .map_err(|error| errors::read_failed(&error))?;
        let blocks = answer.items().iter().map(|item| items::to_block(wallet, item)).collect::<Result<_, _>>()?;
        Ok(Page { blocks, more: answer.last_evaluated_key.is_some() })
    }

    async fn drop_packed(&self, packed: &[Block]) -> Result<(), StoreError> {
        self.delete_packed(packed).await
    }

    async fn append_before(&self, append: &Append, sign_by: Option<Instant>) -> Result<(), AppendError> {
        self.clock.check(&append.blocks)?;
        match append.blocks.as_slice() {
            [block] if append.guard.is_none() => self.append_one(block, Signed { by: sign_by }).await,
            _ => self.append_guarded(append, Signed { by: sign_by }).await,
        }
    }

    async fn put_run(&self, wallet: WalletId, run: &MarkRun) -> Result<(), StoreError> {
        self.put_derived(items::mark_run(wallet, run)).await
    }

    async fn put_snapshots(&self, wallet: WalletId, snapshots: &[Snapshot]) -> Result<(), StoreError> {
        for snapshot in snapshots {
            self.put_derived(items::snapshot(wallet, snapshot)).await?;
        }
        Ok(())
    }

    async fn mark_runs(&self, wallet: WalletId, runs: RangeInclusive<u64>) -> Result<RunPage, StoreError> {
        let answer = self
            .client
            .query()
            .table_name(&self.snapshots)
            .key_condition_expression("w = :w AND s BETWEEN :first AND :last")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .expression_attribute_values(":first", AttributeValue::S(items::mark_sort_key(*runs.start())))
            .expression_attribute_values(":last", AttributeValue::S(items::mark_sort_key(*runs.end())))
            .scan_index_forward(false)
            .consistent_read(true)
            .send()
            .boxed()
            .await
            .map_err(|error| errors::read_failed(&error))?;
        let runs = answer.items().iter().map(items::to_mark_run).collect::<Result<_, _>>()?;
        Ok(RunPage { runs, more: answer.last_evaluated_key.is_some() })
    }

    async fn snapshot_before(&self, wallet: WalletId, at: Timestamp) -> Result<Option<Snapshot>, StoreError> {
        let answer = self
            .client
            .query()
            .table_name(&self.snapshots)
            .key_condition_expression("w = :w AND s BETWEEN :first AND :last")
            .expression_attribute_values(":w", AttributeValue::S(wallet.to_string()))
            .expression_attribute_values(":first", AttributeValue::S("snap#".into()))
            .expression_attribute_values(":last", AttributeValue::S(items::snapshot_sort_key(at, u64::MAX)))
            .scan_index_forward(false)
            .limit(1)
            .select(Select::AllAttributes)
            .consistent_read(true)
            .send()
            .boxed()
            .await
            .map_err(|error| errors::read_failed(&error))?;
        answer.items().first().map(items::to_snapshot).transpose()
    }

    async fn stored_blocks(&self, wallet: WalletId, first: u64, limit: usize) -> Result<StoredPage<Block>, StoreError> {
        self.read_stored_blocks(wallet, first, limit).await
    }

    async fn stored_rows(
        &self,
        wallet: WalletId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StoredPage<Derived>, StoreError> {
        self.read_stored_rows(wallet, after, limit).await
    }

    async fn forget(&self, wallet: WalletId, tombstone: u64) -> Result<Forgotten, StoreError> {
        self.forget_some(wallet, tombstone).await
    }
}

impl Homes for DynamoStore {
    async fn home(&self, key: HomeKey) -> Result<Option<HomeRow>, StoreError> {
        self.get(&self.homes, items::home_key(key)).await?.map(|item| items::to_home(&item)).transpose()
    }

    async fn homes(&self, keys: &[HomeKey]) -> Result<Vec<Option<HomeRow>>, StoreError> {
        self.read_homes(keys).await
    }

    async fn genesis(&self) -> Result<Option<Genesis>, StoreError> {
        let item = self.get(&self.homes, items::genesis_key()).await?;
        item.map(|item| items::to_genesis(&item)).transpose()
    }

    async fn put_genesis(&self, genesis: &Genesis) -> Result<bool, StoreError> {
        self.write_genesis(genesis).await
    }

    async fn change_homes(&self, changes: &[HomeChange]) -> Result<bool, StoreError> {
        self.write_homes(changes).await
    }

    async fn members(
        &self,
        buckets: (Bucket, Bucket),
        after: Option<WalletId>,
        limit: usize,
    ) -> Result<Vec<WalletId>, StoreError> {
        self.list_members(buckets, after, limit).await
    }
}

impl Owners for DynamoStore {
    async fn owner(&self, wallet: WalletId) -> Result<Option<Owner>, StoreError> {
        self.read_owner(wallet).await
    }

    async fn is_erased(&self, wallet: WalletId) -> Result<bool, StoreError> {
        self.has_mark(wallet).await
    }

    async fn put_owner(&self, wallet: WalletId, owner: &Owner) -> Result<(), StoreError> {
        self.write_owner(wallet, owner).await
    }

    async fn erase_owner(&self, wallet: WalletId) -> Result<(), StoreError> {
        self.write_erased(wallet).await
    }
}

impl CellRows for DynamoStore {
    async fn cell_row(&self, list: &str, key: &str) -> Result<Option<CellRow>, StoreError> {
        self.read_cell_row(list, key).await
    }

    async fn cell_rows(
        &self,
        list: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, CellRow)>, StoreError> {
        self.read_cell_rows(list, after, newest_first, limit).await
    }

    async fn put_cell_row(
        &self,
        list: &str,
        key: &str,
        expected: Option<u64>,
        row: &CellRow,
    ) -> Result<bool, StoreError> {
        self.write_cell_row(list, key, expected, row).await
    }
}

//! The rows by which a cell knows which wallets it may create: `genesis`, `bucket#…` and `wallet#…` in its `homes`
//! table. The control plane writes them straight into the cell's tables, so that the cell's compute need not be alive.
//!
//! It must never grant a wallet to one cell before the cell it would otherwise be created in has been denied it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use std::time::Duration;
use topology::{BUCKETS, CellId, WalletId};

use crate::dynamo::{Item, n, s, text};
use crate::error::{Error, Result};

/// Bytes of the genesis bitmap; bit b is byte b/8, mask `0x80 >> (b % 8)`.
pub const GENESIS_BYTES: usize = BUCKETS / 8;
/// Rows written here are the first of their wallet.
const FIRST_EPOCH: u64 = 1;
/// The SDK does not repeat a transaction that met another one.
const CONFLICT_ATTEMPTS_MAX: u32 = 8;
const CONFLICT_BACKOFF: Duration = Duration::from_millis(10);

/// What a cell's row says of one wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletRow {
    Serving,
    Closing,
    Moved { to: CellId },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Denied {
    /// The cell will never create this wallet.
    Yes,
    /// Too late: the wallet lives in this cell, or once did.
    AlreadyHasWallet,
    /// A row stood there already that says something else.
    OtherRow,
}

pub struct Homes {
    client: Client,
    homes: String,
    ledger: String,
}

impl Homes {
    pub fn new(client: Client, table_prefix: &str) -> Self {
        Self { client, homes: format!("{table_prefix}homes"), ledger: format!("{table_prefix}ledger") }
    }

    /// Gives the cell its first buckets, once and for ever; `false`: it holds a different bitmap already.
    pub async fn put_genesis(&self, bits: &[u8; GENESIS_BYTES]) -> Result<bool> {
        let put = self.client.put_item().table_name(&self.homes).condition_expression("attribute_not_exists(k)");
        let put = put.item("k", s("genesis")).item("bits", AttributeValue::B(Blob::new(bits.as_slice())));
        match put.send().await.map_err(Error::storage("writing a cell's genesis")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_condition_failed() => {
                let stored = self.get("genesis").await?.unwrap_or_default();
                let stored = stored.get("bits").and_then(|bits| bits.as_b().ok());
                Ok(stored.is_some_and(|stored| stored.as_ref() == bits))
            }
            Err(error) => Err(error),
        }
    }

    pub async fn wallet_row(&self, wallet: WalletId) -> Result<Option<WalletRow>> {
        let Some(item) = self.get(&wallet_key(wallet)).await? else { return Ok(None) };
        Ok(Some(match text(&item, "state")?.as_str() {
            "serving" => WalletRow::Serving,
            "closing" => WalletRow::Closing,
            "moved" => WalletRow::Moved { to: CellId::parse(text(&item, "to")?)? },
            other => return Err(Error::Unsound(format!("homes row of wallet {wallet}: state {other:?}"))),
        }))
    }

    /// Lets this cell create the wallet although the wallet's bucket is another cell's. `false`: a row says otherwise.
    pub async fn grant_wallet(&self, wallet: WalletId) -> Result<bool> {
        let put = self.client.put_item().table_name(&self.homes);
        let put = put
            .item("k", s(wallet_key(wallet)))
            .item("state", s("serving"))
            .item("epoch", n(FIRST_EPOCH))
            .condition_expression("attribute_not_exists(k) OR #state = :serving")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":serving", s("serving"));
        match put.send().await.map_err(Error::storage("granting a wallet to a cell")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_condition_failed() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forbids this cell to create the wallet, and says where it belongs: one transaction with the condition that the
    /// wallet's chain does not begin here, so that it cannot come into being meanwhile.
    pub async fn deny_wallet(&self, wallet: WalletId, to: &CellId) -> Result<Denied> {
        let no_chain = ConditionCheck::builder()
            .table_name(&self.ledger)
            .key("w", s(wallet.to_string()))
            .key("n", n(0))
            .condition_expression("attribute_not_exists(w)")
            .build()
            .expect("all parts are given");
        let row = Put::builder()
            .table_name(&self.homes)
            .item("k", s(wallet_key(wallet)))
            .item("state", s("moved"))
            .item("to", s(to.as_str()))
            .item("epoch", n(FIRST_EPOCH))
            .condition_expression("attribute_not_exists(k) OR (#state = :moved AND #to = :to)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#to", "to")
            .expression_attribute_values(":moved", s("moved"))
            .expression_attribute_values(":to", s(to.as_str()))
            .build()
            .expect("all parts are given");
        let items = vec![
            TransactWriteItem::builder().condition_check(no_chain).build(),
            TransactWriteItem::builder().put(row).build(),
        ];
        self.transact_denial(items).await
    }

    async fn transact_denial(&self, items: Vec<TransactWriteItem>) -> Result<Denied> {
        for attempt in 1..=CONFLICT_ATTEMPTS_MAX {
            let sent = self.client.transact_write_items().set_transact_items(Some(items.clone())).send().await;
            let Err(error) = sent else { return Ok(Denied::Yes) };
            let codes = cancellation_codes(error.as_service_error());
            match codes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["ConditionalCheckFailed", ..] => return Ok(Denied::AlreadyHasWallet),
                [_, "ConditionalCheckFailed"] => return Ok(Denied::OtherRow),
                ref other if other.contains(&"TransactionConflict") && attempt < CONFLICT_ATTEMPTS_MAX => {
                    tokio::time::sleep(CONFLICT_BACKOFF * attempt).await;
                }
                _ => return Err(Error::storage("denying a wallet to a cell")(error)),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn get(&self, key: &str) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.homes).key("k", s(key)).consistent_read(true);
        Ok(get.send().await.map_err(Error::storage("reading a cell's homes"))?.item)
    }
}

fn wallet_key(wallet: WalletId) -> String {
    format!("wallet#{wallet}")
}

/// One code per item of the transaction; none if it failed for another reason.
fn cancellation_codes(error: Option<&TransactWriteItemsError>) -> Vec<String> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error else { return Vec::new() };
    cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None").to_owned()).collect()
}

/// The bitmap of `buckets`.
pub fn genesis_of(buckets: impl Iterator<Item = topology::Bucket>) -> Box<[u8; GENESIS_BYTES]> {
    let mut bits = Box::new([0; GENESIS_BYTES]);
    for bucket in buckets {
        bits[bucket.index() / 8] |= 0x80 >> (bucket.index() % 8);
    }
    bits
}

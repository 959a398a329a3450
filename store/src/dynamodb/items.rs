//! Types to items and back. Attribute names are short because every byte of every block is paid for.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::block::{Block, Hash};
use ledger::marks::MarkRun;
use ledger::money::Money;
use ledger::snapshots::Snapshot;
use ledger::time::Timestamp;
use ledger::{Owner, WalletKey, canonical};
use topology::{CellId, UserId, WalletId};

use crate::{CellRow, GENESIS_BYTES, Genesis, HomeKey, HomeRow, HomeState, StoreError};

pub type Item = HashMap<String, AttributeValue>;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub fn hash(hash: Hash) -> AttributeValue {
    bytes(hash.0)
}

/// A block as its canonical bytes, with its encrypted personal part beside them. Block 0 also carries its bucket, which puts it into the sparse index of wallets.
pub fn block(block: &Block) -> Item {
    let mut item = item([
        ("w", text(block.wallet.to_string())),
        ("n", number(block.number)),
        ("b", bytes(canonical::encode(block))),
        ("h", hash(block.hash)),
    ]);
    if let Some(sealed) = &block.sealed {
        item.insert("p".into(), bytes(sealed.as_bytes()));
    }
    if block.number == 0 {
        item.insert("k".into(), text(block.wallet.bucket().to_string()));
    }
    item
}

pub fn block_key(wallet: WalletId, number: u64) -> Item {
    item([("w", text(wallet.to_string())), ("n", self::number(number))])
}

pub fn to_number(item: &Item) -> Result<u64, StoreError> {
    field_u64(item, "n")
}

/// The wallet of a block.
pub fn to_wallet(item: &Item) -> Result<WalletId, StoreError> {
    field_wallet(item, "w")
}

/// Reads a block and holds it against its key and its stored hash.
pub fn to_block(wallet: WalletId, item: &Item) -> Result<Block, StoreError> {
    let sealed = item.contains_key("p").then(|| field_bytes(item, "p")).transpose()?;
    let block = canonical::decode(field_bytes(item, "b")?, sealed)
        .map_err(|error| StoreError::Corrupt(format!("a block of wallet {wallet}: {error}")))?;
    let sound = block.wallet == wallet
        && block.number == field_u64(item, "n")?
        && block.hash.0.as_slice() == field_bytes(item, "h")?;
    if sound {
        Ok(block)
    } else {
        Err(StoreError::Corrupt(format!("block {} of wallet {wallet} is not what its key and hash say", block.number)))
    }
}

pub fn mark_run(wallet: WalletId, run: &MarkRun) -> Item {
    item([
        ("w", text(wallet.to_string())),
        ("s", text(mark_sort_key(run.run))),
        ("r", number(run.run)),
        ("at", number(run.last_at.micros())),
        ("b", bytes(run.to_bytes())),
    ])
}

pub fn mark_sort_key(run: u64) -> String {
    format!("marks#{run:020}")
}

pub fn to_mark_run(item: &Item) -> Result<MarkRun, StoreError> {
    MarkRun::from_bytes(field_u64(item, "r")?, field_time(item, "at")?, field_bytes(item, "b")?)
        .ok_or_else(|| StoreError::Corrupt("the marks of a run".into()))
}

/// Sorts by time, then block. Times before 1970 do not occur: a wallet is created now.
pub fn snapshot_sort_key(at: Timestamp, block: u64) -> String {
    format!("snap#{:019}#{block:020}", at.micros().max(0))
}

pub fn snapshot(wallet: WalletId, snapshot: &Snapshot) -> Item {
    item([
        ("w", text(wallet.to_string())),
        ("s", text(snapshot_sort_key(snapshot.at, snapshot.block))),
        ("at", number(snapshot.at.micros())),
        ("n", number(snapshot.block)),
        ("x", number(snapshot.next)),
        ("m", number(snapshot.balance.minor())),
        ("h", bytes(snapshot.hash.0)),
    ])
}

pub fn to_snapshot(item: &Item) -> Result<Snapshot, StoreError> {
    let hash = field_bytes(item, "h")?.try_into().map_err(|_| corrupt("h"))?;
    Ok(Snapshot {
        at: field_time(item, "at")?,
        block: field_u64(item, "n")?,
        next: field_u64(item, "x")?,
        balance: Money::from_minor(field_u64(item, "m")?),
        hash: Hash(hash),
    })
}

pub fn home_key(key: HomeKey) -> Item {
    let name = match key {
        HomeKey::Bucket(bucket) => format!("bucket#{bucket}"),
        HomeKey::Wallet(wallet) => format!("wallet#{wallet}"),
    };
    item([("k", text(name))])
}

pub fn home_name(item: &Item) -> Result<&str, StoreError> {
    field_text(item, "k")
}

/// The name of a state, and the cell it points to.
pub fn home_state(state: &HomeState) -> (&'static str, Option<&CellId>) {
    match state {
        HomeState::Serving => ("serving", None),
        HomeState::Closing { to } => ("closing", Some(to)),
        HomeState::Moved { to } => ("moved", Some(to)),
    }
}

pub fn home(key: HomeKey, row: &HomeRow) -> Item {
    let mut item = home_key(key);
    let (state, to) = home_state(&row.state);
    item.extend(self::item([("state", text(state)), ("epoch", number(row.epoch))]));
    item.extend(to.map(|to| ("to".to_owned(), text(to.as_str()))));
    item
}

/// Members are listed beside the snapshots: a partition for each first byte of a bucket, sorted by wallet id.
pub fn member_partition(first_byte: u16) -> String {
    format!("members#{first_byte:02x}")
}

pub fn member(wallet: WalletId) -> Item {
    let partition = member_partition(wallet.bucket().0 >> 8);
    item([("w", text(partition)), ("s", text(wallet.to_string()))])
}

pub fn to_member(item: &Item) -> Result<WalletId, StoreError> {
    field_wallet(item, "s")
}

pub fn cell_row_key(partition: &str, key: &str) -> Item {
    item([("w", text(partition)), ("s", text(key))])
}

/// The row and its key; a row of the cell has these four attributes and no other.
pub fn to_cell_row(item: &Item) -> Result<(String, CellRow), StoreError> {
    let row = CellRow { version: field_u64(item, "v")?, bytes: field_bytes(item, "b")?.to_vec() };
    if item.len() != 4 {
        return Err(corrupt("of another kind"));
    }
    Ok((field_text(item, "s")?.to_owned(), row))
}

pub fn owner_key(wallet: WalletId) -> Item {
    item([("w", text(wallet.to_string()))])
}

pub fn owner(wallet: WalletId, owner: &Owner) -> Item {
    item([
        ("w", text(wallet.to_string())),
        ("u", text(owner.user.as_str())),
        ("k", bytes(owner.key.as_bytes().as_slice())),
    ])
}

/// The mark of an owner that was erased.
pub fn erased(wallet: WalletId) -> Item {
    item([("w", text(wallet.to_string())), ("e", AttributeValue::Bool(true))])
}

/// `None`: erased.
pub fn to_owner(item: &Item) -> Result<Option<Owner>, StoreError> {
    if item.contains_key("e") {
        return Ok(None);
    }
    let user = UserId::parse(field_text(item, "u")?).map_err(|_| corrupt("u"))?;
    let key = field_bytes(item, "k")?.try_into().map_err(|_| corrupt("k"))?;
    Ok(Some(Owner { user, key: WalletKey::from_bytes(key) }))
}

pub fn genesis(genesis: &Genesis) -> Item {
    let mut item = genesis_key();
    item.insert("bits".to_owned(), bytes(genesis.0.as_slice()));
    item
}

pub fn genesis_key() -> Item {
    item([("k", text("genesis"))])
}

pub fn to_home(item: &Item) -> Result<HomeRow, StoreError> {
    let to = || CellId::parse(field_text(item, "to")?).map_err(|_| corrupt("to"));
    let state = match field_text(item, "state")? {
        "serving" => HomeState::Serving,
        "closing" => HomeState::Closing { to: to()? },
        "moved" => HomeState::Moved { to: to()? },
        other => return Err(StoreError::Corrupt(format!("home state {other:?}"))),
    };
    Ok(HomeRow { state, epoch: field_u64(item, "epoch")? })
}

pub fn to_genesis(item: &Item) -> Result<Genesis, StoreError> {
    let bits: [u8; GENESIS_BYTES] = field_bytes(item, "bits")?.try_into().map_err(|_| corrupt("bits"))?;
    Ok(Genesis(Box::new(bits)))
}

fn corrupt(name: &str) -> StoreError {
    StoreError::Corrupt(format!("attribute {name:?} is missing or of another type"))
}

pub fn field_text<'a>(item: &'a Item, name: &str) -> Result<&'a str, StoreError> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| corrupt(name))
}

fn field_bytes<'a>(item: &'a Item, name: &str) -> Result<&'a [u8], StoreError> {
    item.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref).ok_or_else(|| corrupt(name))
}

fn field_u64(item: &Item, name: &str) -> Result<u64, StoreError> {
    let number = item.get(name).and_then(|value| value.as_n().ok());
    number.and_then(|text| text.parse().ok()).ok_or_else(|| corrupt(name))
}

fn field_time(item: &Item, name: &str) -> Result<Timestamp, StoreError> {
    let number = item.get(name).and_then(|value| value.as_n().ok());
    number.and_then(|text| text.parse().ok()).map(Timestamp::from_micros).ok_or_else(|| corrupt(name))
}

fn field_wallet(item: &Item, name: &str) -> Result<WalletId, StoreError> {
    field_text(item, name)?.parse().map_err(|_| corrupt(name))
}

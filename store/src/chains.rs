//! The chains of a cell: the port, and what it returns. The one write to a chain is [`Chains::append`]; everything else
//! follows from the blocks, and is recorded later.

use std::future::Future;
use std::ops::RangeInclusive;

use archive::Archive;
use ledger::marks::MarkRun;
use ledger::snapshots::Snapshot;
use ledger::{Append, Block, Timestamp};
use tokio::time::Instant;
use topology::WalletId;

use crate::errors::{AppendError, StoreError};
use crate::whole;

/// How far the deletion of a moved wallet has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forgotten {
    /// This many items were deleted; there are more.
    Some(usize),
    /// Only the tombstone is left.
    All,
    /// The chain goes on after the tombstone, or is being copied back: nothing may be deleted.
    Refused,
}

/// One page of recorded runs of marks, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunPage {
    pub runs: Vec<MarkRun>,
    /// There are older ones among those asked for, perhaps.
    pub more: bool,
}

/// A part of a chain, both ends inclusive. A read returns as much of it as fits one page, from the end it starts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    pub first: u64,
    pub last: u64,
    pub newest_first: bool,
}

/// One page of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub blocks: Vec<Block>,
    /// The range holds more blocks, perhaps.
    pub more: bool,
}

/// An item as it is stored: what it says, or why it says nothing sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// Its sort key: a block's number, a row's name.
    pub key: String,
    pub value: Result<T, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPage<T> {
    pub items: Vec<Stored<T>>,
    pub more: bool,
}

/// A row that follows from blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    Marks(MarkRun),
    Snapshot(Snapshot),
}

impl Derived {
    /// The row's name, its sort key.
    pub fn key(&self) -> String {
        match self {
            Derived::Marks(run) => format!("marks#{:020}", run.run),
            Derived::Snapshot(snapshot) => snapshot_name(snapshot.at, snapshot.block),
        }
    }
}

/// Sorts by time, then block. Times before 1970 do not occur: a wallet is created now.
fn snapshot_name(at: Timestamp, block: u64) -> String {
    format!("snap#{:019}#{block:020}", at.micros().max(0))
}

/// The chains of one cell, with the rows that follow from their blocks. All reads are strongly consistent.
pub trait Chains: Clone + Send + Sync + 'static {
    /// The last block of a chain; `None` if the cell holds no chain for this wallet.
    fn head(&self, wallet: WalletId) -> impl Future<Output = Result<Option<Block>, StoreError>> + Send;

    /// Where old blocks are that are not in the table any more; `None`: all are in the table.
    fn packs(&self) -> Option<&Archive>;

    /// One page of what the table holds of a chain: at most `limit` blocks and at most about 1 MB.
    fn held_page(
        &self,
        wallet: WalletId,
        range: BlockRange,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// One page of a chain: at most `limit` blocks, and at most about 1 MB of the table. What is in packs is read there.
    fn page(
        &self,
        wallet: WalletId,
        range: BlockRange,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send {
        async move {
            match self.packs() {
                Some(packs) => whole::page(self, packs, wallet, range, limit).await,
                None => self.held_page(wallet, range, limit).await,
            }
        }
    }

    /// The blocks of one such page. Shorter than asked does not mean the end.
    fn blocks(
        &self,
        wallet: WalletId,
        range: BlockRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Block>, StoreError>> + Send {
        async move { Ok(self.page(wallet, range, limit).await?.blocks) }
    }

    /// The block of this number, if the table holds it.
    fn held(&self, wallet: WalletId, number: u64) -> impl Future<Output = Result<Option<Block>, StoreError>> + Send {
        let range = BlockRange { first: number, last: number, newest_first: false };
        async move { Ok(self.held_page(wallet, range, 1).await?.blocks.pop()) }
    }

    /// Deletes blocks that are in a pack, but for block 0, by which the wallet is listed. What differs from the pack stays.
    fn drop_packed(&self, packed: &[Block]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes all blocks, or nothing. Past `sign_by` nothing is sent any more: the head that the append was decided on is
    /// too old then ([`ledger::fence`]), and the answer is [`AppendError::NotApplied`].
    fn append_before(
        &self,
        append: &Append,
        sign_by: Option<Instant>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// [`Chains::append_before`] without a bound.
    fn append(&self, append: &Append) -> impl Future<Output = Result<(), AppendError>> + Send {
        self.append_before(append, None)
    }

    /// Records the marks of a full run. A row that exists already is the same.
    fn put_run(&self, wallet: WalletId, run: &MarkRun) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records snapshots. Rows that exist already are the same.
    fn put_snapshots(
        &self,
        wallet: WalletId,
        snapshots: &[Snapshot],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The newest of the recorded runs with these numbers: at most about 1 MB.
    fn mark_runs(
        &self,
        wallet: WalletId,
        runs: RangeInclusive<u64>,
    ) -> impl Future<Output = Result<RunPage, StoreError>> + Send;

    /// The latest snapshot at or before `at`.
    fn snapshot_before(
        &self,
        wallet: WalletId,
        at: Timestamp,
    ) -> impl Future<Output = Result<Option<Snapshot>, StoreError>> + Send;

    /// The blocks of a wallet from `first` on, as verification reads them: each item exactly as it is stored, sound or
    /// not. At most `limit` and about 1 MB.
    fn stored_blocks(
        &self,
        wallet: WalletId,
        first: u64,
        limit: usize,
    ) -> impl Future<Output = Result<StoredPage<Block>, StoreError>> + Send;

    /// In the same way, the rows that follow from a wallet's blocks, after the one of this name.
    fn stored_rows(
        &self,
        wallet: WalletId,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<StoredPage<Derived>, StoreError>> + Send;

    /// Deletes a part of what is stored of a wallet that has moved away, with a last block of this
    /// number here: first the blocks below it, newest first, then rows, then its owner. What was deleted once may
    /// have been copied back since: each deletion has conditions that then fail.
    fn forget(&self, wallet: WalletId, tombstone: u64) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;
}

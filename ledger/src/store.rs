//! The storage port: the only way to the truth. Two implementations pass one contract suite: [`dynamodb`], and
//! [`memory`], which injects faults for the simulator.
//!
//! The one write to a chain is [`Store::append`]; rows of `transfers` are derived from the blocks inside it, so no
//! caller can write a block without its rows.

pub mod commit;
pub mod dynamodb;
pub mod memory;
pub mod retry;

use std::future::Future;

use tokio::time::Instant;
use topology::{Bucket, CellId, WalletId};

use crate::block::{Block, Hash, TransactionId};
use crate::keys::KeyRun;
use crate::money::Money;
use crate::rows::{InRow, OutRow, ReversedRow};
use crate::time::Timestamp;

/// Most items in one append, rows and conditions included: the limit of DynamoDB's `TransactWriteItems`.
pub const MAX_APPEND_ITEMS: usize = 100;

/// Bytes of the genesis bitmap: one bit for each bucket.
pub const GENESIS_BYTES: usize = topology::BUCKETS / 8;

/// A failed read, or a failed write of something that may be written again at will.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Throttled, timed out, not reachable: may be tried again.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// Not taken, and repeating it now would bring the same: credentials, rights, a missing table, a quota.
    #[error("the store refuses: {0}")]
    Rejected(String),
    /// What is stored cannot be what was written. Never retried, never passed over.
    #[error("the store holds something that cannot be: {0}")]
    Corrupt(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A condition failed: nothing was written, and at this place never will be by this append.
    #[error("a condition failed: {0:?}")]
    Conflict(Conflict),
    /// Surely nothing was written; the same append may be tried again.
    #[error("not written: {0}")]
    NotApplied(String),
    /// Surely nothing was written, and repeating it now would bring the same.
    #[error("refused by the store: {0}")]
    Rejected(String),
    /// Nobody knows. It may be written already, or be written later.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Which conditions of an append failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conflict {
    /// Chains that already have a block of this number.
    pub wallets: Vec<WalletId>,
    /// Transfers whose row exists already (or is gone already, where it was to be deleted).
    pub transfers: Vec<TransactionId>,
    /// The cell may not create this wallet (see [`Guard`]).
    pub guard: bool,
}

/// What must hold, beside that the blocks' places are free, for an append to be made. It is about the first block's
/// wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Creating: the wallet's bucket is served here, by its row or, where there is none and `genesis` says so, from
    /// the start; and no row sends this wallet elsewhere.
    Bucket { genesis: bool },
    /// Creating: a row grants this very wallet to the cell.
    Granted,
    /// Moving: the block below the first one is there and is the one that it names, and the block below that is there
    /// too. So a write that was decided long ago fails where the chain below it has been purged since.
    Unbroken,
}

/// One atomic write: blocks of one or several wallets, with the rows that follow from them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Append {
    /// At most one block for each wallet, or consecutive blocks of one wallet: a part of a chain that is copied.
    pub blocks: Vec<Block>,
    /// One of the creating guards exactly when a wallet is created.
    pub guard: Option<Guard>,
}

impl Append {
    /// A part of one chain, decided by a process that may have slept since it looked: a copy, or the block that ends
    /// the wallet's time in a cell.
    pub fn onto(blocks: Vec<Block>) -> Append {
        let guard = blocks.first().is_some_and(|first| first.number > 0).then_some(Guard::Unbroken);
        Append { blocks, guard }
    }
}

/// Who may create wallets: consulted only when a wallet is created or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HomeKey {
    Bucket(Bucket),
    Wallet(WalletId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HomeState {
    Serving,
    /// Creations are held a moment: the right to create is about to move to this cell.
    Closing {
        to: CellId,
    },
    Moved {
        to: CellId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeRow {
    pub state: HomeState,
    /// Rises with each change of the row.
    pub epoch: u64,
}

/// A change of one `homes` row: a compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeChange {
    pub key: HomeKey,
    /// What the row has to be now; `None`: there is none.
    pub expected: Option<HomeRow>,
    pub row: HomeRow,
    /// Of a wallet's row: and the cell holds no chain of it.
    pub unless_chain: bool,
    /// Of a wallet's row: and the cell serves its bucket, by the bucket's row or, where there is none and this says
    /// `true`, from the start. So no move of the bucket has begun that the change could come too late for.
    pub while_served: Option<bool>,
}

/// Most rows in one change of `homes`: each may take three items of a transaction.
pub const MAX_HOME_CHANGES: usize = 64;

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

/// Recorded runs of keys, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedRuns {
    pub runs: Vec<KeyRun>,
    /// False where older runs were left out because these hold as many keys as were asked for.
    pub is_all: bool,
}

/// A point of a chain to start reading history from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub at: Timestamp,
    pub block: u64,
    /// The next block that has a snapshot is this one, or comes before it.
    pub next: u64,
    pub balance: Money,
    pub hash: Hash,
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

/// Where the rows of a wallet are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowTable {
    Transfers,
    Snapshots,
}

/// A row that follows from blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    Out(OutRow),
    In(InRow),
    Reversed(ReversedRow),
    Keys(KeyRun),
    Snapshot(Snapshot),
}

/// A small row of the cell itself, beside its wallets: the progress of a job, a finding, a part of the log of
/// checkpoints. What it holds is its writer's affair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellRow {
    /// Rises with each change.
    pub version: u64,
    pub bytes: Vec<u8>,
}

/// Most bytes of such a row: an item of DynamoDB is at most 400 KB.
pub const MAX_CELL_ROW_BYTES: usize = 380 * 1024;

impl Derived {
    /// The row's name, its sort key.
    pub fn key(&self) -> String {
        match self {
            Derived::Out(row) => out_name(row.transfer),
            Derived::In(row) => format!("in#{}", row.transfer),
            Derived::Reversed(row) => format!("reversed#{}", row.of),
            Derived::Keys(run) => format!("keys#{:020}", run.run),
            Derived::Snapshot(snapshot) => snapshot_name(snapshot.at, snapshot.block),
        }
    }
}

/// The name of the row of a transfer in flight.
pub fn out_name(transfer: TransactionId) -> String {
    format!("out#{transfer}")
}

/// Sorts by time, then block. Times before 1970 do not occur: a wallet is created now.
fn snapshot_name(at: Timestamp, block: u64) -> String {
    format!("snap#{:019}#{block:020}", at.micros().max(0))
}

/// The tables of one cell. All reads are strongly consistent but that of [`Store::open_transfers`].
pub trait Store: Clone + Send + Sync + 'static {
    /// The last block of a chain; `None` if the cell holds no chain for this wallet.
    fn head(&self, wallet: WalletId) -> impl Future<Output = Result<Option<Block>, StoreError>> + Send;

    /// One page of a chain: at most `limit` blocks and at most about 1 MB.
    fn page(
        &self,
        wallet: WalletId,
        range: BlockRange,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// The blocks of one such page. Shorter than asked does not mean the end.
    fn blocks(
        &self,
        wallet: WalletId,
        range: BlockRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Block>, StoreError>> + Send {
        async move { Ok(self.page(wallet, range, limit).await?.blocks) }
    }

    /// Writes all blocks with their rows, or nothing; of a single block under [`Guard::Unbroken`] that has more rows than
    /// fit into a transaction, some rows may be written although the block is not. Past `sign_by` nothing is sent any more: the head that the append
    /// was decided on is too old then ([`crate::fence`]), and the answer is [`AppendError::NotApplied`].
    fn append_before(
        &self,
        append: &Append,
        sign_by: Option<Instant>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// [`Store::append_before`] without a bound.
    fn append(&self, append: &Append) -> impl Future<Output = Result<(), AppendError>> + Send {
        self.append_before(append, None)
    }

    /// The row of a transfer that is still in flight out of `wallet`.
    fn out_row(
        &self,
        wallet: WalletId,
        transfer: TransactionId,
    ) -> impl Future<Output = Result<Option<OutRow>, StoreError>> + Send;

    /// The recorded answer of `wallet` to a transfer sent to it.
    fn in_row(
        &self,
        wallet: WalletId,
        transfer: TransactionId,
    ) -> impl Future<Output = Result<Option<InRow>, StoreError>> + Send;

    /// Whether a transaction of `wallet` has been reversed, and where.
    fn reversed_row(
        &self,
        wallet: WalletId,
        transaction: TransactionId,
    ) -> impl Future<Output = Result<Option<ReversedRow>, StoreError>> + Send;

    /// Some of the transfers in flight out of this cell since `from` or later, oldest first, at most `limit`. May be a
    /// moment behind.
    fn open_transfers(
        &self,
        from: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<OutRow>, StoreError>> + Send;

    /// Records the keys of a full run. A row that exists already is the same.
    fn put_run(&self, wallet: WalletId, keys: &KeyRun) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records snapshots. Rows that exist already are the same.
    fn put_snapshots(
        &self,
        wallet: WalletId,
        snapshots: &[Snapshot],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The recorded runs that end at or after `since`, newest first, until they hold `most` keys.
    fn key_runs(
        &self,
        wallet: WalletId,
        since: Timestamp,
        most: usize,
    ) -> impl Future<Output = Result<RecordedRuns, StoreError>> + Send;

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

    /// In the same way, the rows of a wallet in one of the other tables, after the one of this name.
    fn stored_rows(
        &self,
        wallet: WalletId,
        table: RowTable,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<StoredPage<Derived>, StoreError>> + Send;

    /// A row of the cell itself.
    fn cell_row(&self, list: &str, key: &str) -> impl Future<Output = Result<Option<CellRow>, StoreError>> + Send;

    /// Rows of one list of the cell, in the order of their keys after `after`, or the other way round from the last one
    /// before it; at most `limit` and about 1 MB. None: that was all.
    fn cell_rows(
        &self,
        list: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, CellRow)>, StoreError>> + Send;

    /// Writes a row of the cell in place of the one with version `expected`, or where there is none. `false`: it is not
    /// so. After an error nobody knows; reading the row tells.
    fn put_cell_row(
        &self,
        list: &str,
        key: &str,
        expected: Option<u64>,
        row: &CellRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The `homes` row of a bucket or a wallet.
    fn home(&self, key: HomeKey) -> impl Future<Output = Result<Option<HomeRow>, StoreError>> + Send;

    /// Several rows of `homes` at once, at most [`MAX_HOME_CHANGES`], in the order asked for.
    fn homes(&self, keys: &[HomeKey]) -> impl Future<Output = Result<Vec<Option<HomeRow>>, StoreError>> + Send;

    /// The buckets this cell may create wallets in from its start; `None` until the control plane has written them.
    fn genesis(&self) -> impl Future<Output = Result<Option<Genesis>, StoreError>> + Send;

    /// Writes the genesis of a new cell, once; `false` if it holds another one already.
    fn put_genesis(&self, genesis: &Genesis) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Changes all these rows of `homes`, at most [`MAX_HOME_CHANGES`], or none: `false` if a condition failed. After
    /// an error nobody knows; reading the rows tells.
    fn change_homes(&self, changes: &[HomeChange]) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The wallets of some buckets, both ends inclusive, that have a chain or a row of `homes` in this cell, in the
    /// order of their ids, after `after`, at most `limit`; none: that was all. Exact: written with block 0.
    fn members(
        &self,
        buckets: (Bucket, Bucket),
        after: Option<WalletId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<WalletId>, StoreError>> + Send;

    /// Deletes a part of what is stored of a wallet that has moved away, whose last block here has this number: first
    /// the blocks below it, newest first, then rows. What was deleted once may have been copied back since: each
    /// deletion has conditions that then fail.
    fn forget(&self, wallet: WalletId, tombstone: u64) -> impl Future<Output = Result<Forgotten, StoreError>> + Send;
}

/// A bit for each bucket: byte `b / 8`, mask `0x80 >> (b % 8)`. Written once, before the cell serves; later changes of
/// a bucket's owner are rows of their own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Genesis(pub Box<[u8; GENESIS_BYTES]>);

impl Genesis {
    pub fn of(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        let mut bits = Box::new([0_u8; GENESIS_BYTES]);
        for bucket in buckets {
            let (byte, mask) = Self::place(bucket);
            bits[byte] |= mask;
        }
        Self(bits)
    }

    pub fn contains(&self, bucket: Bucket) -> bool {
        let (byte, mask) = Self::place(bucket);
        self.0[byte] & mask != 0
    }

    fn place(bucket: Bucket) -> (usize, u8) {
        (bucket.index() >> 3, 0x80_u8 >> (bucket.0 & 7))
    }
}

impl std::fmt::Debug for Genesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        write!(f, "Genesis({count} buckets)")
    }
}

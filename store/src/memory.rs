//! The store in memory: the same rules as DynamoDB, with faults injected by a plan. Deterministic: it reads no clock
//! but tokio's (which a simulation pauses) and draws nothing at random itself.

mod changes;
mod tables;

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::Archive;
use ledger::block::Block;
use ledger::marks::MarkRun;
use ledger::snapshots::Snapshot;
use ledger::time::Timestamp;
use ledger::{Append, Owner};
use tokio::time::Instant;
use topology::{Bucket, WalletId};

use super::{
    AppendError, BlockRange, CellRow, CellRows, Chains, Derived, Forgotten, Genesis, HomeChange, HomeKey, HomeRow,
    HomeState, Homes, Owners, Page, RunPage, StoreError, Stored, StoredPage,
};
pub use changes::MAX_LOG_BLOCKS;
pub use tables::Tables;

/// Most blocks in one page, whatever the caller asks: small, so that simulations cross page boundaries.
const PAGE_BLOCKS: usize = 16;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Nothing is done, and the answer says so.
    Refused,
    /// The same, and a repetition would bring the same.
    Rejected,
    /// The call is done, but its answer is lost.
    AnswerLost,
    /// The answer is lost now, and the call is done only after this long: a zombie's write.
    LandsLater(Duration),
}

/// What happens to one call, and when: a caller that is killed before `before` has passed has done
/// nothing; between the two, it is done and the caller has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    pub before: Duration,
    pub fault: Fault,
    pub after: Duration,
}

/// Decides the fate of each call. Asked once a call, in order.
pub trait FaultPlan: Send + Sync + 'static {
    fn next(&self, write: bool) -> Fate;
}

#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    log: Arc<Mutex<changes::Log>>,
    faults: Option<Arc<dyn FaultPlan>>,
    packs: Option<Archive>,
    /// For checkers: what is in packs, and was deleted from tables.
    dropped: Dropped,
    mutation: Mutation,
}

type Dropped = Arc<Mutex<BTreeMap<WalletId, BTreeMap<u64, Block>>>>;

/// A deliberate mistake, for showing that a simulation would find it. Never set outside tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    #[default]
    None,
    /// An append overwrites what is there.
    NoCondition,
    /// An append is confirmed before it is done, and now and then (where it should have been refused) never is.
    AnswerFirst,
    /// An append is sent however old the head is that it was decided on.
    NoSignBy,
    /// Recorded runs are read as if no block of theirs bore a mark.
    EmptyRuns,
    /// What is read of the change stream comes with the position of its end: as if all of it had been read.
    PositionAhead,
    /// A full run is read as recorded before its row is written: as if no block of it bore a mark.
    EarlyRuns,
}

impl MemoryStore {
    pub fn new(genesis: Genesis) -> Self {
        let store = Self::default();
        store.lock().genesis = Some(genesis);
        store
    }

    /// The same tables, seen through faults: one handle for each simulated instance.
    pub fn with_faults(&self, faults: Arc<dyn FaultPlan>) -> Self {
        Self { faults: Some(faults), ..self.clone() }
    }

    /// The same tables, with old blocks in the packs of this archive.
    pub fn with_packs(&self, packs: Archive) -> Self {
        Self { packs: Some(packs), ..self.clone() }
    }

    /// The same tables; what is deleted from these or from the other ones since it is in a pack is in the chains of both.
    pub fn with_dropped_of(&self, other: &Self) -> Self {
        Self { dropped: other.dropped.clone(), ..self.clone() }
    }

    pub fn with_mutation(&self, mutation: Mutation) -> Self {
        Self { mutation, ..self.clone() }
    }

    /// All blocks as they are now, in order: what a checker examines. Blocks that were dropped because they are in a pack
    /// are among them, unless what the cell holds of the wallet was purged.
    pub fn chains(&self) -> BTreeMap<WalletId, Vec<Block>> {
        let (tables, dropped) = (self.lock(), self.lock_dropped());
        let whole = |chain: &BTreeMap<u64, Block>, dropped: &BTreeMap<u64, Block>| {
            let head = chain.last_key_value().map_or(0, |(number, _)| *number);
            let mut whole: BTreeMap<u64, Block> = dropped.range(..head).map(|(n, block)| (*n, block.clone())).collect();
            whole.extend(chain.clone());
            whole.into_values().collect()
        };
        let of = |(wallet, chain): (&WalletId, &BTreeMap<u64, Block>)| {
            let dropped = dropped.get(wallet).filter(|_| chain.contains_key(&0));
            let blocks = dropped.map_or_else(|| chain.values().cloned().collect(), |dropped| whole(chain, dropped));
            (*wallet, blocks)
        };
        tables.chains.iter().map(of).collect()
    }

    /// Blocks that were dropped because they are in a pack.
    pub fn dropped(&self) -> usize {
        self.lock_dropped().values().map(BTreeMap::len).sum()
    }

    /// All recorded runs as they are now.
    pub fn mark_rows(&self) -> Vec<(WalletId, MarkRun)> {
        self.lock().mark_runs.iter().map(|((wallet, _), run)| (*wallet, run.clone())).collect()
    }

    /// All rows of `homes` as they are now.
    pub fn home_rows(&self) -> BTreeMap<HomeKey, HomeRow> {
        self.lock().homes.clone()
    }

    /// Whether the cell creates the wallets of a bucket, as its tables say now.
    pub fn creates_in(&self, bucket: Bucket) -> bool {
        let tables = self.lock();
        let from_start = tables.genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
        tables.homes.get(&HomeKey::Bucket(bucket)).map_or(from_start, |row| row.state == HomeState::Serving)
    }

    /// All tables at this moment, as point-in-time recovery keeps them.
    pub fn tables(&self) -> Tables {
        self.lock().clone()
    }

    /// Rewinds the tables to what they were, or empties them: everything since is gone.
    pub fn rewind(&self, tables: Tables) {
        let mut now = self.lock();
        *now = tables;
        self.log().replace();
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_dropped(&self) -> MutexGuard<'_, BTreeMap<WalletId, BTreeMap<u64, Block>>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fate(&self, write: bool) -> (Fault, Duration) {
        let fate = self.faults.as_ref().map(|faults| faults.next(write)).unwrap_or_default();
        pause(fate.before).await;
        (fate.fault, fate.after)
    }

    /// A write that may be repeated at will.
    async fn write<T: Send>(&self, change: impl FnOnce(&mut Tables) -> T + Send + 'static) -> Result<T, StoreError> {
        match self.fate(true).await {
            (Fault::None, after) => {
                let done = change(&mut self.lock());
                pause(after).await;
                Ok(done)
            }
            (Fault::AnswerLost, after) => {
                let _ = change(&mut self.lock());
                pause(after).await;
                Err(StoreError::Unavailable("injected: answer lost".into()))
            }
            (Fault::LandsLater(delay), after) => {
                let store = self.clone();
                // Owned by no task, like an append on its way.
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = change(&mut store.lock());
                });
                pause(after).await;
                Err(StoreError::Unavailable("injected: on its way".into()))
            }
            (Fault::Refused, _) => Err(StoreError::Unavailable("injected: refused".into())),
            (Fault::Rejected, _) => Err(StoreError::Rejected("injected: rejected".into())),
        }
    }

    async fn read<T>(&self, look: impl FnOnce(&Tables) -> T + Send) -> Result<T, StoreError> {
        match self.fate(false).await {
            (Fault::None, after) => {
                let seen = look(&self.lock());
                pause(after).await;
                Ok(seen)
            }
            (Fault::Rejected, _) => Err(StoreError::Rejected("injected: rejected".into())),
            (fault, _) => Err(StoreError::Unavailable(format!("injected: {fault:?}"))),
        }
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

impl Chains for MemoryStore {
    async fn head(&self, wallet: WalletId) -> Result<Option<Block>, StoreError> {
        self.read(|tables| tables.head(wallet).cloned()).await
    }

    fn packs(&self) -> Option<&Archive> {
        self.packs.as_ref()
    }

    async fn held_page(&self, wallet: WalletId, range: BlockRange, limit: usize) -> Result<Page, StoreError> {
        let limit = limit.min(PAGE_BLOCKS);
        self.read(|tables| {
            let within = tables.chain(wallet).filter(|block| (range.first..=range.last).contains(&block.number));
            let blocks: Vec<Block> = if range.newest_first {
                within.rev().take(limit).cloned().collect()
            } else {
                within.take(limit).cloned().collect()
            };
            Page { more: blocks.len() == limit, blocks }
        })
        .await
    }

    async fn drop_packed(&self, packed: &[Block]) -> Result<(), StoreError> {
        let packed = packed.to_vec();
        let store = self.clone();
        let drop_all = move |tables: &mut Tables| {
            for block in tables.drop_packed(&packed) {
                store.lock_dropped().entry(block.wallet).or_default().insert(block.number, block);
            }
        };
        self.write(drop_all).await
    }

    async fn append_before(&self, append: &Append, sign_by: Option<Instant>) -> Result<(), AppendError> {
        let (fault, after) = self.fate(true).await;
        if sign_by.is_some_and(|sign_by| Instant::now() > sign_by) && self.mutation != Mutation::NoSignBy {
            return Err(AppendError::NotApplied("the head is too old to be decided on".into()));
        }
        let done = match fault {
            Fault::Refused if self.mutation == Mutation::AnswerFirst => Ok(()),
            Fault::None => self.append_now(append),
            Fault::Refused => Err(AppendError::NotApplied("injected: refused".into())),
            Fault::Rejected => Err(AppendError::Rejected("injected: rejected".into())),
            Fault::AnswerLost => {
                let _ = self.append_now(append);
                Err(AppendError::Unknown("injected: answer lost".into()))
            }
            Fault::LandsLater(delay) => {
                let (store, append) = (self.clone(), append.clone());
                // Deliberately owned by no task: a write on its way outlives the process that sent
                // it.
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = store.append_now(&append);
                });
                Err(AppendError::Unknown("injected: on its way".into()))
            }
        };
        pause(after).await;
        done
    }

    async fn put_run(&self, wallet: WalletId, run: &MarkRun) -> Result<(), StoreError> {
        let run = run.clone();
        self.write(move |tables| {
            tables.mark_runs.insert((wallet, run.run), run);
        })
        .await
    }

    async fn put_snapshots(&self, wallet: WalletId, snapshots: &[Snapshot]) -> Result<(), StoreError> {
        let snapshots = snapshots.to_vec();
        self.write(move |tables| {
            let rows = snapshots.into_iter().map(|snapshot| ((wallet, snapshot.at, snapshot.block), snapshot));
            tables.snapshots.extend(rows);
        })
        .await
    }

    async fn mark_runs(&self, wallet: WalletId, runs: RangeInclusive<u64>) -> Result<RunPage, StoreError> {
        self.read(|tables| {
            let mut runs = tables.runs(wallet, runs, self.mutation);
            let more = runs.len() > PAGE_BLOCKS;
            runs.truncate(PAGE_BLOCKS);
            RunPage { runs, more }
        })
        .await
    }

    async fn snapshot_before(&self, wallet: WalletId, at: Timestamp) -> Result<Option<Snapshot>, StoreError> {
        let first = Bound::Included((wallet, Timestamp::from_micros(i64::MIN), 0));
        let last = Bound::Included((wallet, at, u64::MAX));
        self.read(|tables| tables.snapshots.range((first, last)).next_back().map(|(_, snapshot)| *snapshot)).await
    }

    async fn stored_blocks(&self, wallet: WalletId, first: u64, limit: usize) -> Result<StoredPage<Block>, StoreError> {
        let page = self.held_page(wallet, BlockRange { first, last: u64::MAX, newest_first: false }, limit).await?;
        let stored = |block: Block| Stored { key: block.number.to_string(), value: Ok(block) };
        Ok(StoredPage { items: page.blocks.into_iter().map(stored).collect(), more: page.more })
    }

    async fn stored_rows(
        &self,
        wallet: WalletId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<StoredPage<Derived>, StoreError> {
        let (after, limit) = (after.map(str::to_owned), limit.min(PAGE_BLOCKS));
        self.read(|tables| {
            let rows = tables.derived(wallet).into_iter().map(|row| (row.key(), row));
            let all: BTreeMap<String, Derived> =
                rows.filter(|(key, _)| after.as_ref().is_none_or(|after| after < key)).collect();
            let more = all.len() > limit;
            let stored = |(key, row)| Stored { key, value: Ok(row) };
            StoredPage { items: all.into_iter().take(limit).map(stored).collect(), more }
        })
        .await
    }

    async fn forget(&self, wallet: WalletId, tombstone: u64) -> Result<Forgotten, StoreError> {
        self.write(move |tables| tables.forget(wallet, tombstone, PAGE_BLOCKS)).await
    }
}

impl Homes for MemoryStore {
    async fn home(&self, key: HomeKey) -> Result<Option<HomeRow>, StoreError> {
        self.read(|tables| tables.homes.get(&key).cloned()).await
    }

    async fn homes(&self, keys: &[HomeKey]) -> Result<Vec<Option<HomeRow>>, StoreError> {
        self.read(|tables| keys.iter().map(|key| tables.homes.get(key).cloned()).collect()).await
    }

    async fn genesis(&self) -> Result<Option<Genesis>, StoreError> {
        self.read(|tables| tables.genesis.clone()).await
    }

    async fn put_genesis(&self, genesis: &Genesis) -> Result<bool, StoreError> {
        let genesis = genesis.clone();
        self.write(move |tables| *tables.genesis.get_or_insert_with(|| genesis.clone()) == genesis).await
    }

    async fn change_homes(&self, changes: &[HomeChange]) -> Result<bool, StoreError> {
        let changes = changes.to_vec();
        self.write(move |tables| tables.change_homes(&changes)).await
    }

    async fn members(
        &self,
        (first, last): (Bucket, Bucket),
        after: Option<WalletId>,
        limit: usize,
    ) -> Result<Vec<WalletId>, StoreError> {
        let limit = limit.min(PAGE_BLOCKS);
        self.read(|tables| {
            let within = |wallet: &&WalletId| (first..=last).contains(&wallet.bucket()) && after < Some(**wallet);
            tables.members.iter().filter(within).take(limit).copied().collect()
        })
        .await
    }
}

impl Owners for MemoryStore {
    async fn owner(&self, wallet: WalletId) -> Result<Option<Owner>, StoreError> {
        self.read(|tables| tables.owners.get(&wallet).cloned().flatten()).await
    }

    async fn is_erased(&self, wallet: WalletId) -> Result<bool, StoreError> {
        self.read(|tables| tables.owners.get(&wallet).is_some_and(Option::is_none)).await
    }

    async fn put_owner(&self, wallet: WalletId, owner: &Owner) -> Result<(), StoreError> {
        let owner = owner.clone();
        self.write(move |tables| {
            tables.owners.entry(wallet).or_insert_with(|| Some(owner));
        })
        .await
    }

    async fn erase_owner(&self, wallet: WalletId) -> Result<(), StoreError> {
        self.write(move |tables| drop(tables.owners.insert(wallet, None))).await
    }
}

impl CellRows for MemoryStore {
    async fn cell_row(&self, list: &str, key: &str) -> Result<Option<CellRow>, StoreError> {
        let place = (list.to_owned(), key.to_owned());
        self.read(|tables| tables.cell_rows.get(&place).cloned()).await
    }

    async fn cell_rows(
        &self,
        list: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, CellRow)>, StoreError> {
        let limit = limit.min(PAGE_BLOCKS);
        self.read(|tables| {
            let of_list = tables.cell_rows.iter().filter(|((of, _), _)| of == list);
            let rows = of_list.map(|((_, key), row)| (key.clone(), row.clone()));
            if newest_first {
                rows.rev().filter(|(key, _)| after.is_none_or(|after| key.as_str() < after)).take(limit).collect()
            } else {
                rows.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).take(limit).collect()
            }
        })
        .await
    }

    async fn put_cell_row(
        &self,
        list: &str,
        key: &str,
        expected: Option<u64>,
        row: &CellRow,
    ) -> Result<bool, StoreError> {
        let (place, row) = ((list.to_owned(), key.to_owned()), row.clone());
        self.write(move |tables| {
            let holds = tables.cell_rows.get(&place).map(|row| row.version) == expected;
            if holds {
                tables.cell_rows.insert(place.clone(), row.clone());
            }
            holds
        })
        .await
    }
}

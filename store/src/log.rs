//! The log of a cell: leaves that name heads of wallets, in the order in which they were committed to, and the signed
//! checkpoints over the tree of them. Kept in rows of the cell; `docs/checkpoints.md` says which.
//!
//! It only grows. A checkpoint counts once its row is written, which only one writer can do for each number; what was
//! written before that by others counts for nothing. Nothing is signed that does not extend the last checkpoint.

mod audit;
mod entry;

use std::collections::HashMap;

use ledger::block::Hash;
use ledger::checkpoint::{Checkpoint, LEAF_BYTES, Leaf, SigningKey};
use ledger::merkle::{self, Edge, Tile};
use ledger::time::Timestamp;
use tokio::task::JoinSet;
use topology::{CellId, WalletId};
use uuid::Uuid;

use crate::{CellRow, MAX_CELL_ROW_BYTES, Store, StoreError};
pub use audit::{Audit, Witnessed};
pub use entry::{Entry, Latest};

/// Leaves of one checkpoint: they are one row.
pub const MAX_LEAVES: usize = 4_096;
const _: () = assert!(MAX_LEAVES * LEAF_BYTES <= MAX_CELL_ROW_BYTES);

pub const CHECKPOINTS: &str = "checkpoints";
const LEAVES: &str = "leaves";
const TILES: &str = "tiles";
/// Rows are written once, unless it is said otherwise.
const ONCE: u64 = 1;
/// How often the row of a wallet's latest leaf is tried to be brought up to date: others write the same.
const MAX_RACES: usize = 4;
/// Rows of latest leaves that are brought up to date at the same time.
const RECORDED_AT_ONCE: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not continue what was known of it. Nothing is signed before a human has looked.
    #[error("{0}")]
    Broken(String),
}

/// A leaf with all that shows that a checkpoint commits to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub signed: ledger::checkpoint::Signed,
    pub leaf: Leaf,
    pub index: u64,
    pub path: Vec<Hash>,
}

/// A leaf to be added, and what is known of the row of its wallet's latest leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addition {
    pub leaf: Leaf,
    /// The checkpoint of that leaf, which is the row's version; None: there is no row.
    pub recorded: Option<u64>,
}

/// The log in the tables of one cell.
#[derive(Clone)]
pub struct Log<S> {
    store: S,
    cell: CellId,
}

fn number_key(number: u64) -> String {
    format!("{number:020}")
}

fn leaves_key(number: u64, batch: Uuid) -> String {
    format!("{}#{batch}", number_key(number))
}

fn tile_key(level: u32, place: u64) -> String {
    format!("{level}#{place:020}")
}

fn latest_list(wallet: WalletId) -> String {
    format!("latest#{:02x}", wallet.bucket().0 >> 8)
}

fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt(what.into())
}

impl<S: Store> Log<S> {
    pub fn new(store: S, cell: CellId) -> Self {
        Self { store, cell }
    }

    pub fn cell(&self) -> &CellId {
        &self.cell
    }

    /// The newest checkpoint.
    pub async fn newest(&self) -> Result<Option<Entry>, StoreError> {
        let mut rows = self.store.cell_rows(CHECKPOINTS, None, true, 1).await?;
        rows.pop().map(|(key, row)| self.entry_of(&key, &row)).transpose()
    }

    pub async fn entry(&self, number: u64) -> Result<Option<Entry>, StoreError> {
        let key = number_key(number);
        let row = self.store.cell_row(CHECKPOINTS, &key).await?;
        row.map(|row| self.entry_of(&key, &row)).transpose()
    }

    fn entry_of(&self, key: &str, row: &CellRow) -> Result<Entry, StoreError> {
        let entry = Entry::from_bytes(&row.bytes).filter(|entry| {
            let checkpoint = &entry.signed.checkpoint;
            row.version == ONCE && number_key(checkpoint.number) == key && checkpoint.cell == self.cell
        });
        entry.ok_or_else(|| corrupt(format!("checkpoint {key} is not one that was written")))
    }

    /// The leaves that a checkpoint added.
    pub async fn leaves(&self, entry: &Entry) -> Result<Vec<Leaf>, StoreError> {
        let number = entry.signed.checkpoint.number;
        let unsound = || corrupt(format!("the leaves of checkpoint {number} are not those that were written"));
        let row = self.store.cell_row(LEAVES, &leaves_key(number, entry.batch)).await?.ok_or_else(unsound)?;
        let leaves: Option<Vec<Leaf>> = row.bytes.chunks(LEAF_BYTES).map(Leaf::from_bytes).collect();
        leaves.filter(|leaves| leaves.len() as u64 == entry.added && row.version == ONCE).ok_or_else(unsound)
    }

    /// The latest leaf of a wallet, as far as that is recorded.
    pub async fn latest(&self, wallet: WalletId) -> Result<Option<Latest>, StoreError> {
        Ok(self.latest_row(wallet).await?.map(|(latest, _)| latest))
    }

    async fn latest_row(&self, wallet: WalletId) -> Result<Option<(Latest, u64)>, StoreError> {
        let row = self.store.cell_row(&latest_list(wallet), &wallet.to_string()).await?;
        let Some(row) = row else { return Ok(None) };
        let sound = |latest: &Latest| latest.leaf.wallet == wallet && latest.checkpoint == row.version;
        let latest = Latest::from_bytes(&row.bytes).filter(sound);
        let latest = latest.ok_or_else(|| corrupt(format!("the row of the latest leaf of wallet {wallet}")))?;
        Ok(Some((latest, row.version)))
    }

    /// Signs and writes the checkpoint after `before`, which adds these leaves. `None`: another
    /// process wrote one of its number. `batch` is drawn again for each attempt.
    pub async fn append(
        &self,
        before: Option<&Entry>,
        leaves: &[Leaf],
        key: &SigningKey,
        now: Timestamp,
        batch: Uuid,
    ) -> Result<Option<Entry>, LogError> {
        assert!(leaves.len() <= MAX_LEAVES, "the collector of leaves bounds them");
        let (entry, tiles) = self.next(before, leaves, key, now, batch)?;
        let number = entry.signed.checkpoint.number;
        if let Some(before) = before {
            self.check_extends(before, &entry, &tiles).await?;
        }
        let bytes = leaves.iter().flat_map(|leaf| leaf.to_bytes()).collect();
        let row = CellRow { version: ONCE, bytes };
        self.store.put_cell_row(LEAVES, &leaves_key(number, batch), None, &row).await?;
        let row = CellRow { version: ONCE, bytes: entry.to_bytes() };
        let written = match self.store.put_cell_row(CHECKPOINTS, &number_key(number), None, &row).await {
            Ok(written) => written,
            // Perhaps it was written: the next round reads what there is.
            Err(error) => return Err(error.into()),
        };
        Ok(written.then_some(entry))
    }

    fn next(
        &self,
        before: Option<&Entry>,
        leaves: &[Leaf],
        key: &SigningKey,
        now: Timestamp,
        batch: Uuid,
    ) -> Result<(Entry, Vec<Tile>), LogError> {
        let mut edge = before.map_or_else(Edge::default, |entry| entry.edge.clone());
        let last = before.map(|entry| &entry.signed.checkpoint);
        if last.is_some_and(|last| last.size != edge.size() || last.root != edge.root()) {
            return Err(LogError::Broken("the last checkpoint's edge is not that of its tree".into()));
        }
        if last.is_some() && !before.is_some_and(|entry| key.known().iter().any(|key| key.verifies(&entry.signed))) {
            return Err(LogError::Broken("the last checkpoint is not signed with a key of this cell".into()));
        }
        let tiles: Vec<Tile> = leaves.iter().flat_map(|leaf| edge.push(leaf.tree_hash())).collect();
        let checkpoint = Checkpoint {
            cell: self.cell.clone(),
            number: last.map_or(0, |last| last.number).saturating_add(1),
            size: edge.size(),
            root: edge.root(),
            previous: last.map_or(Hash::ZERO, Checkpoint::hash),
            at: now.max(last.map_or(now, |last| last.at)),
        };
        let added = leaves.len() as u64;
        Ok((Entry { signed: key.sign(checkpoint), batch, added, edge }, tiles))
    }

    /// Has the proof made and verified that `after` extends `before`, from the nodes that are stored: so what others are
    /// shown later can be shown.
    async fn check_extends(&self, before: &Entry, after: &Entry, fresh: &[Tile]) -> Result<(), LogError> {
        let fresh = fresh.iter().map(|tile| ((tile.level, tile.place), tile.nodes.clone())).collect();
        let proof = self.proof(after, fresh, |nodes| {
            merkle::consistency(before.signed.checkpoint.size, after.signed.checkpoint.size, nodes)
        });
        if merkle::is_consistent(before.tree(), after.tree(), &proof.await?) {
            return Ok(());
        }
        Err(LogError::Broken("the stored tiles do not show that the tree grows from the last checkpoint".into()))
    }

    /// That the tree of checkpoint `before` is the beginning of that of `after`.
    pub async fn consistency(&self, before: u64, after: &Entry) -> Result<Vec<Hash>, StoreError> {
        let size = after.signed.checkpoint.size;
        self.proof(after, HashMap::new(), |nodes| merkle::consistency(before, size, nodes)).await
    }

    /// The same for a reader that looks while the cell works: `None` while tiles of the newest
    /// checkpoint are missing, which are written after it.
    pub async fn consistency_once_finished(&self, before: u64, after: &Entry) -> Result<Option<Vec<Hash>>, StoreError> {
        match self.consistency(before, after).await {
            Err(StoreError::Corrupt(what)) => match self.newest().await? {
                Some(newest) if newest == *after => Ok(None),
                _ => Err(StoreError::Corrupt(what)),
            },
            other => other.map(Some),
        }
    }

    /// What shows that the newest checkpoint commits to the latest leaf of this wallet; `None`: none does yet.
    pub async fn prove(&self, wallet: WalletId) -> Result<Option<Proof>, StoreError> {
        // In this order: a leaf is recorded after the checkpoint that it is in.
        let Some(Latest { index, leaf, .. }) = self.latest(wallet).await? else { return Ok(None) };
        let Some(entry) = self.newest().await? else { return Ok(None) };
        let (size, root) = entry.tree();
        if index >= size {
            return Err(corrupt(format!("the latest leaf of wallet {wallet} lies beyond the newest checkpoint")));
        }
        let path = self.proof(&entry, HashMap::new(), |nodes| merkle::inclusion(index, size, nodes)).await?;
        if !merkle::is_included(leaf.tree_hash(), index, size, &path, root) {
            return Err(corrupt(format!("the log does not hold the latest leaf of wallet {wallet} as it is recorded")));
        }
        Ok(Some(Proof { signed: entry.signed, leaf, index, path }))
    }

    /// Makes a proof about the tree of `entry`; the tiles that it needs are read first.
    async fn proof(
        &self,
        entry: &Entry,
        mut tiles: HashMap<(u32, u64), Vec<Hash>>,
        make: impl Fn(&mut dyn merkle::Nodes) -> Vec<Hash>,
    ) -> Result<Vec<Hash>, StoreError> {
        let mut missing = Vec::new();
        make(&mut entry.edge.nodes(|level, place| match tiles.get(&(level, place)) {
            Some(nodes) => nodes.clone(),
            None => {
                missing.push((level, place));
                Vec::new()
            }
        }));
        for (level, place) in missing {
            tiles.insert((level, place), self.tile(level, place).await?);
        }
        Ok(make(&mut entry.edge.nodes(|level, place| tiles.get(&(level, place)).cloned().unwrap_or_default())))
    }

    async fn tile(&self, level: u32, place: u64) -> Result<Vec<Hash>, StoreError> {
        let key = tile_key(level, place);
        let row = self.store.cell_row(TILES, &key).await?;
        let bytes = row.filter(|row| row.version == ONCE).map(|row| row.bytes);
        let nodes = bytes.filter(|bytes| bytes.len() == merkle::TILE_NODES.saturating_mul(32));
        let nodes = nodes.ok_or_else(|| corrupt(format!("tile {key} of the log is missing or damaged")))?;
        Ok(nodes.chunks_exact(32).map(|node| Hash(node.try_into().expect("32 bytes"))).collect())
    }

    /// [`record`](Self::record) after a death: what was added is read again.
    pub async fn finish(&self, entry: &Entry) -> Result<(), LogError> {
        let number = entry.signed.checkpoint.number;
        let before = match number.checked_sub(1).filter(|before| *before > 0) {
            None => None,
            Some(before) => Some(
                (self.entry(before).await?)
                    .ok_or_else(|| LogError::Broken(format!("there is no checkpoint before {number}")))?,
            ),
        };
        // A row that was not looked at is taken for one that is not there, and read when that shows.
        let addition = |leaf| Addition { leaf, recorded: None };
        let additions: Vec<_> = self.leaves(entry).await?.into_iter().map(addition).collect();
        self.record(before.as_ref(), entry, &additions).await
    }

    /// Records what follows from a checkpoint: the tiles that are full by it, and each wallet's latest leaf. It may be
    /// done again, and by several at once. `additions`: its leaves, in their order.
    pub async fn record(&self, before: Option<&Entry>, entry: &Entry, additions: &[Addition]) -> Result<(), LogError> {
        let number = entry.signed.checkpoint.number;
        let mut edge = before.map_or_else(Edge::default, |before| before.edge.clone());
        let first = edge.size();
        let fresh = additions.iter().flat_map(|addition| edge.push(addition.leaf.tree_hash()));
        for tile in fresh.collect::<Vec<_>>() {
            let bytes = tile.nodes.iter().flat_map(|node| node.0).collect();
            let row = CellRow { version: ONCE, bytes };
            self.store.put_cell_row(TILES, &tile_key(tile.level, tile.place), None, &row).await?;
        }
        let latest: Vec<_> = (first..)
            .zip(additions)
            .map(|(index, &Addition { leaf, recorded })| (Latest { index, checkpoint: number, leaf }, recorded))
            .collect();
        for some in latest.chunks(RECORDED_AT_ONCE) {
            let mut recording = JoinSet::new();
            for (latest, recorded) in some.iter().copied() {
                let log = self.clone();
                recording.spawn(async move { log.record_latest(latest, recorded).await });
            }
            for recorded in recording.join_all().await {
                recorded?;
            }
        }
        Ok(())
    }

    async fn record_latest(&self, latest: Latest, mut expected: Option<u64>) -> Result<(), StoreError> {
        let wallet = latest.leaf.wallet;
        for _ in 0..MAX_RACES {
            // Rises, since later leaves are in later checkpoints.
            let row = CellRow { version: latest.checkpoint, bytes: latest.to_bytes() };
            if self.store.put_cell_row(&latest_list(wallet), &wallet.to_string(), expected, &row).await? {
                return Ok(());
            }
            let recorded = self.latest_row(wallet).await?;
            if recorded.as_ref().is_some_and(|(recorded, _)| recorded.index >= latest.index) {
                return Ok(());
            }
            expected = recorded.map(|(_, version)| version);
        }
        Ok(())
    }
}

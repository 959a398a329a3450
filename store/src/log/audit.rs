//! Reads a whole log again and holds every part of it against every other: signatures, links, the
//! tree grown again leaf by leaf, the tiles, the rows of latest leaves, and what a witness was
//! shown. Gives back what it commits to.

use std::collections::{BTreeMap, BTreeSet};

use ledger::block::Hash;
use ledger::checkpoint::{Checkpoint, Leaf, PublicKey, Signed};
use ledger::merkle::Edge;
use topology::WalletId;

use super::{Entry, Latest, Log, latest_list, number_key, tile_key};
use crate::verify::{Break, Committed};
use crate::{Store, StoreError};

/// Faults reported of one log.
const MAX_BREAKS: usize = 64;
/// Partitions of the rows of latest leaves, by the first byte of the wallet id.
const PARTITIONS: u16 = 256;
const PAGE: usize = 256;

/// A checkpoint that a witness keeps: no tables of the cell can take it back.
pub type Witnessed = BTreeMap<u64, Signed>;

/// What a log says, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    pub checkpoints: u64,
    pub leaves: u64,
    pub newest: Option<Signed>,
    /// All that was committed to, by wallet and rising block number.
    pub committed: BTreeMap<WalletId, Vec<Committed>>,
    pub breaks: Vec<Break>,
}

/// How far the reading of the log has come.
struct Reading {
    audit: Audit,
    edge: Edge,
    previous: Option<Checkpoint>,
    latest: BTreeMap<WalletId, Latest>,
    /// The one before the latest.
    earlier: BTreeMap<WalletId, Latest>,
}

impl<S: Store> Log<S> {
    /// Audits the log. `keys`: those of this cell, of which one has to have signed each checkpoint.
    /// The cell may sign meanwhile: a fault is reported only if a second look finds it too.
    pub async fn audit(&self, keys: &[PublicKey], witnessed: &Witnessed) -> Result<Audit, StoreError> {
        let first = self.audit_once(keys, witnessed).await?;
        if first.breaks.is_empty() {
            return Ok(first);
        }
        let mut second = self.audit_once(keys, witnessed).await?;
        second.breaks.retain(|found| first.breaks.contains(found));
        Ok(second)
    }

    async fn audit_once(&self, keys: &[PublicKey], witnessed: &Witnessed) -> Result<Audit, StoreError> {
        let mut reading = Reading {
            audit: Audit::default(),
            edge: Edge::default(),
            previous: None,
            latest: BTreeMap::new(),
            earlier: BTreeMap::new(),
        };
        let mut number = 1;
        loop {
            let entry = match self.entry(number).await {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(StoreError::Corrupt(what)) => {
                    // What comes after it cannot be held against anything any more.
                    reading.tell(number, what);
                    break;
                }
                Err(error) => return Err(error),
            };
            if !self.take(&mut reading, &entry, keys).await? {
                break;
            }
            number = number.saturating_add(1);
        }
        let newest = self.newest_number().await?;
        let went_on = newest.is_some_and(|newest| newest > number_key(number.saturating_sub(1)));
        // One that has been written since is there now.
        if went_on && reading.audit.breaks.is_empty() && matches!(self.entry(number).await, Ok(None)) {
            reading.tell(number, "the checkpoint is missing; later ones are there");
        }
        for (number, signed) in witnessed {
            match self.entry(*number).await {
                Ok(Some(entry)) if entry.signed.checkpoint == signed.checkpoint => {}
                Ok(None) => reading.tell(*number, "the witness was shown this checkpoint, and it is gone"),
                Ok(Some(_)) => reading.tell(*number, "the witness was shown another checkpoint of this number"),
                Err(StoreError::Corrupt(what)) => reading.tell(*number, what),
                Err(error) => return Err(error),
            }
        }
        if reading.audit.breaks.is_empty() {
            self.check_latest(&mut reading).await?;
        }
        reading.audit.breaks.sort();
        reading.audit.breaks.dedup();
        Ok(reading.audit)
    }

    async fn newest_number(&self) -> Result<Option<String>, StoreError> {
        match self.store.cell_rows(super::CHECKPOINTS, None, true, 1).await {
            Ok(rows) => Ok(rows.into_iter().next().map(|(key, _)| key)),
            Err(StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes one checkpoint in; whether the reading can go on.
    async fn take(&self, reading: &mut Reading, entry: &Entry, keys: &[PublicKey]) -> Result<bool, StoreError> {
        let checkpoint = &entry.signed.checkpoint;
        let number = checkpoint.number;
        if !keys.iter().any(|key| key.verifies(&entry.signed)) {
            reading.tell(number, "no key of this cell has signed it");
        }
        let linked = reading.previous.as_ref().map_or(Hash::ZERO, Checkpoint::hash);
        let late = reading.previous.as_ref().is_some_and(|before| before.at > checkpoint.at);
        if checkpoint.previous != linked || late {
            reading.tell(number, "it does not follow the checkpoint before it");
        }
        let leaves = match self.leaves(entry).await {
            Ok(leaves) => leaves,
            Err(StoreError::Corrupt(what)) => {
                reading.tell(number, what);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        for leaf in leaves {
            for tile in reading.leaf(number, leaf) {
                let stored = match self.tile(tile.level, tile.place).await {
                    Ok(nodes) => nodes == tile.nodes,
                    // Those of the newest checkpoint are written after it.
                    Err(StoreError::Corrupt(_)) => {
                        let key = tile_key(tile.level, tile.place);
                        self.is_newest(number).await? && self.store.cell_row(super::TILES, &key).await?.is_none()
                    }
                    Err(error) => return Err(error),
                };
                if !stored {
                    reading
                        .tell(number, format!("tile {} is not what the leaves say", tile_key(tile.level, tile.place)));
                }
            }
        }
        if (reading.edge.size(), reading.edge.root()) != entry.tree() {
            reading.tell(number, "its root is not that of the leaves");
        } else if reading.edge != entry.edge {
            reading.tell(number, "its edge is not that of the leaves");
        }
        reading.audit.checkpoints = reading.audit.checkpoints.saturating_add(1);
        reading.audit.newest = Some(entry.signed.clone());
        reading.previous = Some(checkpoint.clone());
        Ok(true)
    }

    async fn is_newest(&self, number: u64) -> Result<bool, StoreError> {
        Ok(self.newest_number().await? == Some(number_key(number)))
    }

    /// Each wallet's row names its latest leaf; those of the newest checkpoint may not be there yet.
    async fn check_latest(&self, reading: &mut Reading) -> Result<(), StoreError> {
        let newest = reading.audit.newest.as_ref().map_or(0, |signed| signed.checkpoint.number);
        let mut seen = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let list = format!("latest#{partition:02x}");
            let mut after: Option<String> = None;
            loop {
                let rows = match self.store.cell_rows(&list, after.as_deref(), false, PAGE).await {
                    Ok(rows) => rows,
                    Err(StoreError::Corrupt(what)) => {
                        reading.tell_place(format!("log {list}"), what);
                        break;
                    }
                    Err(error) => return Err(error),
                };
                let Some((last, _)) = rows.last() else { break };
                after = Some(last.clone());
                for (key, row) in rows {
                    let sound = |latest: &Latest| {
                        let wallet = latest.leaf.wallet;
                        wallet.to_string() == key && latest_list(wallet) == list && row.version == latest.checkpoint
                    };
                    let Some(latest) = Latest::from_bytes(&row.bytes).filter(sound) else {
                        reading.tell_place(format!("log {list} {key}"), "the row of the latest leaf is damaged");
                        continue;
                    };
                    seen.insert(latest.leaf.wallet);
                    let expected = reading.latest.get(&latest.leaf.wallet);
                    // Since this began to read newer ones may have come; the one before is right until it is replaced.
                    let earlier = reading.earlier.get(&latest.leaf.wallet);
                    let behind =
                        earlier == Some(&latest) && expected.is_some_and(|expected| expected.checkpoint == newest);
                    // It is recorded after its checkpoint.
                    let later =
                        latest.checkpoint > newest && matches!(self.entry(latest.checkpoint).await, Ok(Some(_)));
                    if expected != Some(&latest) && !later && !behind {
                        reading.tell_place(format!("log {list} {key}"), "it is not the wallet's latest leaf");
                    }
                }
            }
        }
        let unseen = reading.latest.values().filter(|latest| {
            let wallet = latest.leaf.wallet;
            let was_there = latest.checkpoint < newest || reading.earlier.contains_key(&wallet);
            was_there && !seen.contains(&wallet)
        });
        let unseen: Vec<WalletId> = unseen.map(|latest| latest.leaf.wallet).collect();
        for wallet in unseen {
            reading.tell_place(format!("log latest {wallet}"), "the row of the wallet's latest leaf is missing");
        }
        Ok(())
    }
}

impl Reading {
    fn leaf(&mut self, checkpoint: u64, leaf: Leaf) -> Vec<ledger::merkle::Tile> {
        let index = self.edge.size();
        let tiles = self.edge.push(leaf.tree_hash());
        self.audit.leaves = self.audit.leaves.saturating_add(1);
        let of_wallet = self.audit.committed.entry(leaf.wallet).or_default();
        match of_wallet.last() {
            Some(last) if last.block > leaf.block || last.block == leaf.block && last.hash != leaf.hash => {
                self.tell(checkpoint, format!("its leaf of wallet {} goes back", leaf.wallet));
            }
            Some(last) if last.block == leaf.block => {}
            _ => of_wallet.push(Committed { block: leaf.block, hash: leaf.hash }),
        }
        if let Some(before) = self.latest.insert(leaf.wallet, Latest { index, checkpoint, leaf }) {
            self.earlier.insert(leaf.wallet, before);
        }
        tiles
    }

    fn tell(&mut self, checkpoint: u64, what: impl Into<String>) {
        self.tell_place(format!("checkpoint {checkpoint}"), what);
    }

    fn tell_place(&mut self, place: String, what: impl Into<String>) {
        if self.audit.breaks.len() < MAX_BREAKS {
            self.audit.breaks.push(Break { place, block: None, what: what.into() });
        }
    }
}

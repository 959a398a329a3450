//! Which cell owns which wallet: a map of all buckets, pins for single wallets, and where each cell's instances are.
//!
//! A placement is immutable; a change makes a new one with a higher version. Lookup is an array access and, only if
//! pins exist, one hash lookup.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ids::{BUCKETS, Bucket, CellId, CellIndex, InstanceId, WalletId, ZoneId};
use crate::role::Role;

/// Largest share of all buckets, in percent, that an update may move unless it says that this is meant. A single new
/// or evacuated cell of a fleet of three moves a third: that is never an accident of a cell's weight, so it must be said.
pub const MAX_UNINTENDED_MOVE_PERCENT: usize = 10;

/// Where a cell is in its life. Routers send requests to any cell that owns a wallet; the state
/// guides the operators' tools: which cell gets new customers, which is being emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellState {
    Joining,
    Active,
    Draining,
    Evacuating,
    Empty,
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEntry {
    pub id: InstanceId,
    /// `host:port`; plain HTTP/1.1.
    pub address: String,
    /// Absent in placements from before there were roles, and then everything.
    #[serde(default, skip_serializing_if = "Role::is_all")]
    pub role: Role,
    /// Its zone; absent where none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellEntry {
    pub index: CellIndex,
    pub id: CellId,
    pub state: CellState,
    pub weight: u32,
    pub instances: Vec<InstanceEntry>,
}

/// A run of neighbouring buckets with one owner: how owners travel and are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRun {
    pub first: u16,
    /// Inclusive.
    pub last: u16,
    pub cell: CellIndex,
}

/// One wallet that lives elsewhere than its bucket; `cell: None` in a delta takes the pin away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub wallet: WalletId,
    pub cell: Option<CellIndex>,
}

/// A zone that requests stay out of, as long as there is anywhere else to go. It ends by itself: an
/// operator must not have to remember it after work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvoidedZone {
    pub zone: ZoneId,
    /// Seconds since 1970.
    pub until_s: u64,
}

/// What the control plane publishes: a whole placement (`base: None`) or what changed since version `base`.
/// The lists of cells and of avoided zones are always whole; they are short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementUpdate {
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Set by an operator's plan that moves more than [`MAX_UNINTENDED_MOVE_PERCENT`].
    #[serde(default)]
    pub intended: bool,
    pub cells: Vec<CellEntry>,
    pub buckets: Vec<BucketRun>,
    #[serde(default)]
    pub pins: Vec<Pin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoided: Vec<AvoidedZone>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("version {offered} is not newer than {current}")]
    NotNewer { current: u64, offered: u64 },
    #[error("the delta starts at version {base}, not at {current}")]
    OtherBase { current: u64, base: u64 },
    #[error("the placement has no cell or an unowned bucket")]
    Empty,
    #[error("bucket or pin owned by cell {0:?}, which is not in the list of cells")]
    UnknownCell(CellIndex),
    #[error("a run of buckets ends before it starts")]
    BadRun,
    #[error(
        "{moved} of {BUCKETS} buckets would move, more than {MAX_UNINTENDED_MOVE_PERCENT} %, and the update does not say it is meant"
    )]
    TooManyMoves { moved: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    version: u64,
    cells: Vec<CellEntry>,
    owners: Box<[CellIndex; BUCKETS]>,
    pins: HashMap<WalletId, CellIndex>,
    avoided: Vec<AvoidedZone>,
}

impl Placement {
    /// A placement from a whole update: the first one a router learns, or one read back from its cache.
    pub fn from_full(update: &PlacementUpdate) -> Result<Self, PlacementError> {
        let mut placement = Self {
            version: update.version,
            cells: update.cells.clone(),
            owners: Box::new([CellIndex::NONE; BUCKETS]),
            pins: HashMap::new(),
            avoided: update.avoided.clone(),
        };
        placement.absorb(update)?;
        Ok(placement)
    }

    /// The placement after `update`, or why it is refused; `self` stays what it was.
    pub fn updated(&self, update: &PlacementUpdate) -> Result<Self, PlacementError> {
        if update.version <= self.version {
            return Err(PlacementError::NotNewer { current: self.version, offered: update.version });
        }
        let next = match update.base {
            None => Self::from_full(update)?,
            Some(base) if base == self.version => {
                let mut next = self.clone();
                next.version = update.version;
                next.cells = update.cells.clone();
                next.avoided = update.avoided.clone();
                next.absorb(update)?;
                next
            }
            Some(base) => return Err(PlacementError::OtherBase { current: self.version, base }),
        };
        let moved = self.owners.iter().zip(next.owners.iter()).filter(|(before, after)| before != after).count();
        if !update.intended && moved * 100 > BUCKETS * MAX_UNINTENDED_MOVE_PERCENT {
            return Err(PlacementError::TooManyMoves { moved });
        }
        Ok(next)
    }

    fn absorb(&mut self, update: &PlacementUpdate) -> Result<(), PlacementError> {
        for run in &update.buckets {
            if run.first > run.last {
                return Err(PlacementError::BadRun);
            }
            self.owners[usize::from(run.first)..=usize::from(run.last)].fill(run.cell);
        }
        for pin in &update.pins {
            match pin.cell {
                Some(cell) => self.pins.insert(pin.wallet, cell),
                None => self.pins.remove(&pin.wallet),
            };
        }
        if self.cells.is_empty() || self.owners.contains(&CellIndex::NONE) {
            return Err(PlacementError::Empty);
        }
        let known = |cell: CellIndex| self.cells.iter().any(|entry| entry.index == cell);
        let stranger = self.runs().iter().map(|run| run.cell).chain(self.pins.values().copied()).find(|&c| !known(c));
        stranger.map_or(Ok(()), |cell| Err(PlacementError::UnknownCell(cell)))
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn cells(&self) -> &[CellEntry] {
        &self.cells
    }

    pub fn owners(&self) -> &[CellIndex; BUCKETS] {
        &self.owners
    }

    pub fn pins(&self) -> &HashMap<WalletId, CellIndex> {
        &self.pins
    }

    /// Zones that were left, also those of which the time is over.
    pub fn avoided(&self) -> &[AvoidedZone] {
        &self.avoided
    }

    /// The cell that owns `wallet`: its pin, or its bucket's owner.
    pub fn cell_of(&self, wallet: WalletId) -> CellIndex {
        if !self.pins.is_empty()
            && let Some(&cell) = self.pins.get(&wallet)
        {
            return cell;
        }
        self.owner_of(wallet.bucket())
    }

    pub fn owner_of(&self, bucket: Bucket) -> CellIndex {
        self.owners[bucket.index()]
    }

    pub fn cell(&self, index: CellIndex) -> Option<&CellEntry> {
        self.cells.iter().find(|entry| entry.index == index)
    }

    pub fn cell_named(&self, id: &CellId) -> Option<&CellEntry> {
        self.cells.iter().find(|entry| &entry.id == id)
    }

    /// The owners as runs, in bucket order.
    pub fn runs(&self) -> Vec<BucketRun> {
        let mut runs: Vec<BucketRun> = Vec::new();
        for (bucket, &cell) in self.owners.iter().enumerate() {
            let bucket = u16::try_from(bucket).expect("there are 65,536 buckets");
            match runs.last_mut() {
                Some(run) if run.cell == cell => run.last = bucket,
                _ => runs.push(BucketRun { first: bucket, last: bucket, cell }),
            }
        }
        runs
    }

    /// This placement as a whole update: what is stored, and sent to a router that knows nothing. Pins in wallet order.
    pub fn to_full(&self) -> PlacementUpdate {
        let mut pins: Vec<_> = self.pins.iter().map(|(&wallet, &cell)| Pin { wallet, cell: Some(cell) }).collect();
        pins.sort_by_key(|pin| pin.wallet);
        PlacementUpdate {
            version: self.version,
            base: None,
            intended: true,
            cells: self.cells.clone(),
            buckets: self.runs(),
            pins,
            avoided: self.avoided.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(index: u16) -> CellEntry {
        CellEntry {
            index: CellIndex(index),
            id: CellId::parse(format!("cell-{index}")).expect("sound"),
            state: CellState::Active,
            weight: 1,
            instances: vec![],
        }
    }

    fn run(first: u16, last: u16, cell: u16) -> BucketRun {
        BucketRun { first, last, cell: CellIndex(cell) }
    }

    fn update(version: u64, base: Option<u64>, buckets: Vec<BucketRun>) -> PlacementUpdate {
        let cells = vec![cell(0), cell(1)];
        PlacementUpdate { version, base, intended: false, cells, buckets, pins: vec![], avoided: vec![] }
    }

    fn halves() -> Placement {
        Placement::from_full(&update(1, None, vec![run(0, 0x7fff, 0), run(0x8000, 0xffff, 1)])).expect("sound")
    }

    #[test]
    fn a_pin_wins_over_the_bucket_and_goes_away_again() {
        let wallet: WalletId = "6a836b5a-367e-4abc-8347-a2aaf56afd1c".parse().expect("a UUID");
        let placement = halves();
        assert_eq!(placement.cell_of(wallet), CellIndex(0));
        let mut pinned = update(2, Some(1), vec![]);
        pinned.pins = vec![Pin { wallet, cell: Some(CellIndex(1)) }];
        let placement = placement.updated(&pinned).expect("newer");
        assert_eq!(placement.cell_of(wallet), CellIndex(1));
        assert_eq!(Placement::from_full(&placement.to_full()), Ok(placement.clone()));
        let mut unpinned = update(3, Some(2), vec![]);
        unpinned.pins = vec![Pin { wallet, cell: None }];
        assert_eq!(placement.updated(&unpinned).expect("newer").cell_of(wallet), CellIndex(0));
    }

    #[test]
    fn an_instance_without_a_role_serves_all_and_is_written_so() {
        let old = r#"{"id":"cell-1-a","address":"127.0.0.1:1"}"#;
        let instance: InstanceEntry = serde_json::from_str(old).expect("an old entry");
        assert_eq!(instance.role, Role::All);
        assert_eq!(serde_json::to_string(&instance).expect("plain"), old);
        let split = InstanceEntry { role: Role::Accounts, ..instance };
        let text = serde_json::to_string(&split).expect("plain");
        assert_eq!(serde_json::from_str::<InstanceEntry>(&text).expect("a new entry"), split);
    }

    #[test]
    fn an_avoided_zone_is_in_updates_until_it_is_restored() {
        let avoided = vec![AvoidedZone { zone: ZoneId::parse("z-1").expect("sound"), until_s: 100 }];
        let left = PlacementUpdate { avoided: avoided.clone(), ..update(2, Some(1), vec![]) };
        let placement = halves().updated(&left).expect("newer");
        assert_eq!(placement.avoided(), avoided);
        assert_eq!(Placement::from_full(&placement.to_full()), Ok(placement.clone()));
        assert!(placement.updated(&update(3, Some(2), vec![])).expect("newer").avoided().is_empty());
    }

    #[test]
    fn a_bad_update_is_refused() {
        let placement = halves();
        let cases = [
            (update(1, None, vec![run(0, 0xffff, 0)]), PlacementError::NotNewer { current: 1, offered: 1 }),
            (update(3, Some(2), vec![]), PlacementError::OtherBase { current: 1, base: 2 }),
            (update(2, None, vec![run(0, 5, 0)]), PlacementError::Empty),
            (update(2, Some(1), vec![run(0, 5, 9)]), PlacementError::UnknownCell(CellIndex(9))),
            (update(2, Some(1), vec![run(5, 0, 1)]), PlacementError::BadRun),
            (update(2, Some(1), vec![run(0, 0x7fff, 1)]), PlacementError::TooManyMoves { moved: 0x8000 }),
        ];
        for (update, expected) in cases {
            assert_eq!(placement.updated(&update), Err(expected));
        }
        let meant = PlacementUpdate { intended: true, ..update(2, Some(1), vec![run(0, 0x7fff, 1)]) };
        assert_eq!(placement.updated(&meant).expect("meant").owner_of(Bucket(3)), CellIndex(1));
    }
}

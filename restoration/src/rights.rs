//! The right to create wallets in a cell with lost or rewound tables: rebuilt from what the
//! other cells' rows say, and from the placement where they say nothing. A bucket's epoch rises
//! with every change, in whichever cell: the new rows are above all that others have.
//!
//! It must never give a bucket to two cells: a move that was not published has left the placement
//! behind the rows.

use std::collections::{BTreeMap, BTreeSet};

use control_api::Refusal;
use futures_util::future::try_join_all;
use mover::Side;
use store::{Genesis, HomeChange, HomeKey, HomeRow, HomeState, MAX_HOME_CHANGES, Store};
use topology::{Bucket, CellEntry, CellId, Placement};

use crate::{Error, Result, creation_rights, refused};

/// Above what any other cell has: a move that was taken back raises the epoch by two at most after another cell's row.
const EPOCHS_ABOVE: u64 = 2;

/// Reads of rows that are under way at once: all buckets of a cell take a thousand.
const READS_AT_ONCE: usize = 16;

/// What the other cells say of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Elsewhere {
    /// The highest of all rows; 0 where a cell has it from the start.
    epoch: u64,
    /// The cell of that row.
    cell: CellId,
    state: HomeState,
}

impl Elsewhere {
    /// The cell that has the bucket, or is to decide about it.
    fn owner(&self) -> &CellId {
        match &self.state {
            HomeState::Serving | HomeState::Closing { .. } => &self.cell,
            HomeState::Moved { to } => to,
        }
    }
}

/// Writes genesis and rows. Done again, with the same placement, it writes the same.
pub async fn rebuild<S: Store>(placement: &Placement, cell: &CellEntry, store: &S, others: &[Side<S>]) -> Result<()> {
    let elsewhere = elsewhere(others).await?;
    let owned: BTreeSet<Bucket> = Bucket::all().filter(|b| is_ours(placement, cell, *b, &elsewhere)).collect();
    let from_start = owned.iter().copied().filter(|bucket| !elsewhere.contains_key(bucket));
    if !store.put_genesis(&Genesis::of(from_start)).await? {
        let detail = "its tables hold the buckets of another placement; begin with empty tables";
        return Err(refused(Refusal::NotEmpty, detail));
    }
    let changes: Vec<HomeChange> = elsewhere
        .iter()
        .filter_map(|(bucket, row)| match owned.contains(bucket) {
            true => Some(served(*bucket, row.epoch)),
            // By the placement, creations come here, and have to be sent on.
            false => (placement.owner_of(*bucket) == cell.index).then(|| moved(*bucket, row)),
        })
        .collect();
    for some in changes.chunks(MAX_HOME_CHANGES) {
        if !store.change_homes(some).await? {
            check_written(store, some).await?;
        }
    }
    pins(placement, cell, store, &owned).await
}

/// The same in tables that were rewound. A bucket that left since is not created in any more, one that came is; of each,
/// the epoch is above, or that of the row by which the other cell has it.
pub async fn reconcile<S: Store>(placement: &Placement, cell: &CellEntry, store: &S, others: &[Side<S>]) -> Result<()> {
    let all: Vec<Bucket> = Bucket::all().collect();
    let elsewhere = elsewhere(others).await?;
    let owned: BTreeSet<Bucket> =
        all.iter().copied().filter(|bucket| is_ours(placement, cell, *bucket, &elsewhere)).collect();
    let genesis = store.genesis().await?;
    let from_start = |bucket: Bucket| genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
    for some in all.chunks(MAX_HOME_CHANGES) {
        let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
        let mut changes = Vec::new();
        for (&bucket, held) in some.iter().zip(store.homes(&keys).await?) {
            let serves = held.as_ref().map_or(from_start(bucket), |row| row.state == HomeState::Serving);
            let ours = held.as_ref().map_or(0, |row| row.epoch);
            let theirs = elsewhere.get(&bucket).map_or(0, |row| row.epoch);
            let row = match owned.contains(&bucket) {
                true if serves && ours >= theirs => continue,
                true => HomeRow { state: HomeState::Serving, epoch: ours.max(theirs).saturating_add(EPOCHS_ABOVE) },
                false => {
                    let to = match elsewhere.get(&bucket) {
                        Some(row) => row.owner().clone(),
                        None => placed(placement, bucket)?.id.clone(),
                    };
                    let state = HomeState::Moved { to };
                    // A row that sends customers on sends them where the bucket is by now; so does one where there is
                    // none, if by the placement creations come here.
                    let comes_here = serves || placement.owner_of(bucket) == cell.index;
                    if held.as_ref().map_or(!comes_here, |row| row.state == state) {
                        continue;
                    }
                    HomeRow { state, epoch: ours.max(theirs) }
                }
            };
            let key = HomeKey::Bucket(bucket);
            changes.push(HomeChange { key, expected: held, row, unless_chain: false, while_served: None });
        }
        if !changes.is_empty() && !store.change_homes(&changes).await? {
            return Err(Error::Unsound("rows of a cell that is being restored were changed".into()));
        }
    }
    pins(placement, cell, store, &owned).await
}

/// The newest row decides, as in a move: the row of the cell that gave a bucket away names the new
/// owner.
fn is_ours(placement: &Placement, cell: &CellEntry, bucket: Bucket, elsewhere: &BTreeMap<Bucket, Elsewhere>) -> bool {
    match elsewhere.get(&bucket) {
        Some(row) => *row.owner() == cell.id,
        None => placement.owner_of(bucket) == cell.index,
    }
}

fn placed(placement: &Placement, bucket: Bucket) -> Result<&CellEntry> {
    let owner = placement.owner_of(bucket);
    placement.cell(owner).ok_or_else(|| Error::Unsound(format!("no cell {owner:?}")))
}

fn served(bucket: Bucket, epoch: u64) -> HomeChange {
    let row = HomeRow { state: HomeState::Serving, epoch: epoch.saturating_add(EPOCHS_ABOVE) };
    HomeChange { key: HomeKey::Bucket(bucket), expected: None, row, unless_chain: false, while_served: None }
}

fn moved(bucket: Bucket, row: &Elsewhere) -> HomeChange {
    let row = HomeRow { state: HomeState::Moved { to: row.owner().clone() }, epoch: row.epoch };
    HomeChange { key: HomeKey::Bucket(bucket), expected: None, row, unless_chain: false, while_served: None }
}

/// The newest row of any other cell for each bucket of which any has one, or has it from the start.
async fn elsewhere<S: Store>(others: &[Side<S>]) -> Result<BTreeMap<Bucket, Elsewhere>> {
    let all: Vec<Bucket> = Bucket::all().collect();
    let mut newest: BTreeMap<Bucket, Elsewhere> = BTreeMap::new();
    for side in others {
        let genesis = side.store.genesis().await?;
        let from_start = |bucket: Bucket| genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
        for some in all.chunks(MAX_HOME_CHANGES * READS_AT_ONCE) {
            let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
            let pages = try_join_all(keys.chunks(MAX_HOME_CHANGES).map(|keys| side.store.homes(keys))).await?;
            for (&bucket, row) in some.iter().zip(pages.into_iter().flatten()) {
                let start = || from_start(bucket).then_some(HomeRow { state: HomeState::Serving, epoch: 0 });
                let Some(HomeRow { state, epoch }) = row.or_else(start) else { continue };
                let said = Elsewhere { epoch, cell: side.cell.clone(), state };
                // Of two of one move, the one that serves.
                let is_newer = |known: &Elsewhere| {
                    (epoch, said.state == HomeState::Serving) > (known.epoch, known.state == HomeState::Serving)
                };
                if newest.get(&bucket).is_none_or(is_newer) {
                    newest.insert(bucket, said);
                }
            }
        }
    }
    Ok(newest)
}

/// The rows may stand there already, from a restore that was interrupted.
async fn check_written(store: &impl Store, wanted: &[HomeChange]) -> Result<()> {
    let keys: Vec<HomeKey> = wanted.iter().map(|change| change.key).collect();
    let rows = store.homes(&keys).await?;
    let differs = wanted.iter().zip(rows).find(|(change, row)| row.as_ref() != Some(&change.row));
    differs.map_or(Ok(()), |(change, _)| Err(Error::Unsound(format!("{:?} has another row already", change.key))))
}

/// Single customers that are not where their bucket is.
async fn pins(placement: &Placement, cell: &CellEntry, store: &impl Store, owned: &BTreeSet<Bucket>) -> Result<()> {
    for (&wallet, &pinned) in placement.pins() {
        match (pinned == cell.index, owned.contains(&wallet.bucket())) {
            (true, false) => drop(creation_rights::grant(store, wallet).await?),
            (false, true) => {
                let target = placement.cell(pinned).ok_or_else(|| Error::Unsound(format!("no cell {pinned:?}")))?;
                creation_rights::deny(store, wallet, &target.id).await?;
            }
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

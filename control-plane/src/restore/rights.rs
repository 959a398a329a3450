//! The right to create wallets in a cell whose tables are lost: made anew from the placement, and from what the other cells'
//! rows say. A bucket's epoch rises with every change, in whichever cell: the new rows are above all that others have.

use std::collections::BTreeMap;

use mover::Side;
use store::dynamodb::DynamoStore;
use store::{Genesis, HomeChange, HomeKey, HomeRow, HomeState, Homes, MAX_HOME_CHANGES};
use topology::{Bucket, CellIndex, Placement};

use crate::customers::creation_rights;
use crate::error::{Error, Result, refused};

/// Above what any other cell has: a move that was taken back raises the epoch by two at most after another cell's row.
const EPOCHS_ABOVE: u64 = 2;

/// Writes genesis and rows. Done again, with the same placement, it writes the same.
pub async fn rebuild(
    placement: &Placement,
    cell: CellIndex,
    store: &DynamoStore,
    others: &[Side<DynamoStore>],
) -> Result<()> {
    let owned: Vec<Bucket> = Bucket::all().filter(|bucket| placement.owner_of(*bucket) == cell).collect();
    let epochs = epochs_elsewhere(&owned, others).await?;
    let from_start = owned.iter().copied().filter(|bucket| !epochs.contains_key(bucket));
    if !store.put_genesis(&Genesis::of(from_start)).await? {
        let detail = "its tables hold the buckets of another placement; begin with empty tables";
        return Err(refused(409, "not_empty", "The cell's tables are not empty", detail));
    }
    let changes: Vec<HomeChange> = epochs.iter().map(|(bucket, epoch)| served(*bucket, *epoch)).collect();
    for some in changes.chunks(MAX_HOME_CHANGES) {
        if !store.change_homes(some).await? {
            check_written(store, some).await?;
        }
    }
    pins(placement, cell, store).await
}

/// The same in tables that were rewound. A bucket that left since is not created in any more, one that came is; of each,
/// the epoch is above, or that of the row by which the other cell has it.
pub async fn reconcile(
    placement: &Placement,
    cell: CellIndex,
    store: &DynamoStore,
    others: &[Side<DynamoStore>],
) -> Result<()> {
    let all: Vec<Bucket> = Bucket::all().collect();
    let epochs = epochs_elsewhere(&all, others).await?;
    let genesis = store.genesis().await?;
    let from_start = |bucket: Bucket| genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
    for some in all.chunks(MAX_HOME_CHANGES) {
        let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
        let mut changes = Vec::new();
        for (&bucket, held) in some.iter().zip(store.homes(&keys).await?) {
            let serves = held.as_ref().map_or(from_start(bucket), |row| row.state == HomeState::Serving);
            let (ours, theirs) = (held.as_ref().map_or(0, |row| row.epoch), epochs.get(&bucket).copied().unwrap_or(0));
            let owner = placement.owner_of(bucket);
            let row = match owner == cell {
                true if serves && ours >= theirs => continue,
                true => HomeRow { state: HomeState::Serving, epoch: ours.max(theirs).saturating_add(EPOCHS_ABOVE) },
                false if !serves && !is_closing(held.as_ref()) => continue,
                false => {
                    let to = placement.cell(owner).ok_or_else(|| Error::Unsound(format!("no cell {owner:?}")))?;
                    HomeRow { state: HomeState::Moved { to: to.id.clone() }, epoch: ours.max(theirs) }
                }
            };
            let key = HomeKey::Bucket(bucket);
            changes.push(HomeChange { key, expected: held, row, unless_chain: false, while_served: None });
        }
        if !changes.is_empty() && !store.change_homes(&changes).await? {
            return Err(Error::Unsound("rows of a cell that is being restored were changed".into()));
        }
    }
    pins(placement, cell, store).await
}

fn is_closing(row: Option<&HomeRow>) -> bool {
    matches!(row.map(|row| &row.state), Some(HomeState::Closing { .. }))
}

fn served(bucket: Bucket, epoch: u64) -> HomeChange {
    let row = HomeRow { state: HomeState::Serving, epoch: epoch.saturating_add(EPOCHS_ABOVE) };
    HomeChange { key: HomeKey::Bucket(bucket), expected: None, row, unless_chain: false, while_served: None }
}

/// The highest epoch that another cell has for each bucket of which any has a row.
async fn epochs_elsewhere(owned: &[Bucket], others: &[Side<DynamoStore>]) -> Result<BTreeMap<Bucket, u64>> {
    let mut epochs: BTreeMap<Bucket, u64> = BTreeMap::new();
    for side in others {
        for some in owned.chunks(MAX_HOME_CHANGES) {
            let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
            for (bucket, row) in some.iter().zip(side.store.homes(&keys).await?) {
                if let Some(row) = row {
                    let known = epochs.entry(*bucket).or_default();
                    *known = (*known).max(row.epoch);
                }
            }
        }
    }
    Ok(epochs)
}

/// The rows may stand there already, from a restore that was interrupted.
async fn check_written(store: &DynamoStore, wanted: &[HomeChange]) -> Result<()> {
    let keys: Vec<HomeKey> = wanted.iter().map(|change| change.key).collect();
    let rows = store.homes(&keys).await?;
    let differs = wanted.iter().zip(rows).find(|(change, row)| row.as_ref() != Some(&change.row));
    differs.map_or(Ok(()), |(change, _)| Err(Error::Unsound(format!("{:?} has another row already", change.key))))
}

/// Single customers who are not where their bucket is.
async fn pins(placement: &Placement, cell: CellIndex, store: &DynamoStore) -> Result<()> {
    for (&wallet, &pinned) in placement.pins() {
        let bucket_is_ours = placement.owner_of(wallet.bucket()) == cell;
        match (pinned == cell, bucket_is_ours) {
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

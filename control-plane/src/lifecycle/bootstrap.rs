//! The first placement: each cell gets the buckets it may create wallets in, then version 1 is
//! published.
//!
//! May be killed anywhere and run again, also by two at once: what it writes follows from the cells and their weights
//! alone, every row is put only if absent, and a different row stops it. It must never touch an existing placement.

use control_api::{Bootstrap, Bootstrapped, CellSpec, Refusal};
use store::{Genesis, Homes};
use topology::placement::{BucketRun, CellState};
use topology::shares::{BucketMove, moves_to_fair_shares};
use topology::{BUCKETS, Bucket, CellEntry, CellIndex, Placement, PlacementUpdate};

use crate::cells::fleet::Fleet;
use crate::error::{Error, Result, refused};
use crate::lifecycle::names;

pub async fn bootstrap(fleet: &Fleet, wanted: &Bootstrap) -> Result<Bootstrapped> {
    if let Some(now) = fleet.placements.refresh().await? {
        return Ok(compared(&now.placement, wanted));
    }
    names::check(&wanted.cells)?;
    let first = first_placement(&wanted.cells)?;
    for cell in &wanted.cells {
        fleet.registry.put(cell).await?;
    }
    for cell in first.cells() {
        let spec = wanted.cells.iter().find(|spec| spec.id == cell.id).expect("the placement was made from these");
        let owned = Bucket::all().filter(|&bucket| first.owner_of(bucket) == cell.index);
        if !fleet.store(&spec.dynamodb).await.put_genesis(&Genesis::of(owned)).await? {
            return Err(genesis_differs(spec));
        }
    }
    let (now, created) = fleet.placements.publish_first(&first.to_full(), &wanted.because).await?;
    Ok(Bootstrapped { created, ..compared(&now.placement, wanted) })
}

/// Weights decide; the order in which cells are listed gives their numbers.
pub fn first_placement(cells: &[CellSpec]) -> Result<Placement> {
    let entries: Vec<CellEntry> = (0..)
        .zip(cells)
        .map(|(index, cell)| CellEntry {
            index: CellIndex(index),
            id: cell.id.clone(),
            state: CellState::Active,
            weight: cell.weight,
            instances: cell.instances.clone(),
        })
        .collect();
    if entries.iter().all(|cell| cell.weight == 0) {
        return Err(refused(Refusal::NoWeight, "give at least one cell a weight above 0"));
    }
    let weights: Vec<_> = entries.iter().map(|cell| (cell.index, cell.weight)).collect();
    let unowned = Box::new([CellIndex::NONE; BUCKETS]);
    let single = |step: BucketMove| BucketRun { first: step.bucket.0, last: step.bucket.0, cell: step.to };
    let buckets = moves_to_fair_shares(&unowned, &weights).into_iter().map(single).collect();
    let (pins, avoided) = (vec![], vec![]);
    let update = PlacementUpdate { version: 1, base: None, intended: true, cells: entries, buckets, pins, avoided };
    Placement::from_full(&update).map_err(Error::from)
}

fn compared(placement: &Placement, wanted: &Bootstrap) -> Bootstrapped {
    let missing = wanted.cells.iter().filter(|cell| placement.cell_named(&cell.id).is_none());
    Bootstrapped {
        version: placement.version(),
        created: false,
        not_registered: missing.map(|cell| cell.id.clone()).collect(),
    }
}

fn genesis_differs(cell: &CellSpec) -> Error {
    let detail = format!(
        "the tables of {} ({}) were set up for other buckets: bootstrap with the cells and weights of the first try, \
         or give the cell empty tables",
        cell.id, cell.dynamodb.table_prefix
    );
    refused(Refusal::GenesisDiffers, detail)
}

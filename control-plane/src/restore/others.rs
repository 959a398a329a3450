//! The other cells that a restore looks at, for what they hold of the cell's wallets. A cell that changes its Region does so
//! without those that were lost with the former one.
//!
//! It must never leave out a cell that may hold what the archive lacks: a wallet that left shortly before the loss would
//! have a second home.

use control_api::{CellSpec, Refusal};
use futures_util::future::join_all;
use ledger::Timestamp;
use mover::Side;
use store::Homes;
use store::dynamodb::DynamoStore;
use store::place::{Place, Walk};
use topology::{CellEntry, CellId, CellState, Placement};

use super::archived::Refills;
use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement, refused, unknown_cell};
use crate::operations;
use crate::operations::service::Operations;
use crate::regions::briefly;

/// The cells that a restore takes into account, and those that it does without.
pub(super) struct Others {
    pub sides: Vec<Side<DynamoStore>>,
    pub lost: Vec<CellId>,
}

fn exists(cell: &CellEntry) -> bool {
    cell.state != CellState::Removed
}

/// All of them: one that cannot be read is found out later.
pub(super) async fn all(fleet: &Fleet, placement: &Placement, cell: &CellId) -> Result<Vec<Side<DynamoStore>>> {
    let mut sides = Vec::new();
    for other in placement.cells().iter().filter(|other| other.id != *cell && exists(other)) {
        sides.push(fleet.side(&other.id).await?);
    }
    Ok(sides)
}

/// The same, but for those of the Region which this cell has left that do not answer. To be boxed: a restore is deep.
pub(super) async fn within_reach(
    operations: &Operations,
    refills: &Refills,
    placement: &Placement,
    cell: &CellId,
) -> Result<Others> {
    let fleet = &*operations.fleet;
    let sides = all(fleet, placement, cell).await?;
    let spec = fleet.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?.spec;
    let Some(left) = spec.standby.as_ref().filter(|_| spec.region_epoch > 0) else {
        return Ok(Others { sides, lost: vec![] });
    };
    let lost = silent(fleet, placement, &left.dynamodb.region, |other| other.id != *cell).await?;
    check_settled(operations, refills, cell, spec.region_epoch, &lost).await?;
    let sides = sides.into_iter().filter(|side| !lost.contains(&side.cell)).collect();
    Ok(Others { sides, lost })
}

/// Before a cell leaves its Region: refuses if it could not be restored in the other one. Cells that have a standby go along.
pub(crate) async fn check_lost(
    operations: &Operations,
    refills: &Refills,
    spec: &CellSpec,
    next_epoch: u64,
) -> Result<()> {
    let stays = |other: &CellSpec| other.id != spec.id && other.standby.is_none();
    let now = operations.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let lost = silent(&operations.fleet, &now.placement, &spec.dynamodb.region, stays).await?;
    check_settled(operations, refills, &spec.id, next_epoch, &lost).await
}

/// The cells with tables in a Region that do not answer.
async fn silent(
    fleet: &Fleet,
    placement: &Placement,
    region: &str,
    is_wanted: impl Fn(&CellSpec) -> bool,
) -> Result<Vec<CellId>> {
    let specs = fleet.registry.all().await?.into_values().map(|record| record.spec);
    let is_there =
        |spec: &CellSpec| spec.dynamodb.region == region && placement.cell_named(&spec.id).is_some_and(exists);
    let there = specs.filter(|spec| is_there(spec) && is_wanted(spec));
    let asked = there.map(|spec| async move {
        let store = fleet.store(&spec.dynamodb).await;
        let answer = briefly(async { Ok(store.genesis().await?) }).await;
        answer.is_none().then_some(spec.id)
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// What moved between the cell and lost ones has to be archived: then the archive says of each wallet where it lives.
async fn check_settled(
    operations: &Operations,
    refills: &Refills,
    cell: &CellId,
    epoch: u64,
    lost: &[CellId],
) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let archived = archived_until(refills, cell, epoch).await?;
    match operations::unsettled(operations, cell, lost, archived).await? {
        None => Ok(()),
        Some(id) => {
            let lost: Vec<&str> = lost.iter().map(CellId::as_str).collect();
            let detail = format!(
                "{} cannot be read, and the archive of {cell} may lack what {id} moved between them: \
                 fail that cell over too, wait for its tables, or remove it if they are gone for good",
                lost.join(", ")
            );
            Err(refused(Refusal::CellTablesUnavailable, detail))
        }
    }
}

/// The time of the newest block that was archived before this epoch, if all before it is archived too.
async fn archived_until(refills: &Refills, cell: &CellId, epoch: u64) -> Result<Option<Timestamp>> {
    let archive = refills.archive(cell)?;
    let newest = archive.newest(0).await.map_err(restoration::Error::from)?;
    let last = match newest {
        // The entry by which the epoch began.
        Some(newest) if newest.epoch == epoch && newest.blocks == 0 => {
            archive.entry(newest.number.saturating_sub(1)).await.map_err(restoration::Error::from)?
        }
        newest => newest.filter(|newest| newest.epoch < epoch),
    };
    let is_whole = |position: &str| Place::parse(position).is_some_and(|place| place.walk == Walk::Done);
    Ok(last.filter(|last| is_whole(&last.position)).map(|last| last.last_at))
}

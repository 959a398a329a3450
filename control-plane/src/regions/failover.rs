//! Takes a cell to its other Region. Each step may be asked for again, by any operator, after any crash.
//!
//! The order decides what can be lost. While the former Region answers, its processes stop first and archive what they
//! have. Then an entry of the archive's log ends their epoch: nothing that they write later is in the log, which is all that
//! the new Region gets. Then the registry and the placement name the new Region; its processes wait until the cell is
//! restored there, as any cell is.

use archive::Archive;
use control_api::regions::{FailedOver, Failover, Step};
use control_api::{CellSpec, Refusal, Standby};
use mover::wall_clock;
use store::place::Place;
use topology::config::Replication;
use topology::{CellId, Placement};

use super::{briefly, say, says_home};
use crate::because::check_meant;
use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement, refused, unknown_cell};
use crate::operations;
use crate::operations::service::Operations;
use crate::placement::placements::Delta;
use crate::restore::archived::Refills;
use crate::restore::{others, stand};

/// The archive of a Region that has stopped is complete when nothing was added to it for so long.
const QUIET_MICROS: i64 = 3_000_000;
/// Attempts to end the log, against a Region that goes on writing to it.
const FENCES_MAX: usize = 20;

pub async fn failover(
    operations: &Operations,
    refills: &Refills,
    cell: &CellId,
    wanted: &Failover,
) -> Result<FailedOver> {
    check_meant(&wanted.because)?;
    let fleet = &*operations.fleet;
    let record = fleet.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
    if record.spec.dynamodb.region == wanted.to && record.spec.region_epoch > 0 {
        return go_on(fleet, &record.spec, wanted).await;
    }
    let standby = record.spec.standby.clone().filter(|standby| standby.dynamodb.region == wanted.to);
    let none = || refused(Refusal::NoStandby, format!("{cell} has no tables in {}: `ctl cell list`", wanted.to));
    let standby = standby.ok_or_else(none)?;
    operations::check_nothing_moves(operations, cell).await?;
    let epoch = record.spec.region_epoch.saturating_add(1);
    let archive = match standby.replication {
        Replication::Archive => {
            Box::pin(others::check_lost(operations, refills, &record.spec, epoch)).await?;
            Some(refills.archive(cell)?)
        }
        Replication::GlobalTable => None,
    };
    let fenced = briefly(say(fleet, &record.spec.dynamodb, &wanted.to, epoch, &wanted.because)).await.is_some();
    let waiting = |why: String| Ok(FailedOver { epoch, step: Step::Waiting { why }, fenced });
    if fenced {
        for instance in &record.spec.instances {
            if fleet.instances.may_write(instance).await {
                return waiting(format!("{} stops", instance.id));
            }
        }
    }
    if let Some(archive) = &archive {
        let newest = archive.newest(0).await?;
        let age = newest.as_ref().map(|newest| wall_clock().micros().saturating_sub(newest.at.micros()));
        let is_ended = newest.is_some_and(|newest| newest.epoch >= epoch);
        if fenced && !is_ended && age.is_some_and(|age| age < QUIET_MICROS) {
            return waiting("its archive is still written to".to_owned());
        }
        end_epoch(fleet, archive, &standby, epoch).await?;
    }
    let former = Standby {
        dynamodb: record.spec.dynamodb.clone(),
        instances: record.spec.instances.clone(),
        replication: standby.replication,
    };
    let spec = CellSpec {
        instances: standby.instances,
        dynamodb: standby.dynamodb,
        standby: Some(former),
        region_epoch: epoch,
        ..record.spec.clone()
    };
    fleet.registry.change(&record, &spec).await?;
    go_on(fleet, &spec, wanted).await
}

/// Adds the entry with which the new epoch begins, unless it is there.
async fn end_epoch(fleet: &Fleet, archive: &Archive, standby: &Standby, epoch: u64) -> Result<()> {
    // Whatever the new Region's tables hold by now is from the log. What comes later is archived, some of it again.
    let store = fleet.store_with_stream(&standby.dynamodb).await;
    let position = Place::after_walk(store::Changes::newest_position(&store).await?).to_text();
    for _ in 0..FENCES_MAX {
        let newest = archive.newest(0).await?;
        if newest.as_ref().is_some_and(|newest| newest.epoch >= epoch) {
            return Ok(());
        }
        if archive.fence(newest.as_ref(), epoch, wall_clock(), position.clone()).await?.is_some() {
            return Ok(());
        }
    }
    Err(refused(Refusal::TryAgain, "the former Region kept writing to the archive"))
}

/// The registry names the new Region: so does the placement, and the tables of both once they can be reached.
async fn go_on(fleet: &Fleet, spec: &CellSpec, wanted: &Failover) -> Result<FailedOver> {
    let moved = |placement: &Placement| {
        let entry = placement.cell_named(&spec.id).ok_or_else(|| unknown_cell(&spec.id))?;
        if entry.instances == spec.instances {
            return Ok(None);
        }
        let mut cells = placement.cells().to_vec();
        for cell in cells.iter_mut().filter(|cell| cell.id == spec.id) {
            cell.instances.clone_from(&spec.instances);
        }
        Ok(Some(Delta { cells: Some(cells), ..Delta::default() }))
    };
    fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    fleet.placements.change("cell_failed_over", &wanted.because, moved).await?;
    let fenced = fence(fleet, spec, wanted).await;
    let by_table = spec.standby.as_ref().is_some_and(|standby| standby.replication == Replication::GlobalTable);
    let state = if by_table { None } else { stand(&fleet.store(&spec.dynamodb).await).await? };
    let is_whole = by_table || state.is_some_and(|(_, state)| state.done);
    if is_whole {
        says_home(fleet, &spec.id, &wanted.because).await?;
    }
    let step = if is_whole { Step::Serving } else { Step::Restore };
    Ok(FailedOver { epoch: spec.region_epoch, step, fenced })
}

async fn fence(fleet: &Fleet, spec: &CellSpec, wanted: &Failover) -> bool {
    let Some(former) = &spec.standby else { return true };
    briefly(say(fleet, &former.dynamodb, &wanted.to, spec.region_epoch, &wanted.because)).await.is_some()
}

//! Cells as an operator sees and adds them: the registry's record and the placement's entry together.
//!
//! It must never give an added cell a bucket: those come to it by moves, customers by pins.

use std::collections::HashMap;
use std::sync::Arc;

use control_api::{AddCell, CellSpec, CellStatus, CellView, Refusal, SetAddresses, Status};
use store::{Genesis, Homes};
use topology::placement::CellState;
use topology::{BUCKETS, CellEntry, CellId, CellIndex, Placement};

use crate::cells::drift;
use crate::cells::fleet::Fleet;
use crate::cells::registry::Record;
use crate::error::{Error, Result, no_placement, refused, unknown_cell};
use crate::lifecycle::names;
use crate::placement::placements::Delta;

/// Registers a cell that owns nothing yet: it is joining until it owns a bucket or is taken into service. Repeating it is harmless; another cell under the same name is refused.
pub async fn add(fleet: &Fleet, wanted: &AddCell) -> Result<CellView> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let spec = &wanted.cell;
    if now.placement.cell_named(&spec.id).is_none() {
        check_names(fleet, &now.placement, spec).await?;
        fleet.registry.put(spec).await?;
        if !fleet.store(&spec.dynamodb).await.put_genesis(&Genesis::of(std::iter::empty())).await? {
            let detail =
                format!("the tables of {} already hold buckets of another placement: give it empty tables", spec.id);
            return Err(refused(Refusal::GenesisDiffers, detail));
        }
        fleet.placements.change("cell_added", &wanted.because, |placement| added(placement, spec)).await?;
        fleet.counts.count_soon();
    }
    let record = fleet.registry.get(&spec.id).await?.ok_or_else(|| unknown_cell(&spec.id))?;
    if record.spec.dynamodb != spec.dynamodb || record.spec.instances != spec.instances {
        let detail = format!("{} is registered with other addresses; choose another name for a new cell", spec.id);
        return Err(refused(Refusal::CellExists, detail));
    }
    show(fleet, &spec.id).await
}

/// Against all cells that are there; a removed one's things may be used again.
pub async fn check_names(fleet: &Fleet, placement: &Placement, spec: &CellSpec) -> Result<()> {
    let mut records = fleet.registry.all().await?;
    let is_there = |id: &CellId| placement.cell_named(id).is_some_and(|cell| cell.state != CellState::Removed);
    records.retain(|id, _| id != &spec.id && is_there(id));
    names::check(records.values().map(|record| &record.spec).chain([spec]))
}

fn added(placement: &Placement, spec: &CellSpec) -> Result<Option<Delta>> {
    if placement.cell_named(&spec.id).is_some() {
        return Ok(None);
    }
    let next = placement.cells().iter().map(|cell| cell.index.0 + 1).max().unwrap_or(0);
    if usize::from(next) >= topology::config::MAX_CELLS {
        return Err(refused(Refusal::TooManyCells, "the registry is full"));
    }
    let mut cells = placement.cells().to_vec();
    cells.push(CellEntry {
        index: CellIndex(next),
        id: spec.id.clone(),
        state: CellState::Joining,
        weight: spec.weight,
        instances: spec.instances.clone(),
    });
    Ok(Some(Delta { cells: Some(cells), ..Delta::default() }))
}

/// The cell is the same; its processes or tables have moved, within the Region: to another one it fails over.
pub async fn set_addresses(fleet: &Fleet, id: &CellId, wanted: &SetAddresses) -> Result<CellView> {
    let record = fleet.registry.get(id).await?.ok_or_else(|| unknown_cell(id))?;
    let (here, there) = (&record.spec.dynamodb.region, &wanted.dynamodb.region);
    if here != there {
        let detail = format!("{id} is in {here}: `ctl cell failover {id} --to {there}` takes it to its second Region");
        return Err(refused(Refusal::UnsoundChange, detail));
    }
    let (instances, dynamodb) = (wanted.instances.clone(), wanted.dynamodb.clone());
    let spec = CellSpec { instances, dynamodb, ..record.spec.clone() };
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    check_names(fleet, &now.placement, &spec).await?;
    fleet.registry.change(&record, &spec).await?;
    let moved = |placement: &Placement| {
        let entry = placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
        if entry.instances == wanted.instances {
            return Ok(None);
        }
        let mut cells = placement.cells().to_vec();
        for cell in cells.iter_mut().filter(|cell| &cell.id == id) {
            cell.instances.clone_from(&wanted.instances);
        }
        Ok(Some(Delta { cells: Some(cells), ..Delta::default() }))
    };
    fleet.placements.change("cell_addresses", &wanted.because, moved).await?;
    show(fleet, id).await
}

pub async fn show(fleet: &Fleet, id: &CellId) -> Result<CellView> {
    list(fleet).await?.into_iter().find(|cell| &cell.id == id).ok_or_else(|| unknown_cell(id))
}

/// In the order of their numbers; empty before the first placement.
pub async fn list(fleet: &Fleet) -> Result<Vec<CellView>> {
    let Some(now) = fleet.placements.refresh().await? else { return Ok(Vec::new()) };
    let records = fleet.registry.all().await?;
    let mut buckets: HashMap<CellIndex, usize> = HashMap::new();
    for &owner in now.placement.owners() {
        *buckets.entry(owner).or_default() += 1;
    }
    let mut pins: HashMap<CellIndex, usize> = HashMap::new();
    for &cell in now.placement.pins().values() {
        *pins.entry(cell).or_default() += 1;
    }
    let number = |of: &HashMap<CellIndex, usize>, cell: &CellEntry| of.get(&cell.index).copied().unwrap_or(0);
    let views = now.placement.cells().iter().map(|cell| {
        let record = records.get(&cell.id).ok_or_else(|| Error::Unsound(format!("{} has no record", cell.id)))?;
        Ok(view(fleet, cell, record, number(&buckets, cell), number(&pins, cell)))
    });
    views.collect()
}

fn view(fleet: &Fleet, cell: &CellEntry, record: &Record, buckets: usize, pins: usize) -> CellView {
    CellView {
        id: cell.id.clone(),
        index: cell.index.0,
        state: cell.state,
        weight: cell.weight,
        max_tps: record.spec.max_tps,
        max_customers: record.spec.max_customers,
        buckets,
        pins,
        customers: fleet.counts.of(&cell.id),
        instances: cell.instances.clone(),
        dynamodb: record.spec.dynamodb.clone(),
        standby: record.spec.standby.clone(),
        region_epoch: record.spec.region_epoch,
        created_at: record.created_at.clone(),
    }
}

/// All cells with the health of their instances, probed now and all at once.
pub async fn status(fleet: &Arc<Fleet>) -> Result<Status> {
    let cells = list(fleet).await?;
    let mut probes = Vec::new();
    for cell in &cells {
        let probed = cell.instances.iter().cloned().map(|instance| {
            let fleet = Arc::clone(fleet);
            tokio::spawn(async move { fleet.instances.probe(&instance).await })
        });
        probes.push(probed.collect::<Vec<_>>());
    }
    let mut statuses = Vec::new();
    for (cell, probed) in cells.into_iter().zip(probes) {
        let mut health = Vec::new();
        for probe in probed {
            health.push(probe.await.expect("a probe does not panic"));
        }
        let share_percent = cell.buckets as f64 * 100.0 / BUCKETS as f64;
        statuses.push(CellStatus { cell, share_percent, health });
    }
    let known = fleet.placements.known();
    let is_there = |id: &CellId| statuses.iter().any(|status| &status.cell.id == id);
    let drift = if known.is_some() { drift::find(fleet).await? } else { vec![] };
    Ok(Status {
        placement_version: known.map_or(0, |known| known.placement.version()),
        not_registered: fleet.configured.iter().map(|cell| &cell.id).filter(|id| !is_there(id)).cloned().collect(),
        drift: drift.into_iter().filter(|one| is_there(&one.cell)).collect(),
        cells: statuses,
    })
}

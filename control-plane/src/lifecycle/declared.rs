//! What a cell declares: its share of the buckets, and what it takes. An operator changes it while the cell serves.
//!
//! It must never move a bucket: `ctl rebalance` does, by the weights.

use control_api::capacity::SetCapacity;
use control_api::{Because, CellSpec, CellView, Refusal};
use topology::placement::CellState;
use topology::{CellEntry, CellId, Placement};

use super::{names, registration};
use crate::because::check_because;
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result, refused, unknown_cell};
use crate::placement::placements::Delta;

/// Attempts to write a record that others change at the same time.
const ATTEMPTS_MAX: u32 = 8;

/// The version of the placement that records the change comes first: what is done is in the audit, whatever happens then.
/// After a crash in between, the same command finishes it.
pub async fn set(fleet: &Fleet, id: &CellId, wanted: &SetCapacity) -> Result<CellView> {
    check_because(&wanted.because)?;
    if wanted.is_empty() {
        return Err(refused(Refusal::BadBody, "nothing to set: give a weight, maxTps or maxCustomers"));
    }
    let before = fleet.registry.get(id).await?.ok_or_else(|| unknown_cell(id))?.spec;
    let after = wanted.applied_to(&before);
    names::check_declared(&after)?;
    let decide = |placement: &Placement| {
        let weighed = weighed(placement, id, wanted.weight)?;
        Ok((weighed.is_some() || after != before).then_some(Delta { cells: weighed, ..Delta::default() }))
    };
    fleet.placements.change("cell_capacity", &noted(wanted, &before, &after), decide).await?;
    let mut attempts = 1;
    loop {
        let record = fleet.registry.get(id).await?.ok_or_else(|| unknown_cell(id))?;
        match fleet.registry.change(&record, &wanted.applied_to(&record.spec)).await {
            // Another operator has changed something else.
            Err(Error::Refused(refused)) if refused.refusal == Refusal::TryAgain && attempts < ATTEMPTS_MAX => {
                attempts += 1;
            }
            done => break done?,
        }
    }
    registration::show(fleet, id).await
}

/// All cells with this one's new weight; `None`: it has it. Where none is asked for, another operator's is left alone.
fn weighed(placement: &Placement, id: &CellId, weight: Option<u32>) -> Result<Option<Vec<CellEntry>>> {
    let cell = placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
    let weight = weight.unwrap_or(cell.weight);
    if cell.state == CellState::Removed {
        return Err(refused(Refusal::CellRemoved, format!("{id} declares nothing any more")));
    }
    let mut cells = placement.cells().to_vec();
    for cell in cells.iter_mut().filter(|cell| &cell.id == id) {
        cell.weight = weight;
    }
    if cells.iter().all(|cell| cell.state == CellState::Removed || cell.weight == 0) {
        return Err(refused(Refusal::NoWeight, format!("{id} is the last with a weight above 0: raise another first")));
    }
    Ok((cell.weight != weight).then_some(cells))
}

/// The reason as it is kept: what changed comes first, as an operation's number does.
fn noted(wanted: &SetCapacity, before: &CellSpec, after: &CellSpec) -> Because {
    let changes = [
        ("weight", u64::from(before.weight), u64::from(after.weight)),
        ("max_tps", before.max_tps.into(), after.max_tps.into()),
        ("max_customers", before.max_customers, after.max_customers),
    ];
    let changed = changes.iter().filter(|(_, before, after)| before != after);
    let changed: Vec<_> = changed.map(|(what, before, after)| format!("{what} {before} to {after}")).collect();
    let reason = format!("{} {}: {}", before.id, changed.join(", "), wanted.because.reason);
    Because { reason, ..wanted.because.clone() }
}

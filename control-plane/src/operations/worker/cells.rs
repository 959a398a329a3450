//! What an evacuation makes of its cell's state, at its beginning and at its end. Other operations change none.

use control_api::{OperationState, Refusal, Wanted};
use topology::placement::CellState;
use topology::{CellId, Placement};

use super::placement_reason;
use crate::error::{Result, refused};
use crate::operations::record::Operation;
use crate::operations::service::Operations;
use crate::operations::step::with_state;
use crate::placement::placements::Delta;

fn evacuated(operation: &Operation) -> Option<&CellId> {
    match &operation.wanted {
        Wanted::Evacuate { cell, .. } => Some(cell),
        _ => None,
    }
}

/// From here on the cell takes no new wallets.
pub async fn before_beginning(operations: &Operations, operation: &Operation) -> Result<()> {
    use CellState::{Active, Draining, Joining};
    let Some(cell) = evacuated(operation) else { return Ok(()) };
    let guard = operations.table.still_at(operation, &[OperationState::Planned]);
    let decide = |placement: &Placement| {
        Ok(cells(with_state(placement, cell, &[Active, Draining, Joining], CellState::Evacuating)))
    };
    let because = placement_reason(operation);
    operations.fleet.placements.change_while("cell_evacuating", &because, Some(guard), decide).await.map(|_| ())
}

/// The cell is empty, by the same placement that says so; or it is not, which is an error that says what is left.
pub async fn before_finishing(operations: &Operations, operation: &Operation) -> Result<()> {
    let Some(cell) = evacuated(operation) else { return Ok(()) };
    let decide = |placement: &Placement| {
        let index = placement.cell_named(cell).map(|cell| cell.index);
        let buckets = placement.owners().iter().filter(|&&owner| Some(owner) == index).count();
        let pins = placement.pins().values().filter(|&&pinned| Some(pinned) == index).count();
        if buckets + pins > 0 {
            let detail = format!(
                "{cell} still owns {buckets} buckets and {pins} pinned wallets that came to it meanwhile: move them \
                 with `ctl migrate`, then resume"
            );
            return Err(refused(Refusal::CellNotEmpty, detail));
        }
        Ok(cells(with_state(placement, cell, &[CellState::Evacuating], CellState::Empty)))
    };
    operations.fleet.placements.change("cell_empty", &placement_reason(operation), decide).await.map(|_| ())
}

/// The cell is again what it was.
pub async fn before_aborted(operations: &Operations, operation: &Operation) -> Result<()> {
    let Some(cell) = evacuated(operation) else { return Ok(()) };
    let before = operation.cell_before.expect("an evacuation's cell was listed when its plan was made");
    let decide = |placement: &Placement| Ok(cells(with_state(placement, cell, &[CellState::Evacuating], before)));
    operations.fleet.placements.change("cell_evacuation_ended", &placement_reason(operation), decide).await.map(|_| ())
}

fn cells(cells: Option<Vec<topology::CellEntry>>) -> Option<Delta> {
    cells.map(|cells| Delta { cells: Some(cells), ..Delta::default() })
}

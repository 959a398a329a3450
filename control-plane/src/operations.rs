//! Operations: every change of where wallets live, stored in the control plane's own tables, carried out step by step,
//! paused, resumed, taken back, and written down.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at
//! once.

pub mod claims;
pub mod done_steps;
pub mod estimate;
pub mod hands;
pub mod leftovers;
pub mod limits;
pub mod plan;
pub mod reconciler;
pub mod record;
mod rooms;
pub mod service;
pub mod start;
pub mod state;
pub mod step;
pub mod table;
mod unpinned;
pub mod verify;
pub mod worker;

use control_api::{AbortOperation, Because, MoveSummary, OperationId, OperationState, OperationView, Plan, Refusal};
use ledger::Timestamp;
use topology::CellId;

use crate::because::check_meant;
use crate::error::{Result, refused};
use crate::jobs::asked;
use crate::operations::service::Operations;
use record::Operation;
pub use start::{Started, start};
use state::Event;

/// Operations looked through for one that is under way.
const OPERATIONS_LOOKED_AT: i32 = 500;
/// A cell's archive that has a block of so long after an operation has all that the operation wrote there.
const ARCHIVED_AFTER_MICROS: i64 = if cfg!(test) { 1_000_000 } else { 60_000_000 };
/// Operations or audit entries in one answer.
pub const LIST_MAX: usize = 500;

pub async fn list(operations: &Operations, limit: i32) -> Result<Vec<OperationView>> {
    Ok(operations.table.newest(limit).await?.iter().map(Operation::view).collect())
}

pub async fn get(operations: &Operations, id: OperationId) -> Result<Operation> {
    operations.table.named(id.0).await
}

/// The plan as it is carried out.
pub async fn plan_of(operations: &Operations, id: OperationId) -> Result<Plan> {
    let operation = get(operations, id).await?;
    let steps = operations.table.read_plan(&operation.plan).await?;
    Ok(Plan {
        placement_version: operation.placement_version,
        hash: plan::hash_of(&steps),
        steps,
        moves: operation.plan.moves,
        wallets: operation.plan.wallets,
        bytes: None,
        headroom: vec![],
    })
}

pub async fn pause(operations: &Operations, id: OperationId, because: &Because) -> Result<OperationView> {
    ask(operations, id, Event::Pause, because).await
}

pub async fn resume(operations: &Operations, id: OperationId, because: &Because) -> Result<OperationView> {
    ask(operations, id, Event::Resume, because).await
}

pub async fn abort(operations: &Operations, id: OperationId, wanted: &AbortOperation) -> Result<OperationView> {
    if !wanted.force {
        return ask(operations, id, Event::Abort, &wanted.because).await;
    }
    check_meant(&wanted.because)?;
    let operation = get(operations, id).await?;
    if state::after(operation.state, Event::GiveUp).is_some() {
        worker::restore_cell(operations, &operation).await?;
    }
    ask(operations, id, Event::GiveUp, &wanted.because).await
}

async fn ask(operations: &Operations, id: OperationId, event: Event, because: &Because) -> Result<OperationView> {
    Ok(asked::ask(&operations.table, id.0, because, |_| event).await?.view())
}

/// Refuses while an operation that moves customers of this cell is under way.
pub async fn check_nothing_moves(operations: &Operations, cell: &CellId) -> Result<()> {
    let concerns = |view: &OperationView| view.moves.iter().any(|part| part.from == *cell || part.to == *cell);
    let newest = operations.table.newest(OPERATIONS_LOOKED_AT).await?;
    let mut under_way = newest.iter().filter(|operation| !operation.state.is_over());
    match under_way.find(|operation| concerns(&operation.view())) {
        None => Ok(()),
        Some(operation) => {
            let detail =
                format!("{} moves customers of {cell}: abort it first (--force gives up on it)", operation.id());
            Err(refused(Refusal::OperationUnderWay, detail))
        }
    }
}

/// An operation between a cell and others of which the cell's archive may lack something. `archived`: the time of its newest
/// block. One that was taken back may have left a wallet anywhere.
pub async fn unsettled(
    operations: &Operations,
    cell: &CellId,
    others: &[CellId],
    archived: Option<Timestamp>,
) -> Result<Option<OperationId>> {
    let between = |part: &MoveSummary| {
        (part.from == *cell && others.contains(&part.to)) || (part.to == *cell && others.contains(&part.from))
    };
    let is_archived = |view: &OperationView| {
        let finished = view.finished_at.as_deref().and_then(|at| Timestamp::parse(at).ok());
        let until = finished.map(|finished| finished.plus_micros(ARCHIVED_AFTER_MICROS));
        view.state == OperationState::Done && until.is_some_and(|until| archived.is_some_and(|at| at >= until))
    };
    let newest = operations.table.newest(OPERATIONS_LOOKED_AT).await?;
    let mut views = newest.iter().map(Operation::view);
    Ok(views.find(|view| view.moves.iter().any(between) && !is_archived(view)).map(|view| view.id))
}

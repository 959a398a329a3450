//! Operations: every change of where wallets live, stored in the control plane's own tables, carried out step by step,
//! paused, resumed, taken back, and written down.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at
//! once.

pub mod claims;
pub mod estimate;
pub mod hands;
pub mod leftovers;
pub mod limits;
pub mod plan;
pub mod reconciler;
pub mod record;
mod rooms;
pub mod service;
pub mod sightings;
pub mod start;
pub mod state;
pub mod step;
pub mod table;
mod unpinned;
pub mod verify;
pub mod worker;

use std::time::Duration;

use control_api::{AbortOperation, AuditEntry, Because, OperationId, OperationView, Plan, Refusal, now_rfc3339};
use topology::CellId;

use crate::because::{check_because, check_meant};
use crate::error::{Error, Result, refused};
use crate::operations::service::Operations;
use record::Operation;
pub use start::{Started, start};
use state::Event;

/// How often a change is decided again because another one came first.
const ATTEMPTS_MAX: u32 = 32;
const BACKOFF_MAX_MS: u64 = 40;
/// Operations looked through for one that is under way.
const OPERATIONS_LOOKED_AT: i32 = 500;
/// Operations or audit entries in one answer.
pub const LIST_MAX: usize = 500;

pub async fn list(operations: &Operations, limit: i32) -> Result<Vec<OperationView>> {
    Ok(operations.table.newest(limit).await?.iter().map(Operation::view).collect())
}

pub async fn get(operations: &Operations, id: OperationId) -> Result<Operation> {
    operations
        .table
        .get(id.0)
        .await?
        .ok_or_else(|| refused(Refusal::UnknownOperation, format!("there is no {id}: `ctl op list` shows which are")))
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

/// Lets it happen. Asked for again what has happened already, answers the same.
async fn ask(operations: &Operations, id: OperationId, event: Event, because: &Because) -> Result<OperationView> {
    check_because(because)?;
    for attempt in 0..ATTEMPTS_MAX {
        let before = get(operations, id).await?;
        let Some((mut after, entry)) = transition(&before, event, because) else {
            return match already(&before, event) {
                true => Ok(before.view()),
                false => Err(not_now(&before, event)),
            };
        };
        if event == Event::Resume {
            after.last_error = None;
        }
        if let Some(changed) = operations.table.change(&after, Some(entry)).await? {
            return Ok(changed.view());
        }
        pause_between(attempt).await;
    }
    Err(kept_changing())
}

/// The operation after `event`, with its audit entry; `None`: it cannot happen now.
pub(crate) fn transition(before: &Operation, event: Event, because: &Because) -> Option<(Operation, AuditEntry)> {
    let state = state::after(before.state, event)?;
    let at = now_rfc3339();
    let finished_at = if state.is_over() { Some(at.clone()) } else { before.finished_at.clone() };
    let entry = AuditEntry {
        at: at.clone(),
        operation: before.id(),
        kind: before.wanted.kind(),
        what: event.as_str().to_owned(),
        actor: because.actor.clone(),
        reason: because.reason.clone(),
        before: Some(before.state),
        after: state,
    };
    Some((Operation { state, updated_at: at, finished_at, ..before.clone() }, entry))
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

fn already(operation: &Operation, event: Event) -> bool {
    use control_api::OperationState::{Aborted, Aborting, Paused, Pausing, Running};
    match event {
        Event::Pause => matches!(operation.state, Pausing | Paused),
        Event::Resume => operation.state == Running,
        Event::Abort => matches!(operation.state, Aborting | Aborted),
        _ => false,
    }
}

fn not_now(operation: &Operation, event: Event) -> Error {
    let detail = format!("{} is {}: {} is not possible", operation.id(), operation.state.as_str(), event.as_str());
    refused(Refusal::OperationState, detail)
}

fn kept_changing() -> Error {
    refused(Refusal::TooManyChanges, "nothing was changed: try again")
}

async fn pause_between(attempt: u32) {
    let most = BACKOFF_MAX_MS.min(u64::from(attempt) * 4 + 2);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most))).await;
}

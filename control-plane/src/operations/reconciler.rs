//! Carries on with whatever operation is under way. Woken by a timer and by changes; its only input is the tables.
//!
//! It must never be needed for anything but progress: stopped at any point, another one carries on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use control_api::{OperationKind, OperationState};
use tokio::task::JoinSet;

use super::hands::Hands;
use super::worker::Worker;
use crate::clock::seconds_since;
use crate::error::Result;
use crate::operations::service::Operations;

/// How late an operation of another control plane, or one whose worker died, is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks that failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

pub async fn keep_reconciling(operations: &Arc<Operations>) {
    let worker = Arc::new(Worker::new(Arc::clone(operations), Hands::real()));
    // Owns the workers: they end with this.
    let mut workers = JoinSet::new();
    loop {
        while workers.try_join_next().is_some() {}
        let looked = start_missing(operations, &worker, &mut workers).await;
        if let Err(error) = looked {
            tracing::warn!(%error, "operations not looked at; trying again");
            tokio::time::sleep(TROUBLE_PAUSE).await;
        }
        let _ = tokio::time::timeout(LOOK_EVERY, operations.table.changed.notified()).await;
    }
}

/// One worker for each operation that is under way; one that works already leaves at once.
async fn start_missing(operations: &Operations, worker: &Arc<Worker>, workers: &mut JoinSet<()>) -> Result<()> {
    let register = operations.table.register().await?;
    let mut running: HashMap<OperationKind, u32> = HashMap::new();
    let (mut oldest, mut steps, mut done) = (0, 0, 0);
    for &number in register.claims.keys() {
        let Some(operation) = operations.table.get(number).await? else { continue };
        if operation.state == OperationState::Running {
            *running.entry(operation.wanted.kind()).or_default() += 1;
            oldest = oldest.max(seconds_since(&operation.created_at)?);
            steps += operation.plan.steps;
            done += operation.done().count();
        }
        if !operation.state.is_at_rest() && worker.enters(number) {
            let worker = Arc::clone(worker);
            workers.spawn(async move { worker.work(number).await });
        }
    }
    for kind in OperationKind::ALL {
        let count = running.get(&kind).copied().unwrap_or(0);
        metrics::gauge!("control_plane_operations_running", "kind" => kind.as_str()).set(f64::from(count));
    }
    metrics::gauge!("control_plane_operation_age_seconds").set(oldest as f64);
    metrics::gauge!("control_plane_operation_steps").set(steps as f64);
    metrics::gauge!("control_plane_operation_steps_done").set(done as f64);
    Ok(())
}

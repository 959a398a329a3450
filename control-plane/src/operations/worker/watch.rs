//! Beside a step that runs: keeps up the lease, shows the progress, and passes on that the operation is to stop.
//!
//! A worker that cannot keep up its lease stops by itself: another one may have taken over.

use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use control_api::{OperationProgress, OperationState};
use mover::Pace;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Worker;
use crate::jobs::lease::LEASE;
use crate::jobs::worker::Watched;
use crate::operations::hands::Carried;
use crate::operations::record::Operation;

/// How often progress is written, and a pause noticed.
const TICK: Duration = Duration::from_millis(500);

/// Drives `carried` to its end; answers the operation as this worker wrote it last, with all progress.
pub async fn watched(
    worker: &Worker,
    mut operation: Operation,
    pace: &Pace,
    stop: &watch::Sender<bool>,
    carried: impl Future<Output = Carried>,
) -> (Operation, Carried) {
    let before = operation.progress.clone();
    let (mut work, mut renewed) = (Watched::new(carried, TICK), Instant::now());
    let carried = loop {
        if let Some(carried) = work.done_or_tick().await {
            break carried;
        }
        match tick(worker, &operation, with(&before, pace)).await {
            Ok(Ticked::Renewed(newer)) => (operation, renewed) = (*newer, Instant::now()),
            Ok(Ticked::Overtaken) => drop(stop.send_replace(true)),
            Err(error) => {
                tracing::warn!(operation = %operation.id(), %error, "lease not renewed");
                if renewed.elapsed() > LEASE / 2 {
                    stop.send_replace(true);
                }
            }
        }
    };
    operation.progress = with(&before, pace);
    (operation, carried)
}

enum Ticked {
    Renewed(Box<Operation>),
    /// The operation is to stop, or is another worker's.
    Overtaken,
}

async fn tick(worker: &Worker, operation: &Operation, progress: OperationProgress) -> crate::error::Result<Ticked> {
    let operations = &worker.operations.table;
    let shown = worker.holder.leased(Operation { progress: progress.clone(), ..operation.clone() });
    if let Some(newer) = operations.save(&shown).await? {
        return Ok(Ticked::Renewed(Box::new(newer)));
    }
    let Some(newest) = operations.get(operation.number).await? else { return Ok(Ticked::Overtaken) };
    let goes_on = newest.state == operation.state || newest.state == OperationState::Running;
    if !goes_on || worker.holder.is_anothers(&newest) {
        return Ok(Ticked::Overtaken);
    }
    let shown = worker.holder.leased(Operation { progress, ..newest });
    Ok(operations.save(&shown).await?.map_or(Ticked::Overtaken, |newer| Ticked::Renewed(Box::new(newer))))
}

fn with(before: &OperationProgress, pace: &Pace) -> OperationProgress {
    let now = &pace.progress;
    OperationProgress {
        wallets: before.wallets + now.wallets.load(Relaxed),
        blocks: before.blocks + now.blocks.load(Relaxed),
        bytes: before.bytes + now.bytes.load(Relaxed),
        longest_cutover_micros: before.longest_cutover_micros.max(now.longest_cutover_micros.load(Relaxed)),
        ..before.clone()
    }
}

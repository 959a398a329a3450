//! Works on one operation, step by step, from what the tables say. Everything it does may be done again by another
//! worker, or by two at once: a move is idempotent, a publication happens once, progress is a compare-and-set.
//!
//! It must never publish for an operation that is no longer at that step: the publication's own condition says so.

mod cells;
mod watch;

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control_api::{Because, OperationState, Refusal, Step, Wanted};
use mover::{Order, Pace};
use uuid::Uuid;

use super::hands::{Assignment, Carried, Hands, Outcome, Task, Trouble};
use super::record::Operation;
use super::state::Event;
use super::step::{self, Next};
use crate::clock::now_ms;
use crate::error::{Error, Result, no_placement};
use crate::jobs::lease::Holder;
use crate::jobs::transition;
use crate::jobs::worker::{Advanced, by_itself, caught};
use crate::operations::service::Operations;

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Also the longest time until a pause is noticed while a database does not answer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub struct Worker {
    operations: Arc<Operations>,
    holder: Holder,
    hands: Hands,
    /// Operations this process works on now.
    busy: Mutex<HashSet<u64>>,
}

/// What a worker remembers from one advance to the next; none of it matters.
#[derive(Default)]
pub struct Memory {
    plan: Option<(Uuid, Vec<Step>)>,
    failures: u32,
}

impl Worker {
    pub fn new(operations: Arc<Operations>, hands: Hands) -> Self {
        Self { operations, holder: Holder::default(), hands, busy: Mutex::default() }
    }

    /// Whether the caller is the one to work on the operation in this process; it must then call [`Self::work`].
    pub fn enters(&self, number: u64) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(number)
    }

    /// Works until there is nothing to do.
    pub async fn work(&self, number: u64) {
        let _leaving = Leaving { worker: self, number };
        let mut memory = Memory::default();
        loop {
            match self.advance(number, &mut memory).await {
                Ok(Advanced::Again) => {}
                Ok(Advanced::After(pause)) => tokio::time::sleep(pause).await,
                Ok(Advanced::Rest) => return,
                Err(error) => {
                    tracing::warn!(operation = number, %error, "the operation is left for a moment");
                    return tokio::time::sleep(BACKOFF_FIRST).await;
                }
            }
        }
    }

    /// Does the one thing that comes next. A panic fails the operation, which can then be resumed or aborted.
    pub async fn advance(&self, number: u64, memory: &mut Memory) -> Result<Advanced> {
        match caught(self.advance_once(number, memory)).await {
            Ok(advanced) => advanced,
            Err(why) => match self.mine(number).await? {
                Some(operation) => self.happen(operation, Event::Fail, Some(why)).await,
                None => Ok(Advanced::Rest),
            },
        }
    }

    async fn mine(&self, number: u64) -> Result<Option<Operation>> {
        self.holder.mine(&self.operations.table, number).await
    }

    async fn advance_once(&self, number: u64, memory: &mut Memory) -> Result<Advanced> {
        let Some(operation) = self.mine(number).await? else { return Ok(Advanced::Rest) };
        match step::next(operation.state, operation.progress.steps_done, operation.plan.steps) {
            Next::Rest => Ok(Advanced::Rest),
            Next::Begin => {
                cells::before_beginning(&self.operations, &operation).await?;
                self.happen(operation, Event::Begin, None).await
            }
            Next::Finish => match cells::before_finishing(&self.operations, &operation).await {
                Ok(()) => self.happen(operation, Event::Finish, None).await,
                Err(Error::Refused(refused)) => self.happen(operation, Event::Fail, Some(refused.detail)).await,
                Err(error) => Err(error),
            },
            Next::Settle => {
                if operation.state == OperationState::Aborting {
                    cells::before_aborted(&self.operations, &operation).await?;
                }
                self.happen(operation, Event::Settle, None).await
            }
            Next::Carry(number) => self.carry(operation, number, memory).await,
            Next::TakeBack(number) => self.take_back(operation, number, memory).await,
        }
    }

    async fn carry(&self, operation: Operation, number: u64, memory: &mut Memory) -> Result<Advanced> {
        let step = self.step(&operation, number, memory).await?;
        let now = self.operations.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        if operation.moves_wallets() && step::is_published(&now.placement, &step) {
            return self.record(operation, &Outcome::default()).await;
        }
        let task = match &operation.wanted {
            Wanted::Forget { .. } => Task::Forget,
            Wanted::Migrate { .. } | Wanted::Rebalance { .. } | Wanted::Evacuate { .. } | Wanted::Reverse { .. } => {
                Task::Move
            }
        };
        let Some((operation, carried)) = self.carried(operation, &step, task).await? else {
            return Ok(Advanced::Again);
        };
        self.conclude(operation, &step, carried, &[OperationState::Running, OperationState::Pausing], memory).await
    }

    async fn take_back(&self, operation: Operation, number: u64, memory: &mut Memory) -> Result<Advanced> {
        let step = self.step(&operation, number, memory).await?;
        let now = self.operations.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        if !operation.moves_wallets() {
            return self.happen(operation, Event::Settle, None).await;
        }
        if step::is_published(&now.placement, &step) {
            return self.record(operation, &Outcome::default()).await;
        }
        let Some((operation, carried)) = self.carried(operation, &step, Task::TakeBack).await? else {
            return Ok(Advanced::Again);
        };
        match carried {
            Ok(Outcome { completed: false, .. }) => {
                cells::before_aborted(&self.operations, &operation).await?;
                self.happen(operation, Event::Settle, None).await
            }
            carried => self.conclude(operation, &step, carried, &[OperationState::Aborting], memory).await,
        }
    }

    /// After the hands are done: what came of it is published, if the operation is in one of these states, and recorded;
    /// or why not.
    async fn conclude(
        &self,
        operation: Operation,
        step: &Step,
        carried: Carried,
        states: &[OperationState],
        memory: &mut Memory,
    ) -> Result<Advanced> {
        match carried {
            Ok(outcome) => {
                memory.failures = 0;
                match self.publish(&operation, step, &outcome, states).await {
                    Ok(()) => self.record(operation, &outcome).await,
                    Err(Error::Refused(refused)) if refused.refusal == Refusal::OperationChanged => Ok(Advanced::Again),
                    Err(Error::Refused(refused)) => self.happen(operation, Event::Fail, Some(refused.detail)).await,
                    Err(error) => Err(error),
                }
            }
            Err(Trouble::Stopped) => {
                let told = self.operations.table.get(operation.number).await?;
                let goes_on = told.is_some_and(|told| told.state == operation.state);
                Ok(if goes_on { Advanced::After(memory.backoff()) } else { Advanced::Again })
            }
            Err(Trouble::Later(why)) => {
                tracing::warn!(operation = %operation.id(), %step, why, "step not done; trying again");
                let said = Operation { last_error: Some(why), ..operation.clone() };
                if said.last_error != operation.last_error {
                    self.operations.table.save(&said).await?;
                }
                Ok(Advanced::After(memory.backoff()))
            }
            Err(Trouble::Fatal(why)) => self.happen(operation, Event::Fail, Some(why)).await,
        }
    }

    /// Has the hands do it, with a lease that is kept up and progress that is shown meanwhile. `None`: another worker
    /// came first, look again.
    async fn carried(&self, operation: Operation, step: &Step, task: Task) -> Result<Option<(Operation, Carried)>> {
        let Some(operation) = self.operations.table.save(&self.holder.leased(operation)).await? else {
            return Ok(None);
        };
        let now = self.operations.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let limits = &operation.limits;
        let pace = Arc::new(Pace::new(limits.max_concurrent, limits.max_bytes_per_sec));
        let source = now.placement.cell_named(&step.from);
        let assignment = Assignment {
            task,
            step: step.clone(),
            pins: step::pins_elsewhere(&now.placement, step),
            kept: step::pinned_at_source(&now.placement, step),
            instances: source.map_or_else(Vec::new, |cell| cell.instances.clone()),
            order: Order {
                operation: operation.id().to_string(),
                actor: operation.because.actor.clone(),
                epoch: operation.placement_version,
            },
            pace: Arc::clone(&pace),
            stop: stopped,
        };
        let (kind, at) = (operation.wanted.kind().as_str(), operation.progress.steps_done);
        let (mut operation, carried) =
            watch::watched(self, operation, &pace, &stop, self.hands.carry(&self.operations, assignment)).await;
        let count = |name: &'static str, of: &std::sync::atomic::AtomicU64| {
            metrics::counter!(name, "kind" => kind).increment(of.load(Relaxed));
        };
        count("control_plane_moved_wallets_total", &pace.progress.wallets);
        count("control_plane_moved_bytes_total", &pace.progress.bytes);
        // What was written last is shown; a change of the row meanwhile takes effect.
        if let Some(newest) = self.operations.table.get(operation.number).await? {
            if newest.progress.steps_done != at || self.holder.is_anothers(&newest) {
                return Ok(None);
            }
            operation = Operation { progress: operation.progress, ..newest };
        }
        Ok(Some((operation, carried)))
    }

    /// What was moved for an operation that is aborting by now is not published: it is to be taken back like a step in
    /// progress. Only what could not be taken back is.
    async fn publish(
        &self,
        operation: &Operation,
        step: &Step,
        outcome: &Outcome,
        states: &[OperationState],
    ) -> Result<()> {
        if !operation.moves_wallets() {
            return Ok(());
        }
        let guard = self.operations.table.still_at(operation, states);
        let because = placement_reason(operation);
        let decide = |placement: &topology::Placement| step::publication(placement, step, &outcome.strays);
        self.operations.fleet.placements.change_while("wallets_moved", &because, Some(guard), decide).await.map(|_| ())
    }

    /// One step more is done.
    async fn record(&self, operation: Operation, outcome: &Outcome) -> Result<Advanced> {
        let mut next = self.holder.leased(operation);
        next.progress.steps_done += 1;
        metrics::gauge!("control_plane_operation_step_timestamp_seconds").set(now_ms() as f64 / 1e3);
        next.progress.strays += outcome.strays.len() as u64;
        next.last_error = None;
        self.operations.table.save(&next).await?;
        Ok(Advanced::Again)
    }

    async fn happen(&self, operation: Operation, event: Event, error: Option<String>) -> Result<Advanced> {
        let because = by_itself(error.clone().unwrap_or_else(|| operation.because.reason.clone()));
        if event == Event::Fail {
            let kind = operation.wanted.kind().as_str();
            metrics::counter!("control_plane_operation_failures_total", "kind" => kind).increment(1);
            tracing::error!(operation = %operation.id(), why = error, "the operation failed");
        }
        let Some(mut change) = transition(&operation, event, &because) else { return Ok(Advanced::Again) };
        if event == Event::Finish {
            self.operations.fleet.counts.count_soon();
        }
        (change.after.last_error, change.after.lease) = (error, None);
        self.operations.table.happen(&change).await?;
        Ok(Advanced::Again)
    }

    async fn step(&self, operation: &Operation, number: u64, memory: &mut Memory) -> Result<Step> {
        let id = operation.plan.id;
        if memory.plan.as_ref().is_none_or(|(known, _)| *known != id) {
            memory.plan = Some((id, self.operations.table.read_plan(&operation.plan).await?));
        }
        let steps = &memory.plan.as_ref().expect("it was just read").1;
        let found = usize::try_from(number).ok().and_then(|number| steps.get(number));
        found.cloned().ok_or_else(|| Error::Unsound(format!("{} has no step {number}", operation.id())))
    }
}

impl Memory {
    fn backoff(&mut self) -> Duration {
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(8)).min(BACKOFF_MAX);
        self.failures += 1;
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// The evacuated cell of an operation that is given up is again what it was.
pub async fn restore_cell(operations: &Operations, operation: &Operation) -> Result<()> {
    cells::before_aborted(operations, operation).await
}

/// Names the operation in the placement's history.
pub fn placement_reason(operation: &Operation) -> Because {
    let reason = format!("{}: {}", operation.id(), operation.because.reason);
    Because { actor: operation.because.actor.clone(), reason }
}

struct Leaving<'a> {
    worker: &'a Worker,
    number: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.worker.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

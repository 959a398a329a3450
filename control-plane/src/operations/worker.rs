//! Works on one operation, some steps of it at once, from what the tables say. Everything it does may be done again by another
//! worker, or by two at once: a move is idempotent, a publication happens once, progress is a compare-and-set.
//!
//! It must never publish for an operation that is no longer at that step: the publication's own condition says so.

mod cells;
mod side_by_side;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control_api::{Because, OperationState, Step, Wanted};
use uuid::Uuid;

use self::side_by_side::{End, SideBySide};
use super::hands::{Hands, Task, Trouble};
use super::record::Operation;
use super::state::Event;
use super::step::{self, Next};
use crate::error::{Error, Result};
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
    plan: Option<(Uuid, Arc<[Step]>)>,
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
        match caught(Box::pin(self.advance_once(number, memory))).await {
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
            Next::Carry => self.carry(operation, memory).await,
            Next::TakeBack => self.take_back(operation, memory).await,
        }
    }

    async fn carry(&self, operation: Operation, memory: &mut Memory) -> Result<Advanced> {
        let task = match &operation.wanted {
            Wanted::Forget { .. } => Task::Forget,
            Wanted::Migrate { .. } | Wanted::Rebalance { .. } | Wanted::Evacuate { .. } | Wanted::Reverse { .. } => {
                Task::Move
            }
        };
        match self.side_by_side(operation, task, memory).await? {
            (operation, End::Trouble(trouble)) => self.meet(operation, trouble, memory).await,
            (_, End::Done | End::Changed) => Ok(Advanced::Again),
        }
    }

    async fn take_back(&self, operation: Operation, memory: &mut Memory) -> Result<Advanced> {
        if !operation.moves_wallets() {
            return self.happen(operation, Event::Settle, None).await;
        }
        match self.side_by_side(operation, Task::TakeBack, memory).await? {
            (operation, End::Done) => {
                cells::before_aborted(&self.operations, &operation).await?;
                self.happen(operation, Event::Settle, None).await
            }
            (_, End::Changed) => Ok(Advanced::Again),
            (operation, End::Trouble(trouble)) => self.meet(operation, trouble, memory).await,
        }
    }

    async fn side_by_side(&self, operation: Operation, task: Task, memory: &mut Memory) -> Result<(Operation, End)> {
        let steps = self.steps(&operation, memory).await?;
        let done = operation.done();
        let Some(operation) = self.operations.table.save(&self.holder.leased(operation.clone())).await? else {
            return Ok((operation, End::Changed));
        };
        let ended = SideBySide::new(self, operation, steps, task).carry_out().await?;
        if ended.0.done() != done {
            memory.failures = 0;
        }
        Ok(ended)
    }

    /// What follows from a step that was not done.
    async fn meet(&self, operation: Operation, trouble: Trouble, memory: &mut Memory) -> Result<Advanced> {
        match trouble {
            Trouble::Stopped => Ok(Advanced::After(memory.backoff())),
            Trouble::Later(why) => {
                tracing::warn!(operation = %operation.id(), why, "a step is not done; trying again");
                let said = Operation { last_error: Some(why), ..operation.clone() };
                if said.last_error != operation.last_error {
                    self.operations.table.save(&said).await?;
                }
                Ok(Advanced::After(memory.backoff()))
            }
            Trouble::Fatal(why) => self.happen(operation, Event::Fail, Some(why)).await,
        }
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

    async fn steps(&self, operation: &Operation, memory: &mut Memory) -> Result<Arc<[Step]>> {
        let id = operation.plan.id;
        if let Some((known, steps)) = &memory.plan
            && *known == id
        {
            return Ok(Arc::clone(steps));
        }
        let steps: Arc<[Step]> = self.operations.table.read_plan(&operation.plan).await?.into();
        memory.plan = Some((id, Arc::clone(&steps)));
        Ok(steps)
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

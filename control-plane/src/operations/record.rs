//! An operation as it is stored: everything that is needed to carry on with it after a crash.

use control_api::{
    Because, Limits, MoveSummary, OperationId, OperationProgress, OperationState, OperationView, Plan, Wanted,
};
use serde::{Deserialize, Serialize};
use topology::CellState;
use uuid::Uuid;

use super::done_steps::DoneSteps;
use crate::jobs::lease::Lease;

/// Pairs of cells whose moves are kept with the row, so that it stays far below an item's limit.
const SUMMARIES_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Number and version are the row's own attributes.
    #[serde(skip)]
    pub number: u64,
    #[serde(skip)]
    pub version: u64,
    pub wanted: Wanted,
    pub limits: Limits,
    pub because: Because,
    pub state: OperationState,
    pub created_at: String,
    pub updated_at: String,
    pub finished_at: Option<String>,
    pub placement_version: u64,
    pub plan: StoredPlan,
    /// Its steps are those before the first that is not done.
    pub progress: OperationProgress,
    /// Which of the steps after that one are done: see [`DoneSteps`].
    #[serde(default)]
    pub steps_ahead: u64,
    pub last_error: Option<String>,
    pub lease: Option<Lease>,
    /// Of the cell that is evacuated: what an abort puts back.
    pub cell_before: Option<CellState>,
    pub forgotten_by: Option<OperationId>,
}

/// Where the steps are stored, and what is shown of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    pub id: Uuid,
    pub parts: u64,
    pub steps: u64,
    pub buckets: u64,
    pub wallets: Option<u64>,
    pub moves: Vec<MoveSummary>,
}

impl StoredPlan {
    pub fn of(plan: &Plan, id: Uuid, parts: u64) -> Self {
        Self {
            id,
            parts,
            steps: plan.steps.len() as u64,
            buckets: super::plan::sizes(&plan.steps).0 as u64,
            wallets: plan.wallets,
            moves: plan.moves.iter().take(SUMMARIES_MAX).cloned().collect(),
        }
    }
}

impl Operation {
    pub fn id(&self) -> OperationId {
        OperationId(self.number)
    }

    pub fn moves_wallets(&self) -> bool {
        !matches!(self.wanted, Wanted::Forget { .. })
    }

    pub fn done(&self) -> DoneSteps {
        DoneSteps { before: self.progress.steps_done, ahead: self.steps_ahead }
    }

    pub fn with_done(mut self, step: u64) -> Self {
        let done = self.done().with(step);
        (self.progress.steps_done, self.steps_ahead) = (done.before, done.ahead);
        self
    }

    pub fn view(&self) -> OperationView {
        OperationView {
            id: self.id(),
            state: self.state,
            wanted: self.wanted.clone(),
            because: self.because.clone(),
            limits: self.limits.clone(),
            created_at: self.created_at.clone(),
            updated_at: self.updated_at.clone(),
            finished_at: self.finished_at.clone(),
            placement_version: self.placement_version,
            steps: self.plan.steps,
            buckets: self.plan.buckets,
            wallets_planned: self.plan.wallets,
            moves: self.plan.moves.clone(),
            progress: OperationProgress { steps_done: self.done().count(), ..self.progress.clone() },
            last_error: self.last_error.clone(),
            forgotten_by: self.forgotten_by,
        }
    }
}

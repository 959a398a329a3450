//! What carries out one step: the mover over the cells' real tables, and the cells' instances where they have a say.
//!
//! It must never touch the operation or the placement: it may be called again for the same step, also by two at once.

mod forget;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use control_api::{Piece, Step};
use ledger::fence::HEAD_LIFETIME;
use mover::{Group, MoveError, Moved, Mover, Order, Pace, Returned, Route};
use store::dynamodb::DynamoStore;
use store::{Chains, Homes, StoreError};
use tokio::sync::watch;
use topology::placement::InstanceEntry;
use topology::{CellId, WalletId};

use crate::cells::fleet::Fleet;
use crate::cells::holds::InstanceHolds;
use crate::clock;
use crate::error::Result;
use crate::operations::service::Operations;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Move,
    /// Undo what was begun of the step, unless it turns out to be done.
    TakeBack,
    /// Delete at the source what was moved away.
    Forget,
}

/// One step, with all that is needed to carry it out.
pub struct Assignment {
    pub task: Task,
    pub step: Step,
    /// Wallets of the step's buckets that live elsewhere by a pin.
    pub pins: Vec<(WalletId, CellId)>,
    /// Wallets of the step's buckets that live at its source by a pin: never to be forgotten there.
    pub kept: Vec<WalletId>,
    pub instances: Vec<InstanceEntry>,
    pub order: Order,
    pub pace: Arc<Pace>,
    pub stop: watch::Receiver<bool>,
}

#[cfg(test)]
impl Assignment {
    /// Purges what the step moved away.
    pub fn purging(step: Step) -> Self {
        Self {
            task: Task::Forget,
            step,
            pins: vec![],
            kept: vec![],
            instances: vec![],
            order: Order { operation: "op-0".into(), epoch: 0 },
            pace: Arc::new(Pace::new(1, None)),
            stop: watch::channel(false).1,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of a group: wallets that ended up in a third cell.
    pub strays: Vec<(WalletId, CellId)>,
    /// The step's wallets are at the target.
    pub completed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It had to stop.
    #[error("stopped")]
    Stopped,
    /// May be better later.
    #[error("{0}")]
    Later(String),
    /// Needs a human.
    #[error("{0}")]
    Fatal(String),
}

pub type Carried = std::result::Result<Outcome, Trouble>;
type Carrying = Pin<Box<dyn Future<Output = Carried> + Send>>;

/// How steps are carried out.
pub struct Hands(Box<dyn Fn(Arc<Operations>, Assignment) -> Carrying + Send + Sync>);

impl Hands {
    pub fn new(carry: impl Fn(Arc<Operations>, Assignment) -> Carrying + Send + Sync + 'static) -> Self {
        Self(Box::new(carry))
    }

    /// The mover.
    pub fn real() -> Self {
        Self::new(|operations, assignment| Box::pin(async move { carry(&operations, &assignment).await }))
    }

    pub fn carry(&self, operations: &Arc<Operations>, assignment: Assignment) -> Carrying {
        (self.0)(Arc::clone(operations), assignment)
    }
}

async fn carry(operations: &Operations, assignment: &Assignment) -> Carried {
    let route = route(&operations.fleet, &assignment.step).await.map_err(|error| Trouble::Later(error.to_string()))?;
    let holds = InstanceHolds::new(operations.fleet.instances.http(), &assignment.instances);
    let stop = assignment.stop.clone();
    let clock = &clock::beside(&route.from.store);
    let (order, pace, head_lifetime) = (&assignment.order, &*assignment.pace, HEAD_LIFETIME);
    let mover = Mover { route: &route, order, pace, holds: &holds, stop, clock, head_lifetime };
    let done = match (&assignment.task, assignment.step.piece) {
        (Task::Move, Piece::Buckets(range)) => {
            let group = Group { first: range.first, last: range.last };
            whole(&mover, group, &assignment.pins).await
        }
        (Task::Move, Piece::Wallet { wallet }) => return single(&mover, &route, wallet).await,
        (Task::TakeBack, Piece::Buckets(range)) => {
            let group = Group { first: range.first, last: range.last };
            match mover.return_group(group).await {
                Ok(Returned::TakenBack) => Ok(Outcome::default()),
                // The target creates wallets already: what is left of the step is little, and is done.
                Ok(Returned::TooLate) => whole(&mover, group, &assignment.pins).await,
                Err(error) => Err(error),
            }
        }
        (Task::TakeBack, Piece::Wallet { wallet }) => match route.from.store.head(wallet).await {
            Ok(Some(head)) if head.home != route.from.cell => return single(&mover, &route, wallet).await,
            Ok(_) => Ok(Outcome::default()),
            Err(error) => Err(MoveError::Store(error)),
        },
        (Task::Forget, _) => return forget::forget(&mover, assignment, operations.purge_after).await,
    };
    match done {
        Ok(outcome) => Ok(outcome),
        Err(error) => Err(trouble(&route, error).await),
    }
}

async fn whole(
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    group: Group,
    pins: &[(WalletId, CellId)],
) -> std::result::Result<Outcome, MoveError> {
    mover.move_group(group, pins).await.map(|strays| Outcome { strays, completed: true })
}

async fn single(
    mover: &Mover<'_, DynamoStore, InstanceHolds>,
    route: &Route<DynamoStore>,
    wallet: WalletId,
) -> Carried {
    match mover.move_wallet(wallet).await {
        Ok(Moved::Done) => Ok(Outcome { strays: vec![], completed: true }),
        Ok(Moved::Elsewhere(cell)) => Err(Trouble::Fatal(format!("wallet {wallet} lives in {cell} by now"))),
        Ok(Moved::Absent) => Err(Trouble::Fatal(format!("{} has no chain of wallet {wallet}", route.from.cell))),
        Err(error) => Err(trouble(route, error).await),
    }
}

/// What a mover's error means for the operation, in words that say what cannot be done.
pub async fn trouble(route: &Route<DynamoStore>, error: MoveError) -> Trouble {
    match error {
        MoveError::Stopped => Trouble::Stopped,
        MoveError::Store(StoreError::Unavailable(said) | StoreError::Rejected(said)) => {
            Trouble::Later(unavailable(route, &said).await)
        }
        MoveError::Contended(_) => Trouble::Later(error.to_string()),
        MoveError::Store(StoreError::Corrupt(_)) | MoveError::NotOurs(_) | MoveError::Diverged { .. } => {
            Trouble::Fatal(error.to_string())
        }
    }
}

/// Which of the two databases does not answer, if one read can tell.
async fn unavailable(route: &Route<DynamoStore>, said: &str) -> String {
    let (from, to) = (&route.from, &route.to);
    let (source, target) = tokio::join!(from.store.genesis(), to.store.genesis());
    let mut told = Vec::new();
    if source.is_err() {
        told.push(format!("the database of {} does not answer: its wallets cannot be moved until it does", from.cell));
    }
    if target.is_err() {
        told.push(format!("the database of {} does not answer: nothing can be moved to it until it does", to.cell));
    }
    if told.is_empty() { format!("a database answers slowly or not always: {said}") } else { told.join("; ") }
}

/// From the registry's records, so that a cell whose tables have moved is found.
pub async fn route(fleet: &Fleet, step: &Step) -> Result<Route<DynamoStore>> {
    Ok(Route { from: fleet.side(&step.from).await?, to: fleet.side(&step.to).await? })
}

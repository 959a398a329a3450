//! A request becomes a plan, and the plan an operation: judged by the newest placement and by what is under way, and
//! written only if neither has changed meanwhile in what matters.
//!
//! It must never begin an operation that meets another one in a bucket: the register's version decides, also between
//! two control planes.

use std::time::Duration;

use control_api::{
    OperationId, OperationKind, OperationProgress, OperationState, Plan, Refusal, Scope, StartOperation, Step, Wanted,
    now_rfc3339,
};
use store::Chains;
use topology::{CellId, Placement, UserId, WalletId};

use super::claims::{Claim, overlap};
use super::record::{Operation, StoredPlan};
use super::rooms::{regions, rooms};
use super::table::{ACTIVE_MAX, Register};
use super::{estimate, get, limits, plan, unpinned};
use crate::because::check_meant;
use crate::clock::seconds_since;
use crate::error::{Error, Result, no_placement, refused};
use crate::jobs::asked::{ATTEMPTS_MAX, kept_changing, pause_between};
use crate::operations::service::Operations;

pub enum Started {
    /// Of a dry run.
    Planned(Plan),
    Created(Box<Operation>),
}

pub async fn start(operations: &Operations, wanted: &StartOperation) -> Result<Started> {
    limits::check(wanted)?;
    check_overrides(wanted)?;
    if let (Wanted::Evacuate { cell, .. }, false) = (&wanted.wanted, wanted.dry_run) {
        unpinned::pin(&operations.fleet, cell, &wanted.because).await?;
    }
    let mut stored: Option<(Plan, StoredPlan)> = None;
    for attempt in 0..ATTEMPTS_MAX {
        // Before the placement: the register's version shows an operation that ends after this.
        let register = operations.table.register().await?;
        let now = operations.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
        let (mut plan, marked) = planned(operations, &now.placement, wanted).await?;
        plan::check_agreed(&plan, wanted.plan_hash.as_deref())?;
        if wanted.dry_run {
            estimate::estimate(&operations.fleet, &now.placement, &mut plan).await;
            return Ok(Started::Planned(plan));
        }
        let claim = check_alone(operations, &register, &plan, &wanted.wanted).await?;
        let parts = match stored.take() {
            Some((same, parts)) if same.steps == plan.steps => parts,
            _ => {
                let (id, parts) = operations.table.write_plan(&plan.steps).await?;
                StoredPlan::of(&plan, id, parts)
            }
        };
        let operation = created(&now.placement, wanted, parts.clone());
        if let Some(created) = operations.table.create(operation, &claim, &register, marked).await? {
            return Ok(Started::Created(Box::new(created)));
        }
        stored = Some((plan, parts));
        pause_between(attempt).await;
    }
    Err(kept_changing())
}

fn check_overrides(wanted: &StartOperation) -> Result<()> {
    let overrides = match &wanted.wanted {
        Wanted::Evacuate { force, .. } => *force,
        _ => false,
    };
    if overrides { check_meant(&wanted.because) } else { Ok(()) }
}

fn created(placement: &Placement, wanted: &StartOperation, plan: StoredPlan) -> Operation {
    let at = now_rfc3339();
    let cell_before = match &wanted.wanted {
        Wanted::Evacuate { cell, .. } => placement.cell_named(cell).map(|cell| cell.state),
        _ => None,
    };
    Operation {
        number: 0,
        version: 0,
        wanted: wanted.wanted.clone(),
        limits: wanted.limits.clone(),
        because: wanted.because.clone(),
        state: OperationState::Planned,
        created_at: at.clone(),
        updated_at: at,
        finished_at: None,
        placement_version: placement.version(),
        plan,
        progress: OperationProgress::default(),
        last_error: None,
        lease: None,
        cell_before,
        forgotten_by: None,
        steps_ahead: 0,
    }
}

/// The plan, and the operation that changes with this one's creation.
async fn planned(
    operations: &Operations,
    placement: &Placement,
    wanted: &StartOperation,
) -> Result<(Plan, Option<Operation>)> {
    let plan = match &wanted.wanted {
        Wanted::Migrate { scope: Scope::Buckets(range), to } => plan::migrate_buckets(placement, *range, to)?,
        Wanted::Migrate { scope: Scope::Wallet(wallet), to } => wallet_plan(operations, placement, *wallet, to).await?,
        Wanted::Migrate { scope: Scope::User(user), to } => {
            let wallet = WalletId::for_user(operations.fleet.namespace, &UserId::parse(user.as_str())?);
            wallet_plan(operations, placement, wallet, to).await?
        }
        Wanted::Rebalance { max_moves } => plan::rebalance(placement, &regions(&operations.fleet).await?, *max_moves)?,
        Wanted::Evacuate { cell, force } => {
            let fleet = &*operations.fleet;
            plan::evacuate(placement, &rooms(fleet, placement).await?, &regions(fleet).await?, cell, *force)?
        }
        Wanted::Reverse { operation } => {
            let (_, steps) = completed(operations, *operation).await?;
            plan::reverse(placement, &steps)?
        }
        Wanted::Forget { operation, .. } => {
            let (marked, steps) = completed(operations, *operation).await?;
            check_baked(&marked, operations.purge_after)?;
            return Ok((plan::forget(placement, steps)?, Some(marked)));
        }
    };
    Ok((plan, None))
}

/// A wallet that does not exist is not moved: a user without one is onboarded. While the source
/// does not answer, the move may be requested all the same.
async fn wallet_plan(operations: &Operations, placement: &Placement, wallet: WalletId, to: &CellId) -> Result<Plan> {
    let plan = plan::migrate_wallet(placement, wallet, to)?;
    if let Some(step) = plan.steps.first()
        && let Ok(None) = operations.fleet.side(&step.from).await?.store.head(wallet).await
    {
        let detail =
            format!("{} has no wallet {wallet}; `ctl customer onboard --cell {to}` makes a new one", step.from);
        return Err(refused(Refusal::UnknownWallet, detail));
    }
    Ok(plan)
}

/// What an operation that is over has moved.
pub async fn completed(operations: &Operations, id: OperationId) -> Result<(Operation, Vec<Step>)> {
    let operation = get(operations, id).await?;
    if operation.wanted.kind() == OperationKind::Forget {
        let detail = format!("{id} moved nothing: what is forgotten cannot be brought back");
        return Err(refused(Refusal::NotAMove, detail));
    }
    if !operation.state.is_over() {
        let detail = format!("{id} is {}: wait for its end, or abort it", operation.state.as_str());
        return Err(refused(Refusal::OperationNotOver, detail));
    }
    if let Some(by) = operation.forgotten_by
        && get(operations, by).await?.state != OperationState::Aborted
    {
        let detail = format!("{by} made the source forget what {id} moved");
        return Err(refused(Refusal::OperationForgotten, detail));
    }
    let (done, steps) = (operation.done(), operations.table.read_plan(&operation.plan).await?);
    let completed = (0..).zip(steps).filter(|&(number, _)| done.contains(number)).map(|(_, step)| step);
    Ok((operation, completed.collect()))
}

fn check_baked(operation: &Operation, purge_after: Duration) -> Result<()> {
    let finished = operation.finished_at.as_ref().ok_or_else(|| Error::Unsound("over without an end".to_owned()))?;
    let passed = u64::try_from(seconds_since(finished)?).unwrap_or(0);
    let left = |seconds: u64| seconds.saturating_sub(passed);
    let detail = match (left(operation.limits.bake_seconds), left(purge_after.as_secs())) {
        (0, 0) => return Ok(()),
        (0, late) => format!("writes that were decided before {} could land for {late} s more", operation.id()),
        (baking, _) => format!("{} may still be reversed for {baking} s", operation.id()),
    };
    Err(refused(Refusal::StillBaking, detail))
}

/// No other operation may touch the same buckets, nor an evacuated cell.
async fn check_alone(operations: &Operations, register: &Register, plan: &Plan, wanted: &Wanted) -> Result<Claim> {
    let claim = Claim::of(&plan.steps);
    if let Some((other, bucket)) = overlap(&claim, register.claims.iter()) {
        let detail =
            format!("{other} is at work on bucket {bucket} or on a wallet in it: wait for its end, or abort it");
        return Err(overlaps(detail));
    }
    if register.claims.len() >= ACTIVE_MAX {
        let detail = format!("at most {ACTIVE_MAX} at once: wait for the end of one");
        return Err(refused(Refusal::TooManyOperations, detail));
    }
    let emptied = evacuated(wanted);
    for &number in register.claims.keys() {
        let Some(other) = operations.table.get(number).await? else { continue };
        let other_empties = evacuated(&other.wanted);
        let fills_ours = emptied.is_some_and(|cell| other.plan.moves.iter().any(|moved| &moved.to == cell));
        let filled_by_us = other_empties.is_some_and(|cell| plan.moves.iter().any(|moved| &moved.to == cell));
        if fills_ours || filled_by_us || (emptied.is_some() && emptied == other_empties) {
            return Err(overlaps(format!(
                "{} fills or empties the same cell: wait for its end, or abort it",
                other.id()
            )));
        }
    }
    Ok(claim)
}

fn overlaps(detail: String) -> Error {
    refused(Refusal::OperationOverlaps, detail)
}

fn evacuated(wanted: &Wanted) -> Option<&CellId> {
    match wanted {
        Wanted::Evacuate { cell, .. } => Some(cell),
        _ => None,
    }
}

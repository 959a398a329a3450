//! Deploys: a new version of the cells' program, cell by cell and instance by instance, watched after each wave, and taken
//! back where it is worse. Stored in the control plane's own tables and written down.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at once.

pub mod canaries;
pub mod limits;
pub mod record;
pub mod replacer;
pub mod service;
pub mod start;
pub mod state;
pub mod table;
pub mod watch;
pub mod worker;

use std::time::Duration;

use control_api::{Because, DeployAudit, DeployId, DeployState, DeployView, PromoteDeploy, Refusal, now_rfc3339};

use crate::because::{check_because, check_meant};
use crate::clock::now_ms;
use crate::deploys::service::Deploys;
use crate::error::{Error, Result, refused};
use record::Deploy;
pub use start::{Started, start};
use state::Event;
use table::Claim;

/// How often a change is decided again because another one came first.
const ATTEMPTS_MAX: u32 = 32;
const BACKOFF: Duration = Duration::from_millis(5);
/// Deploys or audit entries in one answer.
pub const LIST_MAX: i32 = 500;

pub async fn list(deploys: &Deploys, limit: i32) -> Result<Vec<DeployView>> {
    Ok(deploys.table.newest(limit).await?.iter().map(Deploy::view).collect())
}

pub async fn get(deploys: &Deploys, id: DeployId) -> Result<Deploy> {
    deploys.table.get(id.0).await?.ok_or_else(|| {
        let detail = format!("there is no {id}: `ctl deploy list` shows which are");
        refused(Refusal::UnknownDeploy, detail)
    })
}

pub async fn pause(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    ask(deploys, id, because, |_| Event::Pause).await
}

pub async fn resume(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    ask(deploys, id, because, |_| Event::Resume).await
}

/// On to the next wave although the figures do not say so.
pub async fn promote(deploys: &Deploys, id: DeployId, wanted: &PromoteDeploy) -> Result<DeployView> {
    check_meant(&wanted.because)?;
    ask(deploys, id, &wanted.because, |deploy| match deploy.is_last_wave() {
        true => Event::Finish,
        false => Event::Promote,
    })
    .await
}

/// Puts back what ran before. One that is over is taken back only while no newer one has changed anything.
pub async fn rollback(deploys: &Deploys, id: DeployId, because: &Because) -> Result<DeployView> {
    let newest = deploys.table.newest(1).await?.first().map_or(id, Deploy::id);
    if newest != id {
        let detail = format!("{newest} came after {id}: roll that one back, or deploy the version that you want");
        return Err(refused(Refusal::NotTheNewest, detail));
    }
    ask(deploys, id, because, |_| Event::Rollback).await
}

/// Lets it happen. Asked for again what has happened already, answers the same.
async fn ask(
    deploys: &Deploys,
    id: DeployId,
    because: &Because,
    event: impl Fn(&Deploy) -> Event,
) -> Result<DeployView> {
    check_because(because)?;
    for attempt in 0..ATTEMPTS_MAX {
        let before = get(deploys, id).await?;
        let event = event(&before);
        let Some(change) = transition(&before, event, because) else {
            return if already(before.state, event) { Ok(before.view()) } else { Err(not_now(&before, event)) };
        };
        if let Some(changed) = deploys.table.change(&change.after, Some(change.entry), change.claim).await? {
            return Ok(changed.view());
        }
        tokio::time::sleep(BACKOFF * (attempt + 1)).await;
    }
    Err(refused(Refusal::TooManyChanges, "nothing was changed: try again"))
}

/// What is to be written when something happens.
pub(crate) struct Transition {
    pub after: Deploy,
    pub entry: DeployAudit,
    pub claim: Claim,
}

/// The deploy after `event`, with its audit entry; `None`: it cannot happen now. Pure but for the clock.
pub(crate) fn transition(before: &Deploy, event: Event, because: &Because) -> Option<Transition> {
    let state = state::after(before.state, event)?;
    let at = now_rfc3339();
    let mut after = Deploy { state, updated_at: at.clone(), since_ms: now_ms(), ..before.clone() };
    // A worker that is busy when an operator changes a deploy finishes its step; only then any
    // worker goes on.
    after.lease = before.lease.filter(|_| !state.is_at_rest());
    after.why = match event {
        Event::Worse | Event::Doubt | Event::Fail | Event::Pause | Event::Rollback => Some(because.reason.clone()),
        // Why it was taken back stays to be read.
        Event::Restored => before.why.clone(),
        _ => None,
    };
    after.finished_at = state.is_over().then(|| at.clone());
    match event {
        Event::Observed => after.now_mut().began_at = Some(at.clone()),
        Event::Replaced => after.now_mut().replaced_at = Some(at.clone()),
        Event::Resume if state == DeployState::Baking => after.now_mut().verdict = None,
        Event::Pass | Event::Promote => {
            after.now_mut().ended_at = Some(at.clone());
            after.wave += 1;
        }
        Event::Finish | Event::Restored => after.now_mut().ended_at = Some(at.clone()),
        _ => {}
    }
    let claim = match (before.state.is_over(), state.is_over()) {
        (false, true) => Claim::Release,
        (true, false) => Claim::Take,
        _ => Claim::Keep,
    };
    let entry = DeployAudit {
        at,
        deploy: before.id(),
        what: event.as_str().to_owned(),
        actor: because.actor.clone(),
        reason: because.reason.clone(),
        before: Some(before.state),
        after: state,
    };
    Some(Transition { after, entry, claim })
}

fn already(state: DeployState, event: Event) -> bool {
    use DeployState::{Baking, Held, Observing, Paused, RolledBack, Rolling, RollingBack, Undecided};
    match event {
        Event::Pause => matches!(state, Held | Paused | Undecided),
        Event::Resume => matches!(state, Observing | Rolling | Baking),
        Event::Rollback => matches!(state, RollingBack | RolledBack),
        _ => false,
    }
}

fn not_now(deploy: &Deploy, event: Event) -> Error {
    let detail = format!("{} is {}: {} is not possible", deploy.id(), deploy.state.as_str(), event.as_str());
    refused(Refusal::DeployState, detail)
}

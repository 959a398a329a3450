//! `ctl migrate`, `rebalance`, `cell evacuate`, `op`, `audit`: a plan is shown and asked about, then an operation is
//! started and followed to its end.
//!
//! It must never start anything that was not agreed to: on a terminal by an answer, elsewhere by `--yes`.

mod confirm;
mod progress;
mod verbs;

use std::time::Duration;

use anyhow::{Context, Result};
use command_line::{CHANGES, FAILED, STILL_RUNNING, failure, silent};
use control_api::{Client, OperationId, OperationKind, OperationState, OperationView, Plan, StartOperation, Wanted};
use http::Method;
use tokio::time::Instant;

use crate::api::because;
use crate::flags::operations::{Change, Waiting};
use crate::flags::{Common, Output};
use crate::output::show;
use crate::tables;
use progress::Shown;
pub use verbs::{audit, evacuate, migrate, op, rebalance, remove_cell, set_cell};

const POLL: Duration = Duration::from_millis(300);
/// A control plane that restarts is waited for; the operation is not lost meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Starts an operation without asking and waits until it has come to rest: done, or failed, aborted or paused, which
/// its state says.
pub async fn run_to_end(api: &Client, body: StartOperation) -> Result<OperationView> {
    let started: OperationView = api.send(Method::POST, &["v1", "operations"], Some(&body)).await?;
    wait_for(api, started.id, None, |_| {}).await
}

/// The plan first, then the operation, then its end.
async fn start(common: &Common, api: &Client, wanted: Wanted, change: &Change) -> Result<()> {
    let body = StartOperation { limits: change.limits(), ..StartOperation::new(wanted, because(common)) };
    let plan_hash = match change.yes && !change.dry_run && !change.explain {
        true => None,
        false => match agreed(common, api, &body, change).await? {
            Some(plan) => Some(plan.hash),
            None => return Ok(()),
        },
    };
    let started: OperationView =
        api.send(Method::POST, &["v1", "operations"], Some(&StartOperation { plan_hash, ..body })).await?;
    follow(common, api, started, &change.wait).await
}

/// The plan that the operator has seen and agreed to; `None`: there is nothing to do.
async fn agreed(common: &Common, api: &Client, body: &StartOperation, change: &Change) -> Result<Option<Plan>> {
    let asked = StartOperation { dry_run: true, ..body.clone() };
    let plan: Plan = api.send(Method::POST, &["v1", "operations"], Some(&asked)).await?;
    let table = |plan: &Plan| tables::operations::plan(plan, change.explain);
    if change.dry_run {
        show(common, &plan, table)?;
        return if plan.steps.is_empty() { Ok(None) } else { Err(silent(CHANGES)) };
    }
    eprint!("{}", table(&plan));
    // An empty cell is still marked as such by its evacuation.
    if plan.steps.is_empty() && body.wanted.kind() != OperationKind::Evacuate {
        return Ok(None);
    }
    if !change.yes {
        confirm::ask(&body.wanted)?;
    }
    Ok(Some(plan))
}

/// Follows an operation to its end, and ends in the exit code that it deserves.
async fn follow(common: &Common, api: &Client, started: OperationView, wait: &Waiting) -> Result<()> {
    if wait.detach {
        return show(common, &started, tables::operations::one);
    }
    let id = started.id;
    let mut shown = Shown::new(common.output == Output::Table, started);
    let patience = wait.wait.map(Duration::from_secs);
    let ended = tokio::select! {
        ended = wait_for(api, id, patience, |view| shown.update(view)) => ended?,
        _ = tokio::signal::ctrl_c() => {
            shown.end();
            return Err(failure(STILL_RUNNING, format!("{id} goes on; `ctl op watch {id}` follows it")));
        }
    };
    shown.end();
    show(common, &ended, tables::operations::one)?;
    match ended.state {
        OperationState::Done => Ok(()),
        OperationState::Failed => {
            let why = ended.last_error.unwrap_or_else(|| "it does not say why".to_owned());
            Err(failure(FAILED, format!("{id} failed: {why}\n`ctl migrate resume {id}` tries again, `abort` ends it")))
        }
        OperationState::Aborted => Err(failure(FAILED, format!("{id} was aborted"))),
        state => Err(failure(STILL_RUNNING, format!("{id} is {}; `ctl op watch {id}` follows it", state.as_str()))),
    }
}

/// Asks again and again until the operation is at rest, or the patience is at its end.
async fn wait_for(
    api: &Client,
    id: OperationId,
    patience: Option<Duration>,
    mut saw: impl FnMut(&OperationView),
) -> Result<OperationView> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut heard = Instant::now();
    let name = id.to_string();
    loop {
        match api.get::<OperationView>(&["v1", "operations", &name]).await {
            Ok(view) => {
                heard = Instant::now();
                saw(&view);
                let given_up = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if view.state.is_at_rest() || given_up {
                    return Ok(view);
                }
            }
            Err(error) if heard.elapsed() > SILENCE_MAX => {
                return Err(error).with_context(|| format!("{id} may go on; `ctl op watch {id}` follows it"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

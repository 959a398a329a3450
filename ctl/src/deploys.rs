//! `ctl deploy`: a plan is shown and asked about, then a deploy is started and followed to its end.
//!
//! It must never start anything that was not agreed to, nor judge a version: the control plane does.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use command_line::{CHANGES, FAILED, PRECONDITION, STILL_RUNNING, USAGE, failure, silent};
use control_api::{Client, DeployId, DeployPlan, DeployState, DeployView, PromoteDeploy, StartDeploy};
use http::Method;
use local_fleet::builds;
use serde::Serialize;
use tokio::time::Instant;

use crate::api::because;
use crate::flags::deploys::{Deploy, Start, Wanted};
use crate::flags::operations::Waiting;
use crate::flags::{Common, Output};
use crate::output::show;
use crate::tables;

const POLL: Duration = Duration::from_millis(300);
/// A control plane that restarts is waited for; the deploy is not lost meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How many of the newest deploys `--once` looks at.
const EARLIER_MAX: u32 = 200;

pub async fn run(common: &Common, api: &Client, verb: Deploy) -> Result<()> {
    match verb {
        Deploy::Plan(wanted) => plan(common, api, &wanted).await,
        Deploy::Start(wanted) if wanted.dry_run => plan(common, api, &wanted.wanted).await,
        Deploy::Start(wanted) => start(common, api, &wanted).await,
        Deploy::Status { deploy } => show(common, &get(api, deploy).await?, tables::deploys::one),
        Deploy::List { limit } => {
            let limit = [("limit", limit.to_string())];
            let list: Vec<DeployView> = api.get_with(&["v1", "deploys"], &limit).await?;
            show(common, &list, |list| tables::deploys::list(list))
        }
        Deploy::Pause { deploy } => {
            let view = ask(api, deploy, "pause", &because(common)).await?;
            show(common, &view, tables::deploys::one)
        }
        Deploy::Resume { deploy, wait } => {
            let view = ask(api, deploy, "resume", &because(common)).await?;
            follow(common, api, view, &wait).await
        }
        Deploy::Promote { deploy, wait } => {
            let view = ask(api, deploy, "promote", &PromoteDeploy { because: because(common) }).await?;
            follow(common, api, view, &wait).await
        }
        Deploy::Rollback { deploy, wait } => {
            let view = ask(api, deploy, "rollback", &because(common)).await?;
            follow_to(common, api, view, &wait, DeployState::RolledBack).await
        }
        Deploy::Watch { deploy, wait } => {
            let view = get(api, deploy).await?;
            follow(common, api, view, &wait).await
        }
    }
}

fn body(common: &Common, wanted: &Wanted, dry_run: bool) -> StartDeploy {
    StartDeploy {
        of: wanted.of,
        version: wanted.version.clone(),
        baseline_seconds: wanted.baseline_seconds,
        bake_seconds: wanted.bake_seconds,
        wait_seconds: wanted.wait_seconds,
        rise_percent: wanted.rise_percent,
        slower_by_ms: wanted.slower_by_ms,
        dry_run,
        because: because(common),
    }
}

async fn planned(common: &Common, api: &Client, wanted: &Wanted) -> Result<DeployPlan> {
    api.send(Method::POST, &["v1", "deploys"], Some(&body(common, wanted, true))).await
}

async fn plan(common: &Common, api: &Client, wanted: &Wanted) -> Result<()> {
    let plan = planned(common, api, wanted).await?;
    show(common, &plan, tables::deploys::plan)?;
    if plan.waves.is_empty() { Ok(()) } else { Err(silent(CHANGES)) }
}

async fn start(common: &Common, api: &Client, wanted: &Start) -> Result<()> {
    if wanted.once
        && let Some(earlier) = earlier(api, &wanted.wanted).await?
    {
        if earlier.state == DeployState::RolledBack {
            return Err(rolled_back_before(&earlier));
        }
        // Where one is done, instances may have come since.
        if !earlier.state.is_over() {
            return follow(common, api, earlier, &wanted.wait).await;
        }
    }
    let plan = planned(common, api, &wanted.wanted).await?;
    eprint!("{}", tables::deploys::plan(&plan));
    if plan.waves.is_empty() {
        return Ok(());
    }
    if !wanted.yes {
        confirm()?;
    }
    if let Some(binary) = &wanted.binary {
        builds::keep(&common.data, &wanted.wanted.version, wanted.wanted.of, binary)?;
    }
    let body = body(common, &wanted.wanted, false);
    let started: DeployView = api.send(Method::POST, &["v1", "deploys"], Some(&body)).await?;
    follow(common, api, started, &wanted.wait).await
}

/// The newest deploy of a version of this program.
async fn earlier(api: &Client, Wanted { of, version, .. }: &Wanted) -> Result<Option<DeployView>> {
    let list: Vec<DeployView> = api.get_with(&["v1", "deploys"], &[("limit", EARLIER_MAX.to_string())]).await?;
    Ok(list.into_iter().find(|view| view.of == *of && view.version == *version))
}

fn rolled_back_before(earlier: &DeployView) -> anyhow::Error {
    let DeployView { id, of, version, .. } = earlier;
    let why = earlier.why.as_deref().unwrap_or("it does not say why");
    let todo = "deploy another version, or this one again without --once";
    failure(FAILED, format!("{version} of {of} was rolled back by {id}: {why}\n{todo}"))
}

fn confirm() -> Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(failure(USAGE, "no terminal to ask on: add --yes, or look at the plan with `ctl deploy plan`"));
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(failure(FAILED, "nothing was changed")),
    }
}

/// The one that is named, or the newest.
async fn id(api: &Client, named: Option<DeployId>) -> Result<DeployId> {
    if let Some(id) = named {
        return Ok(id);
    }
    let newest: Vec<DeployView> = api.get_with(&["v1", "deploys"], &[("limit", "1".to_owned())]).await?;
    newest.first().map(|view| view.id).ok_or_else(|| failure(PRECONDITION, "there has been no deploy"))
}

async fn get(api: &Client, named: Option<DeployId>) -> Result<DeployView> {
    api.get(&["v1", "deploys", &id(api, named).await?.to_string()]).await
}

async fn ask(api: &Client, named: Option<DeployId>, verb: &str, body: &impl Serialize) -> Result<DeployView> {
    api.send(Method::POST, &["v1", "deploys", &id(api, named).await?.to_string(), verb], Some(body)).await
}

async fn follow(common: &Common, api: &Client, view: DeployView, wait: &Waiting) -> Result<()> {
    follow_to(common, api, view, wait, DeployState::Done).await
}

/// Follows a deploy until it has come to rest, and ends in the exit code that it deserves.
async fn follow_to(common: &Common, api: &Client, view: DeployView, wait: &Waiting, good: DeployState) -> Result<()> {
    if wait.detach {
        return show(common, &view, tables::deploys::one);
    }
    let id = view.id;
    let patience = wait.wait.map(Duration::from_secs);
    let ended = tokio::select! {
        ended = wait_for(common, api, id, patience) => ended?,
        _ = tokio::signal::ctrl_c() => {
            return Err(failure(STILL_RUNNING, format!("{id} goes on; `ctl deploy watch {id}` follows it")));
        }
    };
    show(common, &ended, tables::deploys::one)?;
    let why = ended.why.unwrap_or_else(|| "it does not say why".to_owned());
    match ended.state {
        state if state == good => Ok(()),
        DeployState::RolledBack => Err(failure(FAILED, format!("{id} was rolled back: {why}"))),
        DeployState::Failed => {
            Err(failure(FAILED, format!("{id} failed: {why}\n`ctl deploy rollback {id}` tries again")))
        }
        state if state.is_at_rest() => {
            Err(failure(STILL_RUNNING, format!("{id} is {}: {why}", state.as_str().replace('_', " "))))
        }
        state => Err(failure(STILL_RUNNING, format!("{id} is {}; `ctl deploy watch {id}` follows it", state.as_str()))),
    }
}

async fn wait_for(common: &Common, api: &Client, id: DeployId, patience: Option<Duration>) -> Result<DeployView> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let (mut heard, mut shown) = (Instant::now(), String::new());
    let name = id.to_string();
    loop {
        match api.get::<DeployView>(&["v1", "deploys", &name]).await {
            Ok(view) => {
                heard = Instant::now();
                let now = match common.output {
                    Output::Table => tables::deploys::progress(&view),
                    Output::Json => tables::deploys::progress_json(&view),
                };
                if now != shown {
                    eprintln!("{now}");
                    shown = now;
                }
                if view.state.is_at_rest() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(view);
                }
            }
            Err(error) if heard.elapsed() > SILENCE_MAX => {
                return Err(error).with_context(|| format!("{id} may go on; `ctl deploy watch {id}` follows it"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

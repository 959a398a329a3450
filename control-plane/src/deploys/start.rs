//! A request becomes a plan, and the plan a deploy: of what the instances say that they run now.
//!
//! It must never begin while another deploy is under way: the table's own condition says so.

use std::sync::Arc;

use control_api::{
    CellPlan, DeployId, DeployPlan, DeployState, InstancePlan, Refusal, StartDeploy, WavePlan, now_rfc3339,
};
use futures_util::future::join_all;
use topology::{CellEntry, CellId, CellState};

use super::limits;
use super::record::{Deploy, Wave};
use crate::because::check_because;
use crate::clock::now_ms;
use crate::deploys::service::Deploys;
use crate::error::{Result, no_placement, refused};

pub enum Started {
    /// Of a dry run.
    Planned(DeployPlan),
    Created(Box<Deploy>),
}

pub async fn start(deploys: &Arc<Deploys>, wanted: &StartDeploy) -> Result<Started> {
    check_because(&wanted.because)?;
    let plan = plan(deploys, wanted).await?;
    if wanted.dry_run {
        return Ok(Started::Planned(plan));
    }
    if deploys.replacer.is_none() {
        let todo = "this control plane cannot replace instances: start it with --local-fleet or --deploy-command";
        return Err(refused(Refusal::NoReplacer, todo));
    }
    if plan.waves.is_empty() {
        let detail = format!("every instance runs {} already", wanted.version);
        return Err(refused(Refusal::NothingToDeploy, detail));
    }
    match deploys.table.create(created(plan, wanted)).await? {
        Some(created) => Ok(Started::Created(Box::new(created))),
        None => {
            let other =
                deploys.table.active().await?.map_or_else(|| "another one".into(), |id| DeployId(id).to_string());
            let detail = format!("{other} is under way: wait for its end, or roll it back");
            Err(refused(Refusal::DeployUnderWay, detail))
        }
    }
}

fn created(plan: DeployPlan, wanted: &StartDeploy) -> Deploy {
    let at = now_rfc3339();
    let wave = |wave: WavePlan| Wave {
        cells: wave.cells,
        replaced: 0,
        began_at: None,
        replaced_at: None,
        ended_at: None,
        verdict: None,
    };
    Deploy {
        number: 0,
        row: 0,
        version: plan.version,
        limits: plan.limits,
        because: wanted.because.clone(),
        state: DeployState::Planned,
        why: None,
        created_at: at.clone(),
        updated_at: at,
        finished_at: None,
        waves: plan.waves.into_iter().map(wave).collect(),
        wave: 0,
        restored: 0,
        since_ms: now_ms(),
        before: Default::default(),
        others: Default::default(),
        seen: Default::default(),
        touched: None,
        lease: None,
    }
}

/// The waves of all cells that have instances of another version.
async fn plan(deploys: &Arc<Deploys>, wanted: &StartDeploy) -> Result<DeployPlan> {
    let limits = limits::of(wanted, &deploys.config)?;
    let now = deploys.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let cells = now.placement.cells().iter();
    let cells: Vec<&CellEntry> =
        cells.filter(|cell| cell.state != CellState::Removed && !cell.instances.is_empty()).collect();
    let ids: Vec<CellId> = cells.iter().map(|cell| cell.id.clone()).collect();
    let mut waves = vec![];
    for wave in deploys.config.waves(&ids) {
        let mut planned = vec![];
        for id in wave.cells {
            let entry = cells.iter().find(|cell| cell.id == id).expect("waves are of these cells");
            let mut instances = of_cell(deploys, entry).await?;
            instances.retain(|instance| instance.before != wanted.version);
            if !instances.is_empty() {
                planned.push(CellPlan { cell: id, instances });
            }
        }
        if !planned.is_empty() {
            waves.push(WavePlan { cells: planned });
        }
    }
    Ok(DeployPlan { version: wanted.version.clone(), limits, waves })
}

/// What a cell's instances run. All of them have to say so: what does not answer now could not be put back either.
async fn of_cell(deploys: &Arc<Deploys>, cell: &CellEntry) -> Result<Vec<InstancePlan>> {
    let asked = cell.instances.iter().map(|instance| deploys.fleet.instances.running(instance));
    let told = cell.instances.iter().zip(join_all(asked).await);
    let told = told.map(|(instance, running)| match running {
        Ok(running) => Ok(InstancePlan { id: instance.id.clone(), before: running.version }),
        Err(why) => {
            let detail = format!("{} does not say what it runs: {why}", instance.id);
            Err(refused(Refusal::InstanceSilent, detail))
        }
    });
    told.collect()
}

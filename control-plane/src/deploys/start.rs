//! A request becomes a plan, and the plan a deploy: of what the instances say that they run now.
//!
//! It must never begin while another deploy is under way: the table's own condition says so.

use std::sync::Arc;

use control_api::{
    DeployId, DeployPlan, DeployState, InstancePlan, PartPlan, Program, Refusal, StartDeploy, WavePlan, now_rfc3339,
};
use futures_util::future::join_all;

use super::limits;
use super::parts::Part;
use super::record::{Deploy, Wave};
use crate::because::check_because;
use crate::clock::now_ms;
use crate::deploys::service::Deploys;
use crate::error::{Result, refused};

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
        let todo = "this control plane cannot replace instances: start it with --local-fleet, --deploy-command or \
                    --deploy-kubernetes";
        return Err(refused(Refusal::NoReplacer, todo));
    }
    if plan.waves.is_empty() {
        let detail = format!("all {} run {} already", wanted.of, wanted.version);
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
        parts: wave.parts,
        replaced: 0,
        began_at: None,
        replaced_at: None,
        ended_at: None,
        verdict: None,
    };
    Deploy {
        number: 0,
        row: 0,
        of: plan.of,
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

/// The waves of all parts that have instances of another version.
async fn plan(deploys: &Arc<Deploys>, wanted: &StartDeploy) -> Result<DeployPlan> {
    let limits = limits::of(wanted, &deploys.config)?;
    let mut parts = deploys.parts(wanted.of).await?;
    // A cell that was removed has none.
    parts.retain(|part| !part.instances.is_empty());
    if parts.is_empty() && wanted.of == Program::Routers {
        let todo = "start it with --routers, which names them with the addresses of their admin pages";
        return Err(refused(Refusal::NoRouters, todo));
    }
    let mut waves = vec![];
    for wave in deploys.config.waves(parts, |part| &part.id.0) {
        let mut planned = vec![];
        for part in wave {
            let mut instances = of_part(deploys, wanted.of, &part).await?;
            instances.retain(|instance| instance.before != wanted.version);
            if !instances.is_empty() {
                planned.push(PartPlan { part: part.id, instances });
            }
        }
        if !planned.is_empty() {
            waves.push(WavePlan { parts: planned });
        }
    }
    Ok(DeployPlan { of: wanted.of, version: wanted.version.clone(), limits, waves })
}

/// What a part's instances run. All of them have to say so: what does not answer now could not be put back either.
async fn of_part(deploys: &Arc<Deploys>, of: Program, part: &Part) -> Result<Vec<InstancePlan>> {
    let asked = part.instances.iter().map(|instance| deploys.page(of, instance));
    let said = part.instances.iter().zip(join_all(asked).await);
    let said = said.map(|(instance, page)| match page {
        Ok(page) => Ok(InstancePlan { id: instance.id.clone(), before: page.version }),
        Err(why) => {
            let detail = format!("{} does not say what it runs: {why}", instance.id);
            Err(refused(Refusal::InstanceSilent, detail))
        }
    });
    said.collect()
}

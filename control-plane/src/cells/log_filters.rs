//! What processes log: this one, and the instances of cells. It must never store a filter: a
//! process that starts again logs as its flags say.

use axum::http::Method;
use control_api::Refusal;
use control_api::logs::LogView;
use topology::CellId;
use topology::placement::InstanceEntry;

use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement, refused, unknown_cell};

const OWN: &str = "control-plane";

/// Of whom.
#[derive(Debug, Default)]
pub struct Processes {
    pub cell: Option<CellId>,
    pub instance: Option<String>,
    pub control_plane: bool,
}

/// What they log; first changed to `filter`, if there is one.
pub async fn ask(fleet: &Fleet, processes: &Processes, filter: Option<&str>) -> Result<Vec<LogView>> {
    let is_all = processes.cell.is_none() && processes.instance.is_none() && !processes.control_plane;
    if filter.is_some() && is_all {
        let detail = "name a cell, an instance, a router or the control plane";
        return Err(refused(Refusal::NobodyNamed, detail));
    }
    let mut views = Vec::new();
    if processes.control_plane || is_all {
        if let Some(filter) = filter {
            telemetry::log::set_filter(filter).map_err(|error| refused(Refusal::BadFilter, error))?;
        }
        views.push(LogView { process: OWN.into(), filter: Some(telemetry::log::filter()), why: None });
    }
    for instance in instances(fleet, processes, is_all).await? {
        views.push(one(fleet, &instance, filter).await?);
    }
    Ok(views)
}

async fn instances(fleet: &Fleet, processes: &Processes, all: bool) -> Result<Vec<InstanceEntry>> {
    if !all && processes.cell.is_none() && processes.instance.is_none() {
        return Ok(vec![]);
    }
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    if let Some(cell) = processes.cell.as_ref().filter(|cell| now.placement.cell_named(cell).is_none()) {
        return Err(unknown_cell(cell));
    }
    let is_meant = |cell: &CellId, instance: &InstanceEntry| {
        processes.cell.as_ref().is_none_or(|wanted| wanted == cell)
            && processes.instance.as_ref().is_none_or(|wanted| *wanted == instance.id.0)
    };
    let cells = now.placement.cells().iter();
    let found: Vec<_> =
        cells.flat_map(|cell| cell.instances.iter().filter(|instance| is_meant(&cell.id, instance)).cloned()).collect();
    match &processes.instance {
        Some(name) if found.is_empty() => {
            Err(refused(Refusal::NoSuchInstance, format!("no cell has an instance {name}")))
        }
        _ => Ok(found),
    }
}

async fn one(fleet: &Fleet, instance: &InstanceEntry, filter: Option<&str>) -> Result<LogView> {
    let (method, body) = match filter {
        None => (Method::GET, vec![]),
        Some(filter) => (Method::PUT, filter.as_bytes().to_vec()),
    };
    let process = instance.id.to_string();
    match fleet.instances.log(instance, method, body).await {
        Ok((true, filter)) => Ok(LogView { process, filter: Some(filter), why: None }),
        Ok((false, why)) => Err(refused(Refusal::BadFilter, why)),
        Err(why) => Ok(LogView { process, filter: None, why: Some(why) }),
    }
}

//! `ctl local`: asks the running `ctl up` about its processes.

use std::path::Path;

use anyhow::Result;
use command_line::{PRECONDITION, columns, failure};
use control_api::Program;
use local_fleet::builds;
use local_fleet::fleet::{Fleet, FleetCell};
use local_fleet::layout::ROUTERS;
use local_fleet::relay::Line;
use local_fleet::secrets::{self, Secrets};
use local_fleet::socket::{self, NewCell, Request};
use local_fleet::supervisor::{State, View};
use topology::Version;

use crate::flags::{AddCell, Common, Local};
use crate::output::show;

pub async fn run(common: &Common, verb: &Local) -> Result<()> {
    let request = match verb {
        Local::RenewCertificates { days } => return renew(common, *days),
        Local::Cut { name } => return line(common, name, Line::Silent).await,
        Local::Mend { name } => return line(common, name, Line::Whole).await,
        Local::Status => Request::Status,
        Local::Stop { name } => Request::Stop { name: name.clone() },
        Local::Start { name } => Request::Start { name: name.clone() },
        Local::Replace { name, version, binary } => return replace(common, name, version, binary.as_deref()).await,
        Local::Kill { name, keep_down } => Request::Kill { name: name.clone(), keep_down: *keep_down },
    };
    let views: Vec<View> = socket::ask(&common.data, &request).await?;
    show(common, &views, |views| table(views))
}

/// By hand, and past any deploy.
async fn replace(common: &Common, name: &str, version: &Version, binary: Option<&Path>) -> Result<()> {
    if let Some(binary) = binary {
        let of = if ROUTERS.contains(&name) { Program::Routers } else { Program::Cells };
        builds::keep(&common.data, version, of, binary)?;
    }
    let request = Request::Replace { name: name.to_owned(), version: version.clone(), order: None };
    let views: Vec<View> = socket::ask(&common.data, &request).await?;
    show(common, &views, |views| table(views))
}

async fn line(common: &Common, name: &str, line: Line) -> Result<()> {
    socket::ask(&common.data, &Request::Line { names: vec![name.to_owned()], line }).await
}

fn renew(common: &Common, days: u32) -> Result<()> {
    let none = || failure(PRECONDITION, "no secure local fleet in --data: start one with `ctl up --secure`");
    let fleet = Fleet::load(&common.data)?.filter(|fleet| fleet.secure).ok_or_else(none)?;
    let cells: Vec<_> = fleet.cells.iter().map(|cell| cell.id.clone()).collect();
    Secrets::of(&common.data).renew(&cells, secrets::days(days))
}

fn table(views: &[View]) -> String {
    let row = |view: &View| {
        let state = match (view.state, view.ready) {
            (State::Running, true) => "ready",
            (State::Running, false) => "not ready",
            (State::Waiting, _) => "restarting",
            (State::Stopped, _) => "stopped",
        };
        let pid = view.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let version = view.version.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        vec![view.name.clone(), state.to_owned(), pid, view.deaths.to_string(), view.address.clone(), version]
    };
    columns(&["NAME", "STATE", "PID", "DEATHS", "ADDRESS", "VERSION"], &views.iter().map(row).collect::<Vec<_>>())
}

pub fn new_cell(wanted: &AddCell) -> NewCell {
    NewCell {
        cell: FleetCell {
            id: wanted.id.clone(),
            number: 0,
            instances: wanted.instances.unwrap_or(0),
            weight: wanted.weight,
            max_tps: wanted.max_tps,
            max_customers: wanted.max_customers,
            versions: std::collections::BTreeMap::new(),
        },
    }
}

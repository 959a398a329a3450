//! `ctl local`: asks the running `ctl up` about its processes.

use anyhow::Result;

use super::commands::show;
use super::flags::{AddCell, Common, Local};
use super::fleet::{Fleet, FleetCell};
use super::secrets::Secrets;
use super::socket::{self, NewCell, Request};
use super::supervisor::{State, View};
use super::tables::columns;
use super::{PRECONDITION, failure};

pub async fn run(common: &Common, verb: &Local) -> Result<()> {
    let request = match verb {
        Local::RenewCertificates => return renew(common),
        Local::Status => Request::Status,
        Local::Stop { name } => Request::Stop { name: name.clone() },
        Local::Start { name } => Request::Start { name: name.clone() },
        Local::Kill { name, keep_down } => Request::Kill { name: name.clone(), keep_down: *keep_down },
    };
    let views: Vec<View> = socket::ask(&common.data, &request).await?;
    show(common, &views, |views| table(views))
}

fn renew(common: &Common) -> Result<()> {
    let none = || failure(PRECONDITION, "no secure local fleet in --data: start one with `ctl up --secure`");
    let fleet = Fleet::load(&common.data)?.filter(|fleet| fleet.secure).ok_or_else(none)?;
    let cells: Vec<_> = fleet.cells.iter().map(|cell| cell.id.clone()).collect();
    Secrets::of(&common.data).renew(&cells)
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
        vec![view.name.clone(), state.to_owned(), pid, view.deaths.to_string(), view.address.clone()]
    };
    columns(&["NAME", "STATE", "PID", "DEATHS", "ADDRESS"], &views.iter().map(row).collect::<Vec<_>>())
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
        },
    }
}

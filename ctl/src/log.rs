//! `ctl log`: what processes log, shown and changed while they run. Cells are reached through the control plane, a router
//! at its admin address.

use std::time::Duration;

use access::http::Http;
use anyhow::Result;
use command_line::{FAILED, USAGE, columns, failure};
use control_api::logs::{LogView, SetLog};
use http::Method;
use local_fleet::fleet::Fleet;

use crate::api::{because, client};
use crate::flags::Common;
use crate::flags::log::LogVerb;
use crate::output::show;

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(common: &Common, verb: &LogVerb) -> Result<()> {
    let (processes, filter) = match verb {
        LogVerb::Show(processes) => (processes, None),
        LogVerb::Set { filter, processes } => (processes, Some(filter)),
    };
    let views = match &processes.router {
        Some(url) => vec![ask_router(common, url, filter.map(String::as_str)).await?],
        None => {
            let api = client(common)?;
            let mut query = Vec::new();
            query.extend(processes.cell.as_ref().map(|cell| ("cell", cell.to_string())));
            query.extend(processes.instance.as_ref().map(|instance| ("instance", instance.clone())));
            query.extend(processes.control_plane.then(|| ("control_plane", "true".to_owned())));
            match filter {
                None => api.get_with(&["v1", "log"], &query).await?,
                Some(filter) => {
                    let because = because(common);
                    api.put_with(&["v1", "log"], &query, &SetLog { filter: filter.clone(), because }).await?
                }
            }
        }
    };
    show(common, &views, |views| table(views))?;
    match views.iter().find(|view| view.filter.is_none()) {
        Some(silent) => Err(failure(FAILED, format!("{} did not answer", silent.process))),
        None => Ok(()),
    }
}

fn table(views: &[LogView]) -> String {
    let row = |view: &LogView| {
        let filter = view.filter.clone().unwrap_or_else(|| view.why.clone().unwrap_or_default());
        vec![view.process.clone(), filter]
    };
    columns(&["PROCESS", "LOGS"], &views.iter().map(row).collect::<Vec<_>>())
}

async fn ask_router(common: &Common, url: &str, filter: Option<&str>) -> Result<LogView> {
    let local =
        || Fleet::load(&common.data).ok().flatten().map(|fleet| format!("http://{}", fleet.ports().router_admin()));
    let url = if url.is_empty() { local() } else { Some(url.trim_end_matches('/').to_owned()) };
    let url = url.ok_or_else(|| failure(USAGE, "no local fleet in --data: --router http://host:port"))?;
    let (method, body) = match filter {
        None => (Method::GET, vec![]),
        Some(filter) => (Method::PUT, filter.as_bytes().to_vec()),
    };
    let reply = Http::plain().ask(method, &format!("{url}/v1/log"), &[], body, PATIENCE).await;
    let reply = reply.map_err(|error| failure(FAILED, format!("the router at {url} does not answer: {error}")))?;
    let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
    match reply.status.is_success() {
        true => Ok(LogView { process: "router".into(), filter: Some(text), why: None }),
        false => Err(failure(USAGE, text)),
    }
}

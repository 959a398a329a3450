//! A running local fleet: brings its processes up in the order in which they need one another, registers the cells,
//! and adds cells later.
//!
//! It must never give a cell buckets: the control plane's bootstrap does, once.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use access::http::{Connector, Http};
use access::tls;
use anyhow::{Context, Result, bail};
use control_api::client::{Client, Credentials};
use control_api::{Because, Bootstrap, Bootstrapped, CellSpec, CellView, SetAddresses, Standby};
use http::Method;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use topology::{CellId, Version};

use super::supervisor::{State, Supervisor, View};
use crate::fleet::{Fleet, FleetCell};
use crate::layout::{CONTROL_PLANE, CONTROL_PLANE_DB, LIVE, Layout, READY, Spec};
use crate::ports::{SPLIT_INSTANCES_MAX, check_free};
use crate::regions::{self, REGIONS};
use crate::relay::crossing::Borders;
use crate::relay::places::places;
use crate::relay::{Line, Relays};
use crate::secrets::{self, Secrets};
use crate::socket::{NewCell, Request, Started};
use crate::{builds, keys, observe};

/// A process that is not ready after this long never will be.
const READY_PATIENCE: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// So many deaths before it was ready even once: it cannot start.
const DEATHS_MAX: u32 = 3;
const LOG_LINES: usize = 8;

pub struct Running {
    pub layout: Layout,
    pub supervisor: Arc<Supervisor>,
    pub fleet: Mutex<Fleet>,
    relays: Relays,
    /// One replacement at a time: the second one finds what the first one did.
    replacing: Mutex<()>,
    http: Http,
    began: Instant,
}

impl Running {
    pub fn new(layout: Layout, fleet: Fleet, restart: bool) -> Result<Self> {
        let monitor = Secrets::of(&layout.data).mesh(secrets::MONITOR);
        let tls = if fleet.secure { Some(tls::Client::mesh(&monitor)?) } else { None };
        let http = Http::new(Connector::new(tls, None));
        let supervisor = Arc::new(Supervisor::new(restart));
        let relays = fleet.regions.map_or_else(Relays::default, |regions| {
            let (one_way, supervisor) = (Duration::from_millis(regions.latency_ms.into()) / 2, supervisor.clone());
            Relays::across(|lines| Borders { one_way, lines, supervisor }, &REGIONS)
        });
        Ok(Self {
            layout,
            supervisor,
            fleet: Mutex::new(fleet),
            relays,
            replacing: Mutex::default(),
            http,
            began: Instant::now(),
        })
    }

    /// Starts everything and returns when all of it is ready; what of the configuration is not registered comes back.
    pub async fn start(self: &std::sync::Arc<Self>, because: Because) -> Result<Vec<CellId>> {
        let fleet = self.fleet.lock().await.clone();
        self.start_relays(&fleet).await?;
        let routers = self.layout.routers(&fleet);
        routers.iter().for_each(|router| self.supervisor.add(router.clone()));
        let mut storages = JoinSet::new();
        for cell in fleet.cells.clone() {
            let (this, fleet) = (self.clone(), fleet.clone());
            storages.spawn(async move { this.start_cell(&fleet, &cell).await });
        }
        let control = async {
            let database = self.layout.database(CONTROL_PLANE_DB, &fleet.ports().control_plane_db());
            self.up(database).await?;
            self.run_once(CONTROL_PLANE, "control-plane", &self.layout.control_plane_tables(&fleet)).await?;
            self.up(self.layout.control_plane(&fleet)).await
        };
        let cells = async {
            while let Some(done) = storages.join_next().await {
                done.context("a start was interrupted")??;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(control, cells)?;
        let missing = register(&fleet, &self.layout.data, because).await?;
        self.say("cells registered");
        for cell in &fleet.cells {
            self.cell_ready(&fleet, cell).await?;
        }
        for router in &routers {
            self.ready(router).await?;
        }
        if let Some(prometheus) = observe::spec(&self.layout, &fleet) {
            self.up(prometheus).await?;
        }
        Ok(missing)
    }

    async fn start_relays(&self, fleet: &Fleet) -> Result<()> {
        regions::open_archives(&self.layout.data, fleet)?;
        for place in places(fleet)? {
            self.relays.add(place).await?;
        }
        Ok(())
    }

    /// The cell's databases and tables, then its processes, which need not be ready yet.
    async fn start_cell(&self, fleet: &Fleet, cell: &FleetCell) -> Result<()> {
        keys::create(&self.layout.checkpoint_key(cell))?;
        for side in fleet.sides() {
            self.up(self.layout.cell_database(fleet, cell, *side)).await?;
            self.run_once(cell.id.as_str(), "cell", &self.layout.cell_tables(fleet, cell, *side)).await?;
        }
        for instance in self.layout.cell_instances(fleet, cell) {
            self.supervisor.add(instance);
        }
        Ok(())
    }

    async fn cell_ready(&self, fleet: &Fleet, cell: &FleetCell) -> Result<()> {
        let instances = self.layout.cell_instances(fleet, cell);
        if fleet.regions.is_none() {
            return self.all_ready(&instances).await;
        }
        let (home, standby) = instances.split_at(instances.len() / 2);
        // Those that serve are the others since the cell has failed over.
        let waiting = tokio::select! {
            ready = self.all_ready(home) => ready.map(|()| standby),
            ready = self.all_ready(standby) => ready.map(|()| home),
        };
        for instance in waiting? {
            self.ready(&Spec { ready_path: LIVE, ..instance.clone() }).await?;
        }
        Ok(())
    }

    async fn all_ready(&self, instances: &[Spec]) -> Result<()> {
        for instance in instances {
            self.ready(&Spec { ready_path: READY, ..instance.clone() }).await?;
        }
        Ok(())
    }

    async fn up(&self, spec: Spec) -> Result<()> {
        self.supervisor.add(spec.clone());
        self.ready(&spec).await
    }

    async fn ready(&self, spec: &Spec) -> Result<()> {
        let view = self.supervisor.watch(&spec.name).expect("it was added before");
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            if self.is_ready(&spec.health, spec.ready_path, spec.tls).await {
                let how = if spec.ready_path == LIVE { "waits" } else { "ready" };
                self.say(&format!("{:18} {how} on {}", spec.name, spec.listens[0]));
                return Ok(());
            }
            let (deaths, state) = {
                let view = view.borrow();
                (view.deaths, view.state)
            };
            if deaths >= DEATHS_MAX || (deaths > 0 && state == State::Stopped) {
                bail!("{} cannot start; the end of {}:\n{}", spec.name, spec.log.display(), tail(&spec.log));
            }
            if Instant::now() > deadline {
                let waited = READY_PATIENCE.as_secs();
                bail!(
                    "{} is not ready after {waited} s; the end of {}:\n{}",
                    spec.name,
                    spec.log.display(),
                    tail(&spec.log)
                );
            }
            sleep(READY_POLL).await;
        }
    }

    async fn is_ready(&self, address: &str, path: &str, tls: bool) -> bool {
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{address}{path}");
        let answer = self.http.ask(Method::GET, &url, &[], vec![], PROBE_TIMEOUT).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// Runs a program to its end; its output is shown only if it fails.
    async fn run_once(&self, name: &str, program: &str, args: &[String]) -> Result<()> {
        let mut command = Command::new(self.layout.program(program));
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("`{program} {}` for {name} failed:\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn say(&self, what: &str) {
        eprintln!("{:6.2} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Answers a request of another `ctl`.
    pub async fn answer(&self, request: Request) -> Result<Value> {
        use super::supervisor::Command;
        let (name, order) = match request {
            Request::Status => return self.status().await,
            Request::AddCell(new) => return Ok(serde_json::to_value(self.add_cell(new).await?)?),
            Request::Stop { name } => (name, Command::Stop),
            Request::Start { name } => (name, Command::Start),
            Request::Kill { name, keep_down } => (name, Command::Kill { keep_down }),
            Request::Pause { name } => (name, Command::Pause),
            Request::Resume { name } => (name, Command::Resume),
            Request::Replace { name, version, order } => return self.replace(&name, version, order).await,
            Request::Line { names, line } => return Ok(serde_json::to_value(self.set_lines(&names, line).await?)?),
        };
        if self.supervisor.watch(&name).is_none() {
            let names: Vec<_> = self.supervisor.views().into_iter().map(|view| view.name).collect();
            bail!("no process {name:?}; there are {}", names.join(", "));
        }
        let is_start = matches!(order, Command::Start);
        let mut view =
            self.supervisor.order(&name, order).await.with_context(|| format!("{name} did not obey in time"))?;
        if is_start {
            let deadline = Instant::now() + READY_PATIENCE;
            while !view.ready && Instant::now() < deadline {
                view.ready = self.is_ready(&view.address, &view.ready_path, view.tls).await;
                sleep(READY_POLL).await;
            }
        }
        Ok(serde_json::to_value([view])?)
    }

    /// What is named may be a Region: its way to the archive is cut or mended with it.
    async fn set_lines(&self, names: &[String], line: Line) -> Result<()> {
        self.relays.set(names, line)?;
        let fleet = self.fleet.lock().await;
        let mut regions = names.iter().filter(|name| REGIONS.contains(&name.as_str()));
        regions.try_for_each(|region| regions::set_archive(&self.layout.data, &fleet, region, line == Line::Whole))
    }

    /// Remembers first what the process is to be, then makes it so: after a death in between, the
    /// next start, or the same request once more, does that.
    async fn replace(&self, name: &str, version: Version, order: Option<u64>) -> Result<Value> {
        let _alone = self.replacing.lock().await;
        let spec = {
            let mut fleet = self.fleet.lock().await;
            builds::choose(&mut fleet, &self.layout, name, version, order)?;
            fleet.save(&self.layout.data)?;
            let specs = fleet.cells.iter().flat_map(|cell| self.layout.cell_instances(&fleet, cell));
            specs.chain(self.layout.routers(&fleet)).find(|spec| spec.name == name).context("it was just found")?
        };
        let view = self.supervisor.watch(name).with_context(|| format!("{name} was never started"))?.borrow().clone();
        if view.version != spec.version || view.state != State::Running {
            use super::supervisor::Command;
            let become_it = Command::Become(Arc::new(spec.clone()));
            let obeyed = self.supervisor.order(name, become_it).await;
            obeyed.with_context(|| {
                format!("{name} did not start; the end of {}:\n{}", spec.log.display(), tail(&spec.log))
            })?;
        }
        self.ready(&spec).await?;
        let view = self.supervisor.watch(name).map(|view| View { ready: true, ..view.borrow().clone() });
        Ok(serde_json::to_value(view.into_iter().collect::<Vec<_>>())?)
    }

    async fn status(&self) -> Result<Value> {
        let mut views = self.supervisor.views();
        for view in &mut views {
            view.ready = view.state == State::Running && self.is_ready(&view.address, &view.ready_path, view.tls).await;
        }
        Ok(serde_json::to_value(views)?)
    }

    /// Starts a new cell; asked again for a cell that runs, answers the same.
    async fn add_cell(&self, NewCell { cell: wanted }: NewCell) -> Result<Started> {
        let mut fleet = self.fleet.lock().await;
        let cell = match fleet.cells.iter().find(|cell| cell.id == wanted.id) {
            Some(cell) => cell.clone(),
            None => {
                let instances = if wanted.instances == 0 { fleet.instances } else { wanted.instances };
                if fleet.split_roles && instances > SPLIT_INSTANCES_MAX {
                    bail!("{} with {instances} processes: at most {SPLIT_INSTANCES_MAX} of each role", wanted.id);
                }
                let cell = FleetCell { number: fleet.next_number(), instances, ..wanted };
                let specs = self.layout.of_cell(&fleet, &cell);
                let listens = specs.into_iter().map(|spec| (spec.name, spec.health));
                check_free(&listens.collect::<Vec<_>>())?;
                cell
            }
        };
        let with_it = Fleet { cells: vec![cell.clone()], ..fleet.clone() };
        self.start_relays(&with_it).await?;
        if fleet.secure {
            Secrets::of(&self.layout.data).issue_cell(&cell.id)?;
        }
        self.start_cell(&fleet, &cell).await?;
        self.cell_ready(&fleet, &cell).await?;
        if !fleet.cells.contains(&cell) {
            fleet.cells.push(cell.clone());
            fleet.save(&self.layout.data)?;
            observe::targets(&self.layout.data, &fleet)?;
        }
        Ok(Started { cell: fleet.spec(&cell) })
    }
}

/// Publishes the first placement, or brings the addresses of the cells up to date; answers which cells the control
/// plane does not know.
async fn register(fleet: &Fleet, data: &Path, because: Because) -> Result<Vec<CellId>> {
    let mut credentials = Credentials::default();
    if fleet.secure {
        let secrets = Secrets::of(data);
        let token = secrets.operator_token(&because.actor)?;
        credentials = Credentials { authority: Some(secrets.authority()), token: Some(token) };
    }
    let api = Client::new(&fleet.control_plane(), &credentials)?;
    let specs: Vec<_> = fleet.cells.iter().map(|cell| fleet.spec(cell)).collect();
    let wanted = Bootstrap { cells: specs.clone(), because: because.clone() };
    let done: Bootstrapped = api.send(Method::POST, &["v1", "bootstrap"], Some(&wanted)).await?;
    if done.created {
        return Ok(done.not_registered);
    }
    let registered: Vec<CellView> = api.get(&["v1", "cells"]).await?;
    for spec in specs {
        let Some(before) = registered.iter().find(|cell| cell.id == spec.id) else { continue };
        let spec = at_home(spec, &before.dynamodb.region);
        if before.instances == spec.instances && before.dynamodb == spec.dynamodb {
            continue;
        }
        let body = SetAddresses { instances: spec.instances, dynamodb: spec.dynamodb, because: because.clone() };
        let path = ["v1", "cells", spec.id.as_str(), "addresses"];
        let _: CellView = api.send(Method::PUT, &path, Some(&body)).await?;
    }
    Ok(done.not_registered)
}

/// The cell as it is since it failed over, if its home is the Region of its standby now.
fn at_home(spec: CellSpec, region: &str) -> CellSpec {
    match spec.standby {
        Some(standby) if standby.dynamodb.region == region => {
            let (instances, dynamodb) = (spec.instances, spec.dynamodb);
            let other = Standby { instances, dynamodb, replication: standby.replication };
            CellSpec { instances: standby.instances, dynamodb: standby.dynamodb, standby: Some(other), ..spec }
        }
        standby => CellSpec { standby, ..spec },
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

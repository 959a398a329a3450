//! `ctl up`: a whole fleet on this machine, from nothing to ready in seconds, until Ctrl-C.
//!
//! It must never leave a process behind, nor throw away a directory that is not a fleet's.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use command_line::{PRECONDITION, failure};
use control_api::Because;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use topology::{CellId, Config, ZoneId};

use crate::fleet::{FIRST_PORT, Fleet, INSTANCES, Observed};
use crate::layout::{KEYS, Layout};
use crate::ports::{SPLIT_INSTANCES_MAX, check_free};
use crate::regions::{Regions, Side};
use crate::relay::places::places;
use crate::running::Running;
use crate::secrets::{ISSUER, Secrets};
use crate::{observe, socket};

const PROGRAMS: [&str; 4] = ["local-dynamodb", "control-plane", "router", "cell"];
const LOCK: &str = "lock";
/// Directory of a fleet for which none is named.
pub const DEFAULT_DATA: &str = ".fleet";

#[derive(Args)]
pub struct Up {
    #[arg(long, default_value = "cells.toml")]
    pub config: PathBuf,
    #[arg(long, help = format!("Processes per cell, at most 8 [default: as last time, at first {INSTANCES}]"), value_parser = clap::value_parser!(u16).range(1..=8))]
    pub instances: Option<u16>,
    #[arg(long, help = format!("First port: the router's; all others follow from it [default: as last time, at first {FIRST_PORT}]"), value_parser = clap::value_parser!(u16).range(1024..=60_000))]
    pub port: Option<u16>,
    /// Throw away what an earlier fleet stored.
    #[arg(long)]
    pub fresh: bool,
    /// Leave what dies dead.
    #[arg(long)]
    pub no_restart: bool,
    /// Separate processes of each cell for wallets and for money, as many of each as --instances says (at most 4).
    #[arg(long, env = "CTL_SPLIT_ROLES")]
    pub split_roles: bool,
    /// Routers, each at an address of its own; with --regions 2, each Region has one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    pub routers: u16,
    /// Writes a second that each cell takes, instead of max_tps of cells.toml; 0: no limit.
    #[arg(long, env = "CTL_MAX_TPS")]
    pub max_tps: Option<u32>,
    /// Require authentication: certificates between the processes, tokens for all others. Keys are
    /// made in --data.
    #[arg(long)]
    pub secure: bool,
    /// The zone that the router is in, of deployment.zones in cells.toml; then it asks instances of
    /// that zone first.
    #[arg(long)]
    pub router_zone: Option<ZoneId>,
    /// Run a Prometheus over the fleet too, with the rules in ops/prometheus; its port is the first plus 5.
    #[arg(long, env = "CTL_OBSERVE")]
    pub observe: bool,
    /// The program [default: .tools/prometheus/prometheus, or that of the path].
    #[arg(long, env = "CTL_PROMETHEUS", requires = "observe")]
    pub prometheus: Option<PathBuf>,
    /// Divide all times in the rules by this: for drills.
    #[arg(long, requires = "observe", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub rules_faster: u32,
    /// A synthetic customer in every cell, which does what customers do all the time: a signal for
    /// `ctl deploy`.
    #[arg(long, env = "CTL_CANARIES")]
    pub canaries: bool,
    /// With 2, give each cell a standby in a second Region, which the control plane can make its home; at most four cells.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    pub regions: u16,
    /// By how much a round trip between Regions takes longer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub region_latency_ms: u16,
    /// Put a relay before each instance, so that its network can be cut; at most four cells.
    #[arg(long, hide = true)]
    pub relays: bool,
}

/// Runs the fleet in `data` until the process is asked to stop.
pub async fn run(data: &Path, because: Because, wanted: &Up) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().with_target(false).init();
    let config_path = std::fs::canonicalize(&wanted.config).with_context(|| {
        format!("cannot read {}: name the deployment's file with --config", wanted.config.display())
    })?;
    let config = Config::parse(&std::fs::read_to_string(&config_path)?)
        .with_context(|| format!("{} is not sound", wanted.config.display()))?;
    let programs = programs()?;
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let (named, data) = (data, std::fs::canonicalize(data)?);
    let _lock = lock(&data)?;
    if wanted.fresh {
        empty(&data)?;
    }
    let earlier = Fleet::load(&data)?;
    let mut fleet = earlier.unwrap_or_else(|| Fleet::new(&config));
    fleet.adjust(wanted.port, wanted.instances);
    fleet.limit(wanted.max_tps);
    fleet.regions = (wanted.regions > 1).then_some(Regions { latency_ms: wanted.region_latency_ms });
    fleet.routers = wanted.routers;
    fleet.relays = wanted.relays || fleet.regions.is_some();
    fleet.split_roles = wanted.split_roles;
    let crowded = fleet.cells.iter().find(|cell| fleet.split_roles && cell.instances > SPLIT_INSTANCES_MAX);
    if let Some(cell) = crowded {
        let message = format!(
            "{} has {} processes; with --split-roles at most {SPLIT_INSTANCES_MAX} of each role",
            cell.id, cell.instances
        );
        return Err(failure(PRECONDITION, message));
    }
    fleet.secure = wanted.secure;
    fleet.zones.clone_from(&config.deployment.zones);
    fleet.router_zone.clone_from(&wanted.router_zone);
    fleet.observed = None;
    if wanted.observe {
        let program = observe::program(wanted.prometheus.as_deref())?;
        fleet.observed = Some(Observed { program, faster: wanted.rules_faster });
    }
    fleet.canaries = wanted.canaries;
    let layout = Layout { programs, data: data.clone(), config: config_path };
    let listens = layout.all(&fleet).into_iter().flat_map(|spec| {
        let name = spec.name;
        spec.listens.into_iter().map(move |listen| (name.clone(), listen))
    });
    let relays = places(&fleet)?.into_iter().map(|place| (format!("relay of {}", place.name), place.listen));
    check_free(&listens.chain(relays).collect::<Vec<_>>())?;
    for folder in ["db", "logs", KEYS].into_iter().chain(fleet.routers().into_iter().map(|(name, ..)| name)) {
        std::fs::create_dir_all(data.join(folder))?;
    }
    if fleet.secure {
        let cells: Vec<_> = fleet.cells.iter().map(|cell| cell.id.clone()).collect();
        Secrets::of(&data).prepare(&cells)?;
        if fleet.canaries {
            Secrets::of(&data).mint_for_canaries()?;
        }
    } else {
        let what = "Unauthenticated: any process on this machine can use this fleet.";
        eprintln!("{what} Use `ctl up --secure` to require tokens.");
    }
    observe::prepare(&data, &fleet)?;
    fleet.save(&data)?;
    let listener = socket::listen(&data)?;
    let unknown: Vec<CellId> = not_in(&fleet, &config);
    let running = Arc::new(Running::new(layout, fleet, !wanted.no_restart)?);
    let served = serve(&running, &listener, named, because, &unknown).await;
    eprintln!("stopping");
    running.supervisor.stop_all().await;
    let _ = std::fs::remove_file(socket::path(&data));
    served
}

/// Until a signal stops it, or until something cannot start.
async fn serve(
    running: &Arc<Running>,
    listener: &UnixListener,
    data: &Path,
    because: Because,
    unknown: &[CellId],
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let start = async {
        let actor = because.actor.clone();
        let unregistered = running.start(because).await?;
        let fleet = running.fleet.lock().await.clone();
        greet(&fleet, data, &actor, unknown.iter().chain(&unregistered))?;
        anyhow::Ok(())
    };
    tokio::select! {
        started = start => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut stream, _) = accepted?;
                let running = Arc::clone(running);
                tokio::spawn(async move {
                    if let Some(request) = socket::receive(&mut stream).await {
                        let answer = running.answer(request).await;
                        socket::reply(stream, answer).await;
                    }
                });
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn greet<'a>(fleet: &Fleet, data: &Path, actor: &str, unknown: impl Iterator<Item = &'a CellId>) -> Result<()> {
    let scheme = fleet.scheme();
    for id in unknown {
        eprintln!("{id} is in cells.toml but not registered; it owns nothing until `ctl cell add {id}`");
    }
    let ports = fleet.ports();
    for (name, ports, _) in fleet.routers() {
        println!("{name:13}  {scheme}://{}", ports.router());
    }
    println!("router admin   http://{}", ports.router_admin());
    println!("control plane  {scheme}://{}", ports.control_plane());
    if fleet.observed.is_some() {
        println!("prometheus     http://{}", ports.prometheus());
    }
    for cell in &fleet.cells {
        for side in fleet.sides() {
            let urls: Vec<_> = fleet.members_of(cell, *side).map(|one| format!("{scheme}://{}", one.address)).collect();
            let region = fleet.regions.map_or_else(String::new, |_| format!(" in {}", fleet.region_of(cell, *side)));
            let name = if *side == Side::Home { cell.id.to_string() } else { "  standby".to_owned() };
            println!("{name:13}  {}{region}", urls.join(" "));
        }
    }
    let secrets = Secrets::of(data);
    if fleet.secure {
        println!("\nauthority      {}", secrets.authority().display());
        println!("tokens         issuer {ISSUER}, keys {}", secrets.key_set().display());
        println!("operator token {}", secrets.operator_token(actor)?);
    }
    println!("\ntry, in another terminal:");
    let (program, flag) = (program(), data_flag(data));
    let with = match fleet.secure {
        true => format!(
            "--cacert {} -H \"authorization: Bearer $({program}{flag} token --customer ann)\" ",
            secrets.authority().display()
        ),
        false => String::new(),
    };
    println!(
        "  curl {with}-X POST {scheme}://{}/api/v1/wallets -H 'content-type: application/json' -H 'idempotency-key: 1' \
         -d '{{\"userId\":\"ann\"}}'",
        ports.router()
    );
    println!("  {program}{flag} where ann");
    println!("  {program}{flag} status");
    if fleet.secure {
        println!("  {program}{flag} token --service cards --scope deposit,hold");
        println!("  {program}{flag} token --operator joe --role viewer");
    }
    Ok(())
}

fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "ctl".to_owned())
}

fn data_flag(data: &Path) -> String {
    if data == Path::new(DEFAULT_DATA) { String::new() } else { format!(" --data {}", data.display()) }
}

/// The programs stand beside this one; all of them must be there.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    let folder = own.parent().context("this program is in no directory")?.to_owned();
    match PROGRAMS.iter().find(|name| !folder.join(name).is_file()) {
        None => Ok(folder),
        Some(missing) => {
            let message = format!(
                "{} is missing: build it with `cargo build --workspace --bins`",
                folder.join(missing).display()
            );
            Err(failure(PRECONDITION, message))
        }
    }
}

/// One `ctl up` for each directory. The lock goes with the process, however it ends.
fn lock(data: &Path) -> Result<File> {
    let path = data.join(LOCK);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let message = format!(
                "another `ctl up` (process {}) runs the fleet in {}: stop it, or choose another directory with --data",
                holder.trim(),
                data.display()
            );
            return Err(failure(PRECONDITION, message));
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Removes what an earlier fleet stored, but nothing from a directory that does not look like a fleet's.
fn empty(data: &Path) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(data)?.flatten().filter(|entry| entry.file_name() != LOCK).collect();
    if !entries.is_empty() && !data.join("fleet.json").is_file() {
        let message = format!("{} holds files but no fleet.json: --fresh won't remove them", data.display());
        return Err(failure(PRECONDITION, message));
    }
    // The file by which the directory is known goes last: this may be interrupted.
    entries.sort_by_key(|entry| entry.file_name() == "fleet.json");
    for entry in entries {
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn not_in(fleet: &Fleet, config: &Config) -> Vec<CellId> {
    let known = |id: &CellId| fleet.cells.iter().any(|cell| &cell.id == id);
    config.cells.iter().map(|cell| cell.id.clone()).filter(|id| !known(id)).collect()
}

//! `control-plane`: reads flags and runs one of: serve, create tables, bootstrap.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use access::collector::Collector;
use access::flags::{AuthFlags, MeshFlags, check_listen, check_plain, warn_if_open, warn_if_plain};
use access::listener::{self, Bounds};
use access::tls::{Acceptor, Client, Server};
use access::{Gate, Role};
use anyhow::Context;
use archive::Archive;
use clap::{Args, Parser, Subcommand};
use control_api::{Because, Bootstrap};
use control_plane::Connection;
use control_plane::audit::{conservation, witness};
use control_plane::cells::instances::Instances;
use control_plane::cells::{configured, counting, measuring};
use control_plane::deploys::parts::{NamedRouter, Routers};
use control_plane::deploys::replacer::Replacer;
use control_plane::deploys::replacer::command::Configured;
use control_plane::deploys::replacer::kubernetes::Kubernetes;
use control_plane::deploys::replacer::local::Local;
use control_plane::deploys::{canaries, worker};
use control_plane::lifecycle::bootstrap::bootstrap;
use control_plane::operations::{leftovers, reconciler};
use control_plane::packing;
use control_plane::regions::mirror;
use control_plane::service::{ControlPlane, Settings, create_tables};
use control_plane::zones::dns;
use control_plane::zones::dns::{Dns, DnsFlags};
use ledger::fence::PURGE_AFTER;
use telemetry::flags::{LogFormat, TelemetryFlags};
use telemetry::trace::export;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use topology::{Config, Version};

/// Requests that still run are cut off after this long when the process has to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Routers hold one connection each; operators and monitors a few.
const BOUNDS: Bounds = Bounds { connections_max: 4_096, peer_connections_max: 512 };

/// The registry of cells and the placement of customers.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Args)]
struct Common {
    #[arg(long, global = true, default_value = "cells.toml")]
    config: PathBuf,
    /// Replaces the endpoint of AWS; without it, region and environment decide.
    #[arg(long, global = true)]
    dynamodb_endpoint: Option<String>,
    /// Default: the configuration's.
    #[arg(long, global = true)]
    region: Option<String>,
    #[arg(long, global = true, default_value = "control-")]
    table_prefix: String,
    #[arg(long, global = true, default_value = "127.0.0.1:8083")]
    listen: SocketAddr,
    /// Seconds between two counts of all customers.
    #[arg(long, global = true, default_value_t = 60)]
    count_seconds: u64,
    /// Folder with `<cell>.pub` for each cell: the keys that its checkpoints are verified with
    #[arg(long, global = true, env = "CONTROL_PLANE_CHECKPOINT_KEYS")]
    checkpoint_keys: Option<PathBuf>,
    /// Seconds between two looks at the cells' checkpoints
    #[arg(long, global = true, env = "CONTROL_PLANE_WITNESS_SECONDS", default_value_t = 15)]
    witness_seconds: u64,
    /// URL below which the cells' archives are, each under its cell's name: `s3://bucket/prefix` or `file:///directory`.
    /// Without it, cells are restored from files only
    #[arg(long, global = true, env = "CONTROL_PLANE_ARCHIVE")]
    archive: Option<String>,
    #[command(flatten)]
    deploys: DeployFlags,
    #[command(flatten)]
    canaries: CanaryFlags,
    /// What this build is called; shown in metrics [default: the version of the sources]
    #[arg(long, global = true, env = "CONTROL_PLANE_BUILD_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    build_version: Version,
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Seconds between two audits of whether all money is there; 0: never. Without `--archive` each of them reads every
    /// chain of every cell
    #[arg(long, global = true, env = "CONTROL_PLANE_CONSERVATION_SECONDS", default_value_t = 0)]
    conservation_seconds: u64,
    /// Seconds after a wallet left a cell before the blocks that it left there may be deleted. Less than the default is
    /// safe only where no process is ever stopped or suspended: in tests
    #[arg(long, global = true, env = "CONTROL_PLANE_PURGE_AFTER_SECONDS", default_value_t = PURGE_AFTER.as_secs())]
    purge_after_seconds: u64,
    /// Seconds that blocks stay in the tables of all cells before they are in packs of the archive only, in place of
    /// `history_days` in the configuration: for tests
    #[arg(long, global = true, env = "CONTROL_PLANE_HISTORY_SECONDS")]
    history_seconds: Option<u64>,
    #[command(flatten)]
    telemetry: TelemetryFlags,
    #[command(flatten)]
    dns: DnsFlags,
    #[command(flatten)]
    mesh: MeshFlags,
    #[command(flatten)]
    auth: AuthFlags,
}

/// How instances come to run another version. Without one of these, deploys are only planned here.
#[derive(Args)]
struct DeployFlags {
    /// Directory of a local fleet: its running `ctl up` replaces its instances, if neither of the two below is given
    #[arg(long, global = true, env = "CONTROL_PLANE_LOCAL_FLEET")]
    local_fleet: Option<PathBuf>,
    /// JSON file that names the command which has an instance run a version: {"argv": […], "timeoutSeconds": 600}. It is
    /// run with DEPLOY, OF, CELL, ZONE, INSTANCE, VERSION and ORDER in its environment, and again after a crash
    #[arg(long, global = true, env = "CONTROL_PLANE_DEPLOY_COMMAND")]
    deploy_command: Option<PathBuf>,
    /// JSON file that names the Kubernetes cluster of each cell and that of the routers, and the image of each version. An
    /// instance is a zone of its cell there, or of the routers, and its Deployment is given the image
    #[arg(long, global = true, env = "CONTROL_PLANE_DEPLOY_KUBERNETES", conflicts_with = "deploy_command")]
    deploy_kubernetes: Option<PathBuf>,
    /// The routers that `ctl deploy --of routers` brings versions to, the canary first: ID=URL or ID@ZONE=URL, separated by
    /// commas. The URL is that of the admin pages, http://HOST:PORT or, with the --mesh flags, https://HOST:PORT
    #[arg(long, global = true, env = "CONTROL_PLANE_ROUTERS", value_delimiter = ',')]
    routers: Vec<NamedRouter>,
}

impl DeployFlags {
    fn replacer(&self) -> Option<Arc<dyn Replacer>> {
        match (&self.deploy_kubernetes, &self.deploy_command, &self.local_fleet) {
            (Some(file), _, _) => Some(Arc::new(Kubernetes(file.clone()))),
            (None, Some(file), _) => Some(Arc::new(Configured(file.clone()))),
            (None, None, Some(data)) => Some(Arc::new(Local(data.clone()))),
            (None, None, None) => None,
        }
    }
}

/// Synthetic customers, one in every cell. Without the first flag there are none.
#[derive(Args)]
struct CanaryFlags {
    /// A router's public address, http:// or https://host:port, that canaries ask all the time
    #[arg(long, global = true, env = "CONTROL_PLANE_CANARY_ROUTER")]
    canary_router: Option<String>,
    /// File with the token of a service that may create, read, deposit, withdraw and transfer
    #[arg(long, global = true, env = "CONTROL_PLANE_CANARY_TOKEN")]
    canary_token: Option<PathBuf>,
    /// PEM file of the authorities to believe when the router is https
    #[arg(long, global = true, env = "CONTROL_PLANE_CANARY_CA")]
    canary_ca: Option<PathBuf>,
    /// Milliseconds between two journeys of a canary, of six requests each: 10 to 60000
    #[arg(long, global = true, env = "CONTROL_PLANE_CANARY_PAUSE_MS", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(canaries::PAUSE_MS))]
    canary_pause_ms: u64,
}

impl CanaryFlags {
    fn settings(&self) -> Option<canaries::Settings> {
        Some(canaries::Settings {
            router: self.canary_router.as_ref()?.trim_end_matches('/').to_owned(),
            token: self.canary_token.clone(),
            authority: self.canary_ca.clone(),
            pause: Duration::from_millis(self.canary_pause_ms),
        })
    }
}

const MESH_FLAGS: &str = "--mesh-ca, --mesh-cert and --mesh-key";

#[derive(Subcommand)]
enum Task {
    /// Answer the API (the default).
    Serve,
    /// The control plane's own tables.
    #[command(subcommand)]
    Tables(Tables),
    /// Publish the first placement from the configuration's cells and weights. Safe to run again.
    Bootstrap {
        #[arg(long, env = "USER", default_value = "unknown")]
        actor: String,
        #[arg(long, default_value = "first placement")]
        reason: String,
    },
}

#[derive(Subcommand)]
enum Tables {
    /// Create the tables that are missing.
    Create,
}

fn main() -> ExitCode {
    match start(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: Flags) -> anyhow::Result<()> {
    let log = &flags.common.telemetry.log;
    let identity = control_plane::identity(&flags.common.build_version);
    let _log = telemetry::log::install(&identity, flags.common.log_format, log).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(flags))
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    telemetry::process::outlive_full_files()?;
    let common = &flags.common;
    let text = std::fs::read_to_string(&common.config)
        .with_context(|| format!("cannot read {} (--config)", common.config.display()))?;
    let config = Config::parse(&text)?;
    let region = common.region.clone().unwrap_or_else(|| config.deployment.region.clone());
    let zones_role = config.aws.as_ref().map(|aws| aws.zones_role(&config.deployment));
    let settings = Settings {
        connection: Connection { endpoint: common.dynamodb_endpoint.clone(), region, role: None },
        table_prefix: common.table_prefix.clone(),
        checkpoint_keys: common.checkpoint_keys.clone(),
        witness_every: Duration::from_secs(common.witness_seconds.max(1)),
        dns: Dns::of(&common.dns, zones_role).await?,
        replacer: common.deploys.replacer(),
        routers: Routers::default(),
        canaries: common.canaries.settings(),
        packs: packs(common.archive.as_deref(), &config)?,
        archive: common.archive.clone(),
        purge_after: Duration::from_secs(common.purge_after_seconds),
        config,
    };
    match flags.task {
        None | Some(Task::Serve) => serve(common, settings).await,
        Some(Task::Tables(Tables::Create)) => Ok(create_tables(&settings.connection, &settings.table_prefix).await?),
        Some(Task::Bootstrap { actor, reason }) => {
            let wanted = Bootstrap { cells: configured::specs(&settings.config), because: Because { actor, reason } };
            let control = ControlPlane::new(settings, Instances::new()).await;
            let done = bootstrap(&control.fleet, &wanted).await?;
            println!("{}", serde_json::to_string(&done)?);
            Ok(())
        }
    }
}

/// Packs belong to no cell, so the archive of any of them finds them.
fn packs(archive: Option<&str>, config: &Config) -> anyhow::Result<Option<Archive>> {
    let (Some(url), Some(cell)) = (archive, config.cells.first()) else { return Ok(None) };
    Ok(Some(Archive::open(url, cell.id.clone()).context("--archive")?))
}

/// The API's authentication, and how this process calls the cells and the routers.
struct Doors {
    gate: Option<Gate>,
    tls: Option<Server>,
    instances: Instances,
    routers: Routers,
}

/// Reads keys and certificates, and refuses to be open to other machines.
async fn doors(common: &Common, settings: &Settings) -> anyhow::Result<Doors> {
    let mesh = common.mesh.files_of(Role::ControlPlane, None)?;
    let is_protected = mesh.is_some() && common.auth.auth_jwks.is_some();
    check_listen("--listen", common.listen, is_protected, &format!("{MESH_FLAGS}, and --auth-jwks"))?;
    let gate = common.auth.gate(settings.config.deployment.namespace).await?;
    warn_if_open("control plane's API", gate.is_some(), "--auth-jwks");
    warn_if_plain("control plane's API", gate.is_some(), mesh.is_some(), MESH_FLAGS);
    if let (Some(router), Some(_)) = (&common.canaries.canary_router, &common.canaries.canary_token) {
        check_plain("--canary-router", router)?;
    }
    let client = mesh.as_ref().map(Client::mesh).transpose()?;
    let over = |role| client.clone().map(|client| Instances::over(client, role));
    let routers = Routers::new(common.deploys.routers.clone(), over(Role::Router)).map_err(anyhow::Error::msg);
    let routers = routers.context("--routers")?;
    let Some(files) = &mesh else { return Ok(Doors { gate, tls: None, instances: Instances::new(), routers }) };
    let tls = Server::mesh_and_others("control-plane", files, &[Role::Router, Role::Monitor])?;
    Ok(Doors { gate, tls: Some(tls), instances: over(Role::Cell).unwrap_or_default(), routers })
}

async fn serve(common: &Common, settings: Settings) -> anyhow::Result<()> {
    let descriptors = access::descriptors::raise();
    let listen = common.listen;
    let doors = doors(common, &settings).await?;
    let identity = control_plane::identity(&common.build_version);
    let metrics = telemetry::metrics::install(&identity)?;
    let spans = export::start(&identity, &common.telemetry).map_err(anyhow::Error::msg)?;
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    let bounds = packing::bounds(&settings.config, common.history_seconds.map(Duration::from_secs));
    let control = ControlPlane::new(Settings { routers: doors.routers, ..settings }, doors.instances).await;
    let mut background = JoinSet::new();
    start_background(&mut background, &control, common, bounds);
    background.spawn(metrics.clone().keep_up());
    if let Some(spans) = spans {
        let collector = Collector::new(spans.url(), export::CONTENT_TYPE).context("--otlp-endpoint")?;
        background.spawn(spans.run(move |body| collector.clone().post(body)));
    }
    tracing::info!(listen = %listener.local_addr()?, "serving");
    let app = control_plane::api::guarded(control.clone(), metrics, doors.gate);
    let stopped = async move {
        told_to_stop().await;
        control.fleet.placements.release_readers();
    };
    if !listener::serve(Acceptor::new(listener, doors.tls), app, BOUNDS.within(descriptors), stopped, DRAIN_MAX).await {
        tracing::info!("requests that still ran were cut off");
    }
    background.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// Everything that goes on for as long as the process runs.
fn start_background(tasks: &mut JoinSet<()>, control: &ControlPlane, common: &Common, bounds: packing::Bounds) {
    let count_every = Duration::from_secs(common.count_seconds.max(1));
    let conservation_every = Some(common.conservation_seconds).filter(|&every| every > 0).map(Duration::from_secs);
    let ControlPlane { fleet, operations, deploys, witness, zones, refills } = control;
    let of = || Arc::clone(fleet);
    let (placed, counted, measured, audited, watched, asked, packed) = (of(), of(), of(), of(), of(), of(), of());
    tasks.spawn(async move { placed.placements.watch_store().await });
    tasks.spawn(async move { counting::keep_counting(&counted, count_every).await });
    tasks.spawn(async move { measuring::keep_measuring(&measured).await });
    let archive = common.archive.clone();
    tasks.spawn(async move { conservation::keep_auditing(&audited, archive, conservation_every).await });
    tasks.spawn(async move { packing::keep_packing(&packed, bounds).await });
    let keeper = Arc::clone(witness);
    tasks.spawn(async move { witness::keep_watching(&watched, &keeper).await });
    let canaries = Arc::clone(&deploys.canaries);
    tasks.spawn(async move { canaries::keep_asking(&asked, &canaries).await });
    let (followed, refills) = (of(), Arc::clone(refills));
    tasks.spawn(async move { mirror::keep_following(&followed, &refills).await });
    let settling = Arc::clone(operations);
    tasks.spawn(async move { leftovers::keep_settling(&settling).await });
    let operations = Arc::clone(operations);
    tasks.spawn(async move { reconciler::keep_reconciling(&operations).await });
    let deploys = Arc::clone(deploys);
    tasks.spawn(async move { worker::keep_deploying(&deploys).await });
    let zones = Arc::clone(zones);
    tasks.spawn(async move { dns::keep_in_step(&zones).await });
}

async fn told_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

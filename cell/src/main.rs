//! The cell's binary: reads flags and environment, puts the parts together, serves until a signal
//! stops it.

mod standby;
mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::collector::Collector;
use access::flags::{MeshFlags, check_listen, warn_if_open};
use access::tls;
use anyhow::{Context, Result, bail};
use cell::admission::Admission;
use cell::clock::Clock;
use cell::http::{Bodies, CALLERS, Edge, MAX_FOLLOWERS, MAX_FOLLOWERS_OF_EACH, Patience, Places, routes, serve};
use cell::http::{MAX_STATEMENTS, MAX_STATEMENTS_OF_EACH, standby_routes};
use cell::peers::RouterPeers;
use cell::reads::tail::Tail;
use cell::region::Region;
use cell::sequencer::Limits;
use clap::{Args, Parser, Subcommand};
use ledger::limits::{GROUP_COMMIT_ENTRIES, MAX_GROUP_COMMIT_ENTRIES};
use store::CellRows;
use store::dynamodb::{
    Connection, DynamoStore, Identity as Tables, check_reachable, connect, connect_streams, create_tables,
};
use telemetry::flags::{LogFormat, TelemetryFlags};
use telemetry::metrics::Identity;
use telemetry::trace::export;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use topology::version::Running;
use topology::{CellConfig, CellId, Config, Role, Version, WalletId, restoring};
use tracing::{info, warn};
use uuid::Uuid;

use self::standby::Standby;

/// From the first signal to the end of the process, but for [`DRAIN_NOTICE`].
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(9);
/// Of that, for requests in flight; the rest is for the courier and the driver.
const REQUEST_PATIENCE: Duration = Duration::from_secs(7);
/// For so long after the first signal every request is still answered, with "ask another instance": routers that hear it
/// stop coming, so that hardly any request is on its way when connections are closed.
const DRAIN_NOTICE: Duration = Duration::from_millis(400);

const PATIENCE: Patience = Patience { notice: DRAIN_NOTICE, requests: REQUEST_PATIENCE };

/// Between two looks at tables that do not answer.
const TABLES_POLL: Duration = Duration::from_millis(250);

const MESH_FLAGS: &str = "--mesh-ca, --mesh-cert and --mesh-key";

#[derive(Parser)]
#[command(name = "cell", about = "One instance of a wallet cell", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the wallet API over this cell's tables
    Serve(Box<ServeArgs>),
    /// The cell's tables
    #[command(subcommand)]
    Tables(TablesCommand),
    /// The chains in the cell's tables
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Print a wallet's chain as JSON lines, for scripts/verify-chain
    Export {
        #[arg(long)]
        wallet: WalletId,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

#[derive(Subcommand)]
enum TablesCommand {
    /// Create what is missing (on AWS the infrastructure code does this)
    Create(DatabaseArgs),
}

#[derive(Args)]
struct DatabaseArgs {
    /// DynamoDB endpoint; without it, AWS with the credentials of the environment
    #[arg(long, env = "CELL_DYNAMODB_ENDPOINT")]
    dynamodb_endpoint: Option<String>,
    /// AWS region of the tables [default: that of cells.toml, or us-east-1]
    #[arg(long, env = "CELL_REGION")]
    region: Option<String>,
    /// Prefix of the names of the tables, such as `cell-1-`
    #[arg(long, env = "CELL_TABLE_PREFIX", default_value = "")]
    table_prefix: String,
}

impl DatabaseArgs {
    fn connection(&self, configured_region: Option<&str>) -> Connection {
        let region = self.region.as_deref().or(configured_region).unwrap_or("us-east-1").to_owned();
        Connection { endpoint: self.dynamodb_endpoint.clone(), region, role: None }
    }
}

#[derive(Args)]
struct ServeArgs {
    /// This cell's id
    #[arg(long = "id", env = "CELL_ID")]
    cell: CellId,
    /// This instance's name [default: the cell's id and the port]
    #[arg(long, env = "CELL_INSTANCE")]
    instance: Option<String>,
    #[arg(long, env = "CELL_LISTEN", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,
    /// Base URL of the router's internal listener; https with the --mesh flags
    #[arg(long, env = "CELL_ROUTER", default_value = "http://127.0.0.1:8081")]
    router: String,
    /// cells.toml, for the namespace and the region
    #[arg(long, env = "CELL_CONFIG")]
    config: Option<PathBuf>,
    /// Namespace of the wallet ids, if not from --config
    #[arg(long, env = "CELL_NAMESPACE")]
    namespace: Option<Uuid>,
    /// Entries of different requests in one block; 1 turns group commit off (for benchmarks)
    #[arg(long, env = "CELL_MAX_ENTRIES_PER_BLOCK", default_value_t = GROUP_COMMIT_ENTRIES, value_parser = entries)]
    max_entries_per_block: usize,
    /// What this build is called; shown on /version and in metrics [default: the version of the
    /// sources]
    #[arg(long, env = "CELL_BUILD_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    build_version: Version,
    /// This Region is the cell's second one: wait until the tables say that it serves
    #[arg(long, env = "CELL_STANDBY")]
    standby: bool,
    /// What this process does: all, accounts (creating and keeping wallets) or transactions (moving money)
    #[arg(long, env = "CELL_ROLE", default_value_t = Role::All)]
    role: Role,
    /// Writes a second that this process takes; 0: no limit [default: its part of this cell's max_tps in --config, or 0]
    #[arg(long, env = "CELL_MAX_TPS")]
    max_tps: Option<u32>,
    #[command(flatten)]
    upkeep: upkeep::UpkeepArgs,
    #[arg(long, env = "CELL_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    telemetry: TelemetryFlags,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    mesh: MeshFlags,
}

/// No more than a run of blocks has room for in the row of its marks.
fn entries(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_GROUP_COMMIT_ENTRIES).contains(number));
    number.ok_or_else(|| format!("1 to {MAX_GROUP_COMMIT_ENTRIES}"))
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => serve_cell(*args).await,
        Command::Tables(TablesCommand::Create(args)) => {
            create_tables(&connect(&args.connection(None)).await, &args.table_prefix).await?;
            Ok(())
        }
        Command::Ledger(LedgerCommand::Export { wallet, database }) => {
            let store = DynamoStore::new(connect(&database.connection(None)).await, &database.table_prefix);
            let blocks = cell::reads::export::export(&store, wallet, &mut std::io::stdout().lock()).await?;
            anyhow::ensure!(blocks > 0, "these tables hold no chain of wallet {wallet}");
            Ok(())
        }
    }
}

async fn serve_cell(args: ServeArgs) -> Result<()> {
    let instance_name = args.instance.clone().unwrap_or_else(|| format!("{}-{}", args.cell, args.listen.port()));
    let identity = Identity {
        process: telemetry::catalogue::CELL,
        version: args.build_version.to_string(),
        labels: vec![("cell", args.cell.to_string()), ("instance", instance_name.clone())],
    };
    let _log = telemetry::log::install(&identity, args.log_format, &args.telemetry.log).map_err(anyhow::Error::msg)?;
    telemetry::process::outlive_full_files()?;
    // Before anything is counted.
    let metrics = telemetry::metrics::install(&identity)?;
    let spans = export::start(&identity, &args.telemetry).map_err(anyhow::Error::msg)?;
    let descriptors = access::descriptors::raise();
    let mesh = args.mesh.files_of(access::Role::Cell, Some(&args.cell))?;
    check_listen("--listen", args.listen, mesh.is_some(), MESH_FLAGS)?;
    warn_if_open("wallet API", mesh.is_some(), MESH_FLAGS);
    if mesh.is_some() && !args.router.starts_with("https://") {
        bail!("with {MESH_FLAGS}, --router is https://host:port");
    }
    let config = args.config.as_deref().map(read_config).transpose()?;
    let Some(namespace) = args.namespace.or(config.as_ref().map(|config| config.deployment.namespace)) else {
        bail!("say which namespace the wallet ids live in: --config cells.toml or --namespace UUID");
    };
    if !(1..=GROUP_COMMIT_ENTRIES).contains(&args.max_entries_per_block) {
        bail!("--max-entries-per-block is 1 to {GROUP_COMMIT_ENTRIES}");
    }
    let declared = config.iter().flat_map(|config| &config.cells).find(|cell| cell.id == args.cell);
    let connection = args.database.connection(config.as_ref().map(|config| region_of(config, declared, args.standby)));
    let client = connect(&connection).await;
    if let Err(error) = check_reachable(&client, &args.database.table_prefix).await {
        warn!(%error, "the tables do not answer yet; /readyz will tell when they do");
    }
    let streams = connect_streams(&connection).await;
    let store = DynamoStore::new(client, &args.database.table_prefix).with_streams(streams);
    let running = Running {
        version: args.build_version.clone(),
        instance: instance_name.clone(),
        started_ms: started_ms(),
        standby: false,
    };
    let server = || mesh.as_ref().map(|files| tls::Server::mesh_and_others("cell", files, CALLERS)).transpose();
    let region = Region { name: connection.region.clone(), is_standby: args.standby };
    let (stopper, stop) = watch::channel(false);
    let signals = tokio::spawn(stop_on_signal(stopper.clone()));
    let standby = Standby { region: &region, store: &store, server: server()?, listen: args.listen, descriptors };
    let home = async {
        let epoch = standby.wait(standby_routes(Running { standby: true, ..running.clone() }, metrics.clone())).await?;
        not_being_restored(&store).await?;
        not_rewound(&store, &args.cell).await?;
        anyhow::Ok(epoch)
    };
    let mut asked_to_stop = stop.clone();
    let epoch = tokio::select! {
        epoch = home => epoch?,
        _ = asked_to_stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let server = server()?;
    let client = mesh.as_ref().map(tls::Client::mesh).transpose()?;
    let listener = bind(args.listen).await?;

    let records = args.upkeep.records(&args.cell, epoch)?;
    let (archive, hot) = (records.archive.clone(), records.hot.clone());
    let store = match &archive {
        Some(archive) => store.with_packs(archive.clone()),
        None => store,
    };
    let (homed, until_stopped) = (store.clone(), stop.clone());
    let limits = Limits { entries_per_block: args.max_entries_per_block, ..Limits::default() };
    let peers = RouterPeers::new(&args.router, client);
    let clock = clock_beside(&store);
    let mut instance =
        cell::instance::start(args.cell.clone(), namespace, store.clone(), peers, clock.clone(), limits, stop.clone());
    let owner = format!("{instance_name}/{}", Uuid::new_v4());
    upkeep::start(&args.cell, &store, &mut instance, owner, &args.upkeep, records, &stop);
    let max_tps = args.max_tps.or(declared.map(|cell| cell.tps_of_one(args.role))).unwrap_or(0);
    let edge = Arc::new(Edge {
        wallets: instance.wallets.clone(),
        store,
        clock,
        metrics: Some(metrics.clone()),
        admission: Admission::new(max_tps),
        hot,
        events: archive.map(Tail::new),
        followers: Places::new(MAX_FOLLOWERS, MAX_FOLLOWERS_OF_EACH),
        statements: Places::new(MAX_STATEMENTS, MAX_STATEMENTS_OF_EACH),
        bodies: Bodies::default(),
        role: args.role,
        draining: stop.clone(),
        running,
    });
    drop(instance.wallets);
    let (listen, version) = (listener.local_addr()?, args.build_version);
    info!(cell = %args.cell, instance = instance_name, %listen, role = %args.role, max_tps, %version, "serving");

    let mut background = JoinSet::new();
    background.spawn(metrics.keep_up());
    if let Some(spans) = spans {
        let collector = Collector::new(spans.url(), export::CONTENT_TYPE).context("--otlp-endpoint")?;
        background.spawn(spans.run(move |body| collector.clone().post(body)));
    }
    background.spawn(async move {
        region.left(epoch, &homed, until_stopped).await;
        stopper.send_replace(true);
    });
    // The driver and the courier end only after the stop. One that ends earlier has met a broken invariant: the whole
    // process goes, so that nothing is served by half of it, and starts again from the tables.
    tokio::select! {
        () = serve(listener, server, routes(edge), stop.clone(), PATIENCE, descriptors) => {}
        Some(Err(error)) = instance.tasks.join_next() => {
            tracing::error!(%error, "a part of the instance died");
            telemetry::log::flush();
            std::process::abort();
        }
    }
    let finished = async { while instance.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_PATIENCE - REQUEST_PATIENCE, finished).await.is_err() {
        warn!("work was still under way when the patience of the shutdown ended; it resumes from the tables");
    }
    signals.abort();
    info!("stopped");
    Ok(())
}

/// Nothing is served, and no job is done, before it is known that the chains are whole: where a cell is being restored, what
/// is there of a wallet may be half of it.
async fn not_being_restored(store: &DynamoStore) -> Result<()> {
    let row = loop {
        match store.cell_row(restoring::LIST, restoring::KEY).await {
            Ok(row) => break row,
            Err(error) => {
                warn!(%error, "the tables do not say yet whether the cell is being restored; nothing is served");
                tokio::time::sleep(TABLES_POLL).await;
            }
        }
    };
    let Some(row) = row else { return Ok(()) };
    let state: restoring::Restoring = serde_json::from_slice(&row.bytes).context("the row that tells of a restore")?;
    anyhow::ensure!(state.done, "this cell is being restored since {}: finish `ctl cell restore` first", state.since);
    Ok(())
}

/// Tables that were rewound, by point-in-time recovery, have forgotten what other cells and customers remember.
async fn not_rewound(store: &DynamoStore, cell: &CellId) -> Result<()> {
    let identity = loop {
        match store.identity().await {
            Ok(identity) => break identity,
            Err(error) => {
                warn!(%error, "it is not known yet whether the tables are the cell's own; nothing is served");
                tokio::time::sleep(TABLES_POLL).await;
            }
        }
    };
    anyhow::ensure!(
        identity == Tables::Own,
        "these tables hold what other tables of {cell} held at an earlier time: run `ctl cell restore {cell} --in-place`"
    );
    Ok(())
}

/// The Region of this process's tables, as `cells.toml` says it.
fn region_of<'a>(config: &'a Config, cell: Option<&'a CellConfig>, is_standby: bool) -> &'a str {
    let standby = cell.and_then(|cell| cell.standby.as_ref()).filter(|_| is_standby);
    let home = || cell.map_or(config.deployment.region.as_str(), |cell| cell.region_in(&config.deployment));
    standby.map_or_else(home, |standby| standby.region.as_str())
}

async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))
}

/// Milliseconds since 1970; the wall clock at the edge.
fn started_ms() -> u64 {
    u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// The machine's clock, compared with the time of the database.
fn clock_beside(store: &DynamoStore) -> Clock {
    let database = store.clock();
    Clock::system().with_reference(move || database.now())
}

/// The first signal drains; the second ends the process at once.
async fn stop_on_signal(stopper: watch::Sender<bool>) {
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler can be installed");
    for first in [true, false] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if first {
            info!("draining");
            stopper.send_replace(true);
        }
    }
    std::process::exit(1);
}

fn read_config(path: &std::path::Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Config::parse(&text)?)
}

//! The cell's binary: reads flags and environment, puts the parts together, serves until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::flags::{MeshFlags, check_listen, warn_if_open};
use access::tls;
use anyhow::{Context, Result, bail};
use cell::clock::Clock;
use cell::http::{CALLERS, Edge, routes, serve};
use cell::peers::RouterPeers;
use cell::sequencer::Limits;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ledger::block::MAX_ENTRIES_PER_BLOCK;
use ledger::store::dynamodb::{Connection, DynamoStore, check_reachable, connect, create_tables};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use topology::{CellId, Config, WalletId};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// From the first signal to the end of the process.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(9);
/// Of that, for requests in flight; the rest is for the courier and the driver.
const REQUEST_PATIENCE: Duration = Duration::from_secs(7);

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
        Connection { endpoint: self.dynamodb_endpoint.clone(), region }
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
    /// Entries in one block; 1 turns group commit off (for benchmarks)
    #[arg(long, env = "CELL_MAX_ENTRIES_PER_BLOCK", default_value_t = MAX_ENTRIES_PER_BLOCK)]
    max_entries_per_block: usize,
    #[arg(long, env = "CELL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    mesh: MeshFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
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
            let blocks = cell::export::export(&store, wallet, &mut std::io::stdout().lock()).await?;
            anyhow::ensure!(blocks > 0, "these tables hold no chain of wallet {wallet}");
            Ok(())
        }
    }
}

async fn serve_cell(args: ServeArgs) -> Result<()> {
    start_logging(args.log_format);
    let mesh = args.mesh.files()?;
    check_listen("--listen", args.listen, mesh.is_some(), MESH_FLAGS)?;
    warn_if_open("wallet API", mesh.is_some(), MESH_FLAGS);
    if mesh.is_some() && !args.router.starts_with("https://") {
        bail!("with {MESH_FLAGS}, --router is https://host:port");
    }
    let config = args.config.as_deref().map(read_config).transpose()?;
    let Some(namespace) = args.namespace.or(config.as_ref().map(|config| config.deployment.namespace)) else {
        bail!("say which namespace the wallet ids live in: --config cells.toml or --namespace UUID");
    };
    if !(1..=MAX_ENTRIES_PER_BLOCK).contains(&args.max_entries_per_block) {
        bail!("--max-entries-per-block is 1 to {MAX_ENTRIES_PER_BLOCK}");
    }
    let connection = args.database.connection(config.as_ref().map(|config| config.deployment.region.as_str()));
    let client = connect(&connection).await;
    if let Err(error) = check_reachable(&client, &args.database.table_prefix).await {
        warn!(%error, "the tables do not answer yet; /readyz will tell when they do");
    }
    let store = DynamoStore::new(client, &args.database.table_prefix);
    let server = mesh.as_ref().map(|files| tls::Server::mesh("cell", files, CALLERS)).transpose()?;
    let client = mesh.as_ref().map(tls::Client::mesh).transpose()?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let instance_name = args.instance.unwrap_or_else(|| format!("{}-{}", args.cell, args.listen.port()));
    let metrics = PrometheusBuilder::new()
        .add_global_label("cell", args.cell.as_str())
        .add_global_label("instance", &instance_name)
        .set_buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])?
        .install_recorder()?;

    let (stopper, stop) = watch::channel(false);
    let limits = Limits { entries_per_block: args.max_entries_per_block, ..Limits::default() };
    let peers = RouterPeers::new(&args.router, client);
    let mut instance = cell::instance::start(
        args.cell.clone(),
        namespace,
        store.clone(),
        peers,
        Clock::system(),
        limits,
        stop.clone(),
    );
    let edge =
        Arc::new(Edge { wallets: instance.wallets.clone(), store, metrics: Some(metrics), draining: stop.clone() });
    drop(instance.wallets);
    info!(cell = %args.cell, instance = instance_name, listen = %listener.local_addr()?, "serving");

    let signals = tokio::spawn(stop_on_signal(stopper));
    // The driver and the courier end only after the stop. One that ends earlier has met a broken invariant: the whole
    // process goes, so that nothing is served by half of it, and starts again from the tables.
    tokio::select! {
        () = serve(listener, server, routes(edge), stop.clone(), REQUEST_PATIENCE) => {}
        Some(Err(error)) = instance.tasks.join_next() => {
            tracing::error!(%error, "a part of the instance died");
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

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("CELL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

//! `control-plane`: reads flags and runs one of: serve, create tables, bootstrap.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use control_plane::dynamo::Connection;
use control_plane::state::{ControlPlane, Settings, create_tables};
use control_plane::wire::{Because, Bootstrap, CellSpec, CellTables};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::signal::unix::{SignalKind, signal};
use topology::placement::InstanceEntry;
use topology::{Config, InstanceId};

/// Requests that still run are cut off after this long when the process is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

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
    /// Stands in for AWS; without it, region and environment decide.
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
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

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
    let logs = tracing_subscriber::fmt().with_writer(std::io::stderr);
    match flags.common.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(flags))
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let common = &flags.common;
    let text = std::fs::read_to_string(&common.config)
        .with_context(|| format!("cannot read {} (--config)", common.config.display()))?;
    let config = Config::parse(&text)?;
    let region = common.region.clone().unwrap_or_else(|| config.deployment.region.clone());
    let settings = Settings {
        connection: Connection { endpoint: common.dynamodb_endpoint.clone(), region },
        table_prefix: common.table_prefix.clone(),
        config,
        count_every: Duration::from_secs(common.count_seconds.max(1)),
        checkpoint_keys: common.checkpoint_keys.clone(),
        witness_every: Duration::from_secs(common.witness_seconds.max(1)),
    };
    match flags.task {
        None | Some(Task::Serve) => serve(common.listen, &settings).await,
        Some(Task::Tables(Tables::Create)) => Ok(create_tables(&settings.connection, &settings.table_prefix).await?),
        Some(Task::Bootstrap { actor, reason }) => {
            let wanted = Bootstrap { cells: specs(&settings.config), because: Because { actor, reason } };
            let done = control_plane::bootstrap::bootstrap(&*ControlPlane::new(&settings).await, &wanted).await?;
            println!("{}", serde_json::to_string(&done)?);
            Ok(())
        }
    }
}

/// The configuration's cells as they are registered: instances a, b, … at the addresses that it lists.
fn specs(config: &Config) -> Vec<CellSpec> {
    let cells = config.cells.iter();
    cells
        .map(|cell| CellSpec {
            id: cell.id.clone(),
            weight: cell.weight,
            max_tps: cell.max_tps,
            max_customers: cell.max_customers,
            instances: ('a'..='z')
                .zip(&cell.instances)
                .map(|(letter, instance)| InstanceEntry {
                    id: InstanceId(format!("{}-{letter}", cell.id)),
                    address: instance.address.clone(),
                    role: instance.role,
                })
                .collect(),
            dynamodb: CellTables {
                endpoint: cell.endpoint.clone(),
                region: config.deployment.region.clone(),
                table_prefix: format!("{}-", cell.id),
            },
        })
        .collect()
}

async fn serve(listen: SocketAddr, settings: &Settings) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().context("installing the metrics recorder")?;
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    let control = ControlPlane::new(settings).await;
    let background = tokio::spawn(control.clone().run_background(settings.count_every));
    let upkeep = tokio::spawn({
        let metrics = metrics.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                metrics.run_upkeep();
            }
        }
    });
    tracing::info!(listen = %listener.local_addr()?, "serving");
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let app = control_plane::api::app(control.clone(), metrics);
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        told_to_stop().await;
        control.placements.release_readers();
        let _ = stopping.send(true);
    });
    let cut_off = async {
        let _ = stopped.changed().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server => served?,
        () = cut_off => tracing::info!("requests that still ran were cut off"),
    }
    background.abort();
    upkeep.abort();
    tracing::info!("stopped");
    Ok(())
}

async fn told_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

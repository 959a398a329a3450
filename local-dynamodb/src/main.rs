//! `local-dynamodb`: one process replaces one cell's DynamoDB. Reads flags, opens the file, serves
//! until a signal stops it; it decides nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use local_dynamodb::engine::Engine;
use local_dynamodb::http::{Server, app};
use tokio::signal::unix::{SignalKind, signal};

/// The engine has one lock: more threads than this only wait for it.
const ENGINE_THREADS: usize = 8;

/// A DynamoDB for a developer's machine: the embedded engine dynoxide behind DynamoDB's JSON protocol.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// SQLite file; created if absent. Every commit is on disk before it is answered.
    #[arg(long, required_unless_present = "in_memory", conflicts_with = "in_memory")]
    data: Option<PathBuf>,
    /// Keep everything in memory, to be lost at the end.
    #[arg(long)]
    in_memory: bool,
    /// Seconds after which a request's signature is refused, as DynamoDB does.
    #[arg(long, value_name = "SECONDS", default_value_t = local_dynamodb::signature::LIFETIME.as_secs())]
    signature_lifetime: u64,
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> anyhow::Result<()> {
    match flags.log_format {
        LogFormat::Text => tracing_subscriber::fmt().with_writer(std::io::stderr).init(),
        LogFormat::Json => tracing_subscriber::fmt().json().with_writer(std::io::stderr).init(),
    }
    let engine = match &flags.data {
        Some(path) => Engine::open(path)?,
        None => Engine::in_memory()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(ENGINE_THREADS)
        .build()
        .context("starting the runtime")?;
    let server = Server::with_signature_lifetime(engine, Duration::from_secs(flags.signature_lifetime));
    runtime.block_on(serve(flags.listen, server))
}

async fn serve(listen: SocketAddr, server: Arc<Server>) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--listen)"))?;
    tracing::info!(listen = %listener.local_addr()?, "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    axum::serve(NoDelay(listener), app(server)).with_graceful_shutdown(stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Sends small answers at once: Nagle's algorithm would hold them for the client's delayed acknowledgement.
struct NoDelay(tokio::net::TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

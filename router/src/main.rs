//! The router's process: flags, log, signals. Everything else is in the library.

use anyhow::Context;
use clap::Parser;
use router::config::Args;
use router::{limits, server, telemetry as own};
use telemetry::trace::export;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let identity = own::identity(&args.build_version);
    let _log = telemetry::log::install(&identity, args.log_format, &args.telemetry.log).map_err(anyhow::Error::msg)?;
    let mut settings = args.settings()?;
    settings.bounds.connections_max = limits::connections_max(access::descriptors::raise(), settings.threads);
    let metrics = telemetry::metrics::install(&identity)?;
    let spans = export::start(&identity, &args.telemetry).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        telemetry::process::outlive_full_files()?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut running = server::start(&settings, metrics, spans).await?;
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failed = running.failed() => Some(failed),
        };
        tracing::info!("stopping; a second signal ends it at once");
        tokio::select! {
            finished = running.stop() => finished?,
            _ = terminate.recv() => anyhow::bail!("ended by a second signal"),
            _ = interrupt.recv() => anyhow::bail!("ended by a second signal"),
        }
        failed.map_or(Ok(()), |reason| Err(anyhow::anyhow!("a part of the router ended by itself: {reason}")))
    })
}

//! Sends spans to a collector, some at a time, in the background. What it does not take is dropped: a trace is a help,
//! never a reason to wait.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{COLLECTING, Collecting, QUEUE, Span, otlp};
use crate::flags::TelemetryFlags;
use crate::metrics::Identity;

/// Spans in one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// Below the base URL, as OTLP over HTTP says.
const PATH: &str = "/v1/traces";
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Spans on their way out of this process.
pub struct Export {
    spans: mpsc::Receiver<Span>,
    identity: Identity,
    url: String,
}

/// Collects spans from now on, if the flags say where they go. Then [`Export::run`] must be spawned.
pub fn start(identity: &Identity, flags: &TelemetryFlags) -> Result<Option<Export>, String> {
    if !(0.0..=1.0).contains(&flags.trace_ratio) {
        return Err("--trace-ratio is 0 to 1".into());
    }
    let Some(endpoint) = &flags.otlp_endpoint else { return Ok(None) };
    let (sender, spans) = mpsc::channel(QUEUE);
    let collecting = Collecting { spans: sender, ratio: flags.trace_ratio };
    COLLECTING.set(collecting).map_err(|_| "spans are collected already".to_owned())?;
    let url = format!("{}{PATH}", endpoint.trim_end_matches('/'));
    Ok(Some(Export { spans, identity: identity.clone(), url }))
}

impl Export {
    /// Where the requests go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For ever. `post` sends one request's body, of [`CONTENT_TYPE`], and answers whether it was taken.
    pub async fn run<F: Future<Output = Result<(), String>>>(mut self, post: impl Fn(Vec<u8>) -> F) {
        loop {
            let batch = self.gather().await;
            if batch.is_empty() {
                return;
            }
            let count = batch.len() as u64;
            match post(otlp::request(&self.identity, &batch)).await {
                Ok(()) => metrics::counter!("trace_spans_exported_total").increment(count),
                Err(error) => {
                    metrics::counter!("trace_spans_dropped_total", "reason" => "collector").increment(count);
                    tracing::debug!(error, count, "spans were not taken");
                }
            }
        }
    }

    /// Some spans; none when no task can send any more.
    async fn gather(&mut self) -> Vec<Span> {
        let mut batch = Vec::new();
        batch.extend(self.spans.recv().await);
        if batch.is_empty() {
            return batch;
        }
        let full = async {
            while batch.len() < BATCH {
                let Some(span) = self.spans.recv().await else { return };
                batch.push(span);
            }
        };
        // Late is whole enough.
        let _ = timeout(GATHER, full).await;
        batch
    }
}

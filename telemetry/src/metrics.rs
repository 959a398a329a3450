//! The process's recorder, and its page for Prometheus.

use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, SharedString};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::catalogue::{self, Kind};
use crate::process::{self, Process};

/// How often what was recorded is folded into its buckets, whether it is read or not.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Bounds of every histogram of times.
pub const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const COUNTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// The name of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As the catalogue calls it.
    pub process: &'static str,
    /// What the build is called.
    pub version: String,
    /// What tells it from others of its kind; on every metric and every line of the log.
    pub labels: Vec<(&'static str, String)>,
}

/// What `/metrics` shows.
#[derive(Clone)]
pub struct MetricsPage {
    handle: PrometheusHandle,
    process: Process,
}

impl MetricsPage {
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        self.process.write(&mut text);
        text
    }

    /// For ever.
    pub async fn keep_up(self) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            self.handle.run_upkeep();
        }
    }
}

/// Installs the recorder of the process, once.
pub fn install(identity: &Identity) -> Result<MetricsPage, BuildError> {
    let recorder = recorder(identity)?;
    let page = MetricsPage { handle: recorder.handle(), process: Process::new(identity) };
    metrics::set_global_recorder(recorder)?;
    prepare(identity.process);
    Ok(page)
}

/// A page of a recorder that nothing is recorded in: for tests in one process.
pub fn detached(identity: &Identity) -> Result<MetricsPage, BuildError> {
    Ok(MetricsPage { handle: recorder(identity)?.handle(), process: Process::new(identity) })
}

fn recorder(identity: &Identity) -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_entries".into()), &COUNTS)?;
    for (name, value) in &identity.labels {
        builder = builder.add_global_label(*name, value);
    }
    Ok(builder.build_recorder())
}

/// Help texts, and the zeros of closed sets.
fn prepare(kind: &'static str) {
    metrics::with_recorder(|recorder| {
        for metric in catalogue::of(kind).into_iter().filter(|metric| !process::is_own(metric.name)) {
            let (name, help) = (KeyName::from_const_str(metric.name), SharedString::const_str(metric.meaning));
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, None, help),
            }
            for labels in metric.series().unwrap_or_default() {
                let labels: Vec<_> = labels.iter().map(|(name, value)| Label::from_static_parts(name, value)).collect();
                let key = Key::from_parts(metric.name, labels);
                match metric.kind {
                    Kind::Counter => recorder.register_counter(&key, &METADATA).increment(0),
                    Kind::Histogram => drop(recorder.register_histogram(&key, &METADATA)),
                    // A gauge is something now, or nothing yet.
                    Kind::Gauge => {}
                }
            }
        }
    });
}

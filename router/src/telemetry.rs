//! Metrics with their handles made once, and the log. No label takes its values from outside.

use std::io::IsTerminal;
use std::time::Instant;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::failure::Failure;
use crate::rate::Scope;
use crate::target::Side;

const SECONDS: &str = "router_request_seconds";
const SECONDS_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Clone)]
pub struct Counters {
    public: [Counter; 5],
    internal: [Counter; 5],
    seconds: Histogram,
    limited_wallet: Counter,
    limited_router: Counter,
    pub resent: Counter,
    pub wrong_role: Counter,
    pub misdirected: Counter,
    pub connect_failures: Counter,
    pub ejections: Counter,
    pub connections_refused: Counter,
    pub placement_version: Gauge,
    pub placement_age_s: Gauge,
    pub control_plane_silence_s: Gauge,
    pub placement_updates: Counter,
    pub placement_refused: Counter,
    pub poll_failures: Counter,
}

impl Counters {
    /// Handles of the recorder that is installed now.
    pub fn new() -> Self {
        let requests = |side: &'static str| {
            STATUS_CLASSES.map(|class| counter!("router_requests_total", "listener" => side, "status" => class))
        };
        Self {
            public: requests("public"),
            internal: requests("internal"),
            seconds: histogram!(SECONDS),
            limited_wallet: counter!("router_rate_limited_total", "scope" => Scope::Wallet.name()),
            limited_router: counter!("router_rate_limited_total", "scope" => Scope::Router.name()),
            resent: counter!("router_resent_total"),
            wrong_role: counter!("router_wrong_role_total"),
            misdirected: counter!("router_misdirected_total"),
            connect_failures: counter!("router_connect_failures_total"),
            ejections: counter!("router_ejections_total"),
            connections_refused: counter!("router_connections_refused_total"),
            placement_version: gauge!("router_placement_version"),
            placement_age_s: gauge!("router_placement_age_seconds"),
            control_plane_silence_s: gauge!("router_control_plane_silence_seconds"),
            placement_updates: counter!("router_placement_updates_total"),
            placement_refused: counter!("router_placement_refused_total"),
            poll_failures: counter!("router_placement_poll_failures_total"),
        }
    }

    pub fn answered(&self, side: Side, status: StatusCode, started: Instant) {
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        match side {
            Side::Public => self.public[class].increment(1),
            Side::Internal => self.internal[class].increment(1),
        }
        self.seconds.record(started.elapsed().as_secs_f64());
    }

    pub fn rate_limited(&self, scope: Scope) {
        match scope {
            Scope::Wallet => self.limited_wallet.increment(1),
            Scope::Router => self.limited_router.increment(1),
        }
    }

    /// Header lines that only we may write and a client has written, by name: they come from a closed set.
    pub fn stripped(&self, header: &'static str) {
        counter!("router_headers_stripped_total", "header" => header).increment(1);
    }

    /// Our own refusals, by code: they come from a closed set.
    pub fn failed(&self, failure: &Failure) {
        counter!("router_problems_total", "code" => failure.code()).increment(1);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// Installs the process's recorder.
pub fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(SECONDS.into()), &SECONDS_BUCKETS)?;
    Ok(builder.install_recorder()?)
}

/// Logs go to stderr; `RUST_LOG` filters them.
pub fn install_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
}

//! Metrics with their handles made once. No label takes its values from outside.

pub mod cells;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use telemetry::metrics::Identity;
use topology::Version;

use crate::failure::Failure;
use crate::rate::Scope;
use crate::route::Route;
use crate::target::Side;

const SECONDS: &str = "router_request_seconds";
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The same classes, as a route is counted by.
const OUTCOMES: [&str; 3] = ["ok", "refused", "failed"];
const OUTCOME_OF_CLASS: [usize; 5] = [0, 0, 0, 1, 2];

/// What is counted of one route.
struct RouteMeters {
    requests: [Counter; OUTCOMES.len()],
    seconds: Histogram,
}

#[derive(Clone)]
pub struct Counters {
    public: [Counter; 5],
    internal: [Counter; 5],
    seconds: Histogram,
    routes: Arc<[RouteMeters]>,
    pub in_flight: Gauge,
    pub connections: Gauge,
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

impl RouteMeters {
    fn new(route: &'static str) -> Self {
        Self {
            requests: OUTCOMES
                .map(|outcome| counter!("router_route_requests_total", "route" => route, "outcome" => outcome)),
            seconds: histogram!("router_route_request_seconds", "route" => route),
        }
    }
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
            routes: Route::all().map(|route| RouteMeters::new(route.name())).collect(),
            in_flight: gauge!("router_requests_in_flight"),
            connections: gauge!("router_client_connections"),
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

    pub fn answered(&self, side: Side, route: Route, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        match side {
            Side::Public => self.public[class].increment(1),
            Side::Internal => self.internal[class].increment(1),
        }
        let seconds = took.as_secs_f64();
        self.seconds.record(seconds);
        let of_route = &self.routes[route.index()];
        of_route.requests[OUTCOME_OF_CLASS[class]].increment(1);
        of_route.seconds.record(seconds);
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

/// This process's name in its metrics, logs and traces.
pub fn identity(build: &Version) -> Identity {
    Identity { process: telemetry::catalogue::ROUTER, version: build.to_string(), labels: vec![] }
}

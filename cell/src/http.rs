//! The edge: the wallet API and the internal API over HTTP. Parses into types that cannot be wrong, calls a use case,
//! writes the answer; decides nothing.

mod admitted;
#[cfg(any(feature = "bad-withdrawals", feature = "bad-latency"))]
mod bad;
mod batch;
mod body;
mod callers;
mod caught;
mod context;
mod cursor;
mod draining;
mod events;
#[doc(hidden)]
pub mod fuzz;
mod handlers;
mod holds;
mod internal;
mod moved;
mod note;
mod problem;
mod proof;
mod server;
mod standby;
mod statement;
mod views;
mod wallets;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::{counter, gauge, histogram};
use store::Store;
use telemetry::metrics::MetricsPage;
use telemetry::readiness::Readiness;
use telemetry::trace::{self, Place};
use tokio::sync::watch;
use tokio::time::Instant;
use topology::version::Running;
use topology::{Role, WalletId, wire};
use tracing::field::Empty;
use tracing::{Instrument, error_span};

use crate::admission::Admission;
use crate::clock::Clock;
use crate::hot::Hot;
use crate::peers::Peers;
use crate::reads::tail::Tail;
use crate::wallets::Wallets;
pub use admitted::Bodies;
pub use callers::Places;
pub use events::{MAX_FOLLOWERS, MAX_FOLLOWERS_OF_EACH};
pub use problem::Fault;
pub use server::{CALLERS, Patience, serve};
pub use standby::standby_routes;
pub use statement::{MAX_STATEMENTS, MAX_STATEMENTS_OF_EACH};

/// Largest request body but that of a batch: the API's own are below 1 KB.
pub const MAX_BODY_BYTES: usize = wire::BODY_MAX_BYTES;
/// Time to receive a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest and longest deadline a client may ask for, and the default.
pub const MIN_DEADLINE: Duration = Duration::from_millis(50);
pub const MAX_DEADLINE: Duration = Duration::from_secs(30);
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(8);
/// Of a deadline, what is kept for the answer's way back (at most a quarter): a router that stops waiting at the same
/// moment would answer "outcome unknown" where the cell knows it.
pub const ANSWER_RESERVE: Duration = Duration::from_millis(100);

/// What the handlers share.
pub struct Edge<S, P> {
    pub wallets: Arc<Wallets<S, P>>,
    pub store: S,
    pub clock: Clock,
    pub metrics: Option<MetricsPage>,
    pub admission: Arc<Admission>,
    /// Which wallets are written to most, where this process follows the cell's changes.
    pub hot: Hot,
    /// Where the cell's events are; without an archive there are none.
    pub events: Option<Tail>,
    /// Places for their followers.
    pub followers: Arc<Places>,
    /// Places for readers of statements.
    pub statements: Arc<Places>,
    /// Places for request bodies that are being read.
    pub bodies: Bodies,
    /// What this process is there for.
    pub role: Role,
    /// True from the moment the instance is asked to stop.
    pub draining: watch::Receiver<bool>,
    /// Shown on `/version`.
    pub running: Running,
}

type Shared<S, P> = State<Arc<Edge<S, P>>>;

/// All routes of a cell.
pub fn routes<S: Store, P: Peers>(edge: Arc<Edge<S, P>>) -> Router {
    let api = handlers::routes::<S, P>()
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(edge.clone(), moved::adopt::<S, P>))
        .layer(from_fn_with_state(edge.clone(), admitted::admitted::<S, P>));
    #[cfg(any(feature = "bad-withdrawals", feature = "bad-latency"))]
    let api = api.layer(axum::middleware::from_fn(bad::worse));
    let api = api
        .layer(from_fn(caught::caught))
        .layer(from_fn_with_state(edge.clone(), measured::<S, P>))
        // Outside what counts: what is refused here is answered by another instance.
        .layer(from_fn_with_state(edge.clone(), draining::elsewhere::<S, P>));
    let readiness = Arc::new(Readiness::default());
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move |edge: Shared<S, P>| async move { ready(edge, &readiness).await }))
        .route("/version", get(version::<S, P>))
        .route("/metrics", get(metrics_page::<S, P>))
        .route(wire::LOG_PAGE, get(async || telemetry::log::filter()).put(set_log))
        .merge(api)
        .fallback(problem::not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(edge)
}

/// Counts and times every request by route and status class; no label holds an id.
async fn measured<S: Store, P: Peers>(_: Shared<S, P>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown".into(), |path| path.as_str().to_owned());
    let said = header(&request, wire::TRACE_PARENT).and_then(Place::parse);
    let (place, mut span) = trace::enter(said, route.clone());
    let log = context_of(&request, place);
    let response = trace::at(place, next.run(request).instrument(log)).await;
    let status = response.status().as_u16();
    if let Some(span) = &mut span {
        span.note("http.response.status_code", i64::from(status));
        if status >= 500 {
            span.failed();
        }
    }
    let status = status.to_string();
    counter!("cell_requests_total", "route" => route.clone(), "status" => status).increment(1);
    histogram!("cell_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    response
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// What every line of the log says that is written for this request.
fn context_of(request: &Request, place: Option<Place>) -> tracing::Span {
    let log = error_span!("request", request_id = Empty, trace_id = Empty, wallet = Empty);
    if let Some(id) = header(request, wire::REQUEST_ID) {
        log.record("request_id", id);
    }
    if let Some(place) = place {
        log.record("trace_id", format_args!("{:032x}", place.trace));
    }
    let wallet = request.uri().path().split('/').nth(4).filter(|part| part.parse::<WalletId>().is_ok());
    if let Some(wallet) = wallet {
        log.record("wallet", wallet);
    }
    log
}

/// Ready: not draining, the tables answer, and their time and this process's clock agree.
async fn ready<S: Store, P: Peers>(State(edge): Shared<S, P>, tables: &Readiness<Result<(), String>>) -> Response {
    if *edge.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    let look = async { edge.store.genesis().await.map(drop).map_err(|error| error.to_string()) };
    if let Err(error) = tables.ask(look).await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
    }
    match edge.clock.check(edge.clock.now()) {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(skew) => (StatusCode::SERVICE_UNAVAILABLE, format!("{skew}\n")).into_response(),
    }
}

/// Takes a filter as text: a level, or `level,target=level,…`.
async fn set_log(filter: String) -> Response {
    match telemetry::log::set_filter(&filter) {
        Ok(()) => {
            tracing::info!(filter, "the log's filter was changed");
            telemetry::log::filter().into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// What runs here, and since when.
async fn version<S: Store, P: Peers>(State(edge): Shared<S, P>) -> Json<Running> {
    Json(edge.running.clone())
}

async fn metrics_page<S: Store, P: Peers>(State(edge): Shared<S, P>) -> String {
    edge.admission.publish();
    gauge!("cell_clock_skew_seconds").set(edge.clock.skew_micros() as f64 / 1_000_000.0);
    edge.metrics.as_ref().map(MetricsPage::render).unwrap_or_default()
}

//! The HTTP API: reads requests, calls what does the work, prints answers.
//!
//! It must never decide anything; and only `problem` turns errors into answers.

pub mod authentication;
mod body;
mod deploys;
mod ledgers;
mod operations;
pub(crate) mod problem;
mod regions;
mod restore;
mod zones;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Gate, origin};
use axum::body::{Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use control_api::Refusal;
use control_api::logs::SetLog;
use futures_util::FutureExt;
use serde::Deserialize;
use telemetry::metrics::MetricsPage;
use telemetry::readiness::Readiness;
use telemetry::trace::{self, Place};
use topology::{CellId, Problem, UserId, wire};
use tracing::Instrument;

use self::authentication::{Authenticator, By};
use self::body::Query;
use crate::cells::{capacity, drift, log_filters};
use crate::customers::onboarding;
use crate::customers::whereabouts::{self, Meant};
use crate::error::{Error, Result, no_placement, refused};
use crate::lifecycle::{bootstrap, declared, registration};
use crate::page;
use crate::service::ControlPlane;

/// Longest a reader may wait for a newer placement; below the idle timeouts of what may stand between.
pub const WAIT_MAX: Duration = Duration::from_secs(25);
const HISTORY_MAX: i32 = 500;
const BODY_MAX_BYTES: usize = 1024 * 1024;

type Control = State<Arc<ControlPlane>>;
type Answer = std::result::Result<Response, Error>;

/// The API without authentication.
pub fn app(control: Arc<ControlPlane>, metrics: MetricsPage) -> Router {
    guarded(control, metrics, None)
}

/// The API behind a gate, if there is one. Outside it is only the check whether the process lives.
pub fn guarded(control: Arc<ControlPlane>, metrics: MetricsPage, gate: Option<Gate>) -> Router {
    let inside = Router::new()
        .route("/v1/placement", get(placement))
        .route("/v1/placement/history", get(history))
        .route("/v1/bootstrap", post(first_placement))
        .route("/v1/cells", get(list_cells).post(add_cell))
        .route("/v1/cells/{id}", get(show_cell))
        .route("/v1/cells/{id}/addresses", put(set_addresses))
        .route("/v1/cells/{id}/capacity", put(set_capacity))
        .route("/v1/drift", get(show_drift))
        .route("/v1/where/{id}", get(locate))
        .route("/v1/customers", post(onboard))
        .route("/v1/customers/{user}", get(show_customer))
        .route("/v1/status", get(status))
        .route("/v1/capacity", get(capacity_now))
        .route("/v1/log", get(show_log).put(set_log))
        .merge(deploys::routes())
        .merge(operations::routes())
        .merge(ledgers::routes())
        .merge(regions::routes())
        .merge(restore::routes())
        .merge(zones::routes())
        .route_layer(from_fn(measured))
        .route("/metrics", get(move || std::future::ready(metrics.render())));
    let authenticator = gate.map(Authenticator::new);
    let readiness = Arc::new(Readiness::default());
    let inside = match &authenticator {
        Some(authenticator) => inside.route_layer(from_fn_with_state(authenticator.clone(), authentication::admit)),
        None => inside,
    };
    let is_open = authenticator.is_none();
    let inside = inside.route_layer(from_fn(move |request, next| own_or_no_site(is_open, request, next)));
    // The page asks for changes as every client does: through authentication.
    let api = inside.clone().with_state(Arc::clone(&control));
    inside
        .merge(page::routes(&control, authenticator, api).route_layer(from_fn(measured)))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move |control: Control| async move { ready(control, &readiness).await }))
        .fallback(|| async { refused(Refusal::NotFound, "see `ctl --help`") })
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(control)
}

/// Refuses what another site had a browser send, and bodies of a type that such a site could send.
async fn own_or_no_site(is_open: bool, request: Request, next: Next) -> Response {
    if let Err(foreign) = origin::check(request.headers(), is_open) {
        return Error::Foreign(foreign).into_response();
    }
    if request.method() != Method::GET && !request.body().is_end_stream() && !origin::is_json(request.headers()) {
        let todo = "send Content-Type: application/json";
        return refused(Refusal::UnsupportedMediaType, todo).into_response();
    }
    next.run(request).await
}

async fn measured(path: MatchedPath, request: Request, next: Next) -> Response {
    let (begun, method) = (Instant::now(), bounded(request.method()));
    let said = request.headers().get(wire::TRACE_PARENT).and_then(|value| Place::parse(value.to_str().ok()?));
    let (place, mut span) = trace::enter(said, path.as_str().to_owned());
    let log = tracing::error_span!("request", trace_id = tracing::field::Empty);
    if let Some(place) = place {
        log.record("trace_id", format_args!("{:032x}", place.trace));
    }
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = trace::at(place, handled.instrument(log)).await;
    // The log and a metric tell of the panic itself.
    let response = response.unwrap_or_else(|_| {
        let detail = "it may have been done: look at what is there before you repeat it";
        refused(Refusal::InternalError, detail).into_response()
    });
    if let Some(span) = &mut span {
        span.note("http.response.status_code", i64::from(response.status().as_u16()));
    }
    let status = response.status().as_u16().to_string();
    let labels = [("method", method.to_owned()), ("path", path.as_str().to_owned()), ("status", status)];
    metrics::counter!("control_plane_requests_total", &labels).increment(1);
    metrics::histogram!("control_plane_request_seconds", &labels).record(begun.elapsed().as_secs_f64());
    response
}

/// A client may call its method what it likes; a label may not.
fn bounded(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        _ => "other",
    }
}

/// Ready when its tables answer, also before a placement exists.
async fn ready(State(control): Control, tables: &Readiness<std::result::Result<(), Problem>>) -> Answer {
    let look = async { control.fleet.placements.refresh().await.map(drop).map_err(problem::of) };
    tables.ask(look).await.map_err(|problem| Error::Relayed(Box::new(problem)))?;
    Ok("ok\n".into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    #[serde(default)]
    since: u64,
    /// Seconds, with or without an `s`.
    wait: Option<String>,
}

async fn placement(State(control): Control, Query(asked): Query<Since>) -> Answer {
    let patience = patience(asked.wait.as_deref())?;
    let known = match control.fleet.placements.known() {
        Some(known) if known.placement.version() > asked.since => Some(known),
        _ => control.fleet.placements.refresh().await?,
    };
    let newer = match known {
        Some(known) if known.placement.version() > asked.since => Some(known),
        _ if patience.is_zero() => None,
        _ => control.fleet.placements.newer_than(asked.since, patience).await,
    };
    match newer {
        Some(newer) => Ok(Json(newer.update_since(asked.since)).into_response()),
        None if control.fleet.placements.known().is_none() => Err(no_placement()),
        None => Ok(StatusCode::NOT_MODIFIED.into_response()),
    }
}

fn patience(text: Option<&str>) -> Result<Duration> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    let seconds = seconds.map_err(|_| refused(Refusal::BadWait, "use wait=25"))?;
    Ok(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogProcesses {
    cell: Option<CellId>,
    instance: Option<String>,
    #[serde(default)]
    control_plane: bool,
}

impl From<LogProcesses> for log_filters::Processes {
    fn from(LogProcesses { cell, instance, control_plane }: LogProcesses) -> Self {
        Self { cell, instance, control_plane }
    }
}

async fn show_log(State(control): Control, Query(processes): Query<LogProcesses>) -> Answer {
    Ok(Json(log_filters::ask(&control.fleet, &processes.into(), None).await?).into_response())
}

async fn set_log(State(control): Control, Query(processes): Query<LogProcesses>, by: By, body: Bytes) -> Answer {
    let asked: SetLog = by.read(&body)?;
    let views = log_filters::ask(&control.fleet, &processes.into(), Some(&asked.filter)).await?;
    let because = &asked.because;
    tracing::info!(filter = asked.filter, actor = because.actor, reason = because.reason, "logs were changed");
    Ok(Json(views).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<i32>,
}

async fn history(State(control): Control, Query(Limit { limit }): Query<Limit>) -> Answer {
    let rows = control.fleet.placements.history(limit.unwrap_or(20).clamp(1, HISTORY_MAX)).await?;
    Ok(Json(rows.into_iter().map(|row| row.change).collect::<Vec<_>>()).into_response())
}

async fn first_placement(State(control): Control, by: By, body: Bytes) -> Answer {
    Ok(Json(bootstrap::bootstrap(&control.fleet, &by.read(&body)?).await?).into_response())
}

async fn list_cells(State(control): Control) -> Answer {
    Ok(Json(registration::list(&control.fleet).await?).into_response())
}

async fn add_cell(State(control): Control, by: By, body: Bytes) -> Answer {
    Ok((StatusCode::CREATED, Json(registration::add(&control.fleet, &by.read(&body)?).await?)).into_response())
}

async fn show_cell(State(control): Control, Path(id): Path<String>) -> Answer {
    Ok(Json(registration::show(&control.fleet, &CellId::parse(id)?).await?).into_response())
}

async fn set_addresses(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(registration::set_addresses(&control.fleet, &CellId::parse(id)?, &by.read(&body)?).await?).into_response())
}

async fn set_capacity(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(declared::set(&control.fleet, &CellId::parse(id)?, &by.read(&body)?).await?).into_response())
}

async fn show_drift(State(control): Control) -> Answer {
    Ok(Json(drift::find(&control.fleet).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct As {
    r#as: Option<Meant>,
}

async fn locate(State(control): Control, Path(id): Path<String>, Query(As { r#as }): Query<As>) -> Answer {
    let now = control.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    Ok(Json(whereabouts::find(&control.fleet, &now.placement, &id, r#as).await?).into_response())
}

async fn onboard(State(control): Control, by: By, body: Bytes) -> Answer {
    Ok((StatusCode::CREATED, Json(onboarding::onboard(&control.fleet, &by.read(&body)?).await?)).into_response())
}

async fn show_customer(State(control): Control, Path(user): Path<String>) -> Answer {
    Ok(Json(onboarding::show(&control.fleet, &UserId::parse(user)?).await?).into_response())
}

async fn capacity_now(State(control): Control) -> Answer {
    Ok(Json(capacity::capacity(&control.fleet).await?).into_response())
}

async fn status(State(control): Control) -> Answer {
    Ok(Json(registration::status(&control.fleet).await?).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_500_with_a_problem() {
        let handler = async || if true { panic!("on purpose") } else { "" };
        let mut routes = Router::new().route("/", get(handler)).route_layer(from_fn(measured));
        let request = Request::builder().uri("/").body(Body::empty()).expect("sound");
        let answer = routes.call(request).await.expect("infallible");
        assert_eq!(answer.status(), 500);
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(problem.code, "internal_error");
    }
}

//! What operators and their tools ask: alive, ready, metrics, placement. Not on the path of any request.

use std::sync::Arc;
use std::time::Duration;

use access::listener::{self, Bounds, Peer};
use access::origin::Foreign;
use access::tls::{Acceptor, Server};
use access::{Denied, Role};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use telemetry::metrics::MetricsPage;
use tokio::net::TcpListener;
use tokio::sync::watch;
use topology::Problem;
use topology::problem::PROBLEM_JSON;

use crate::placement::fetch::IN_USE;
use crate::placement::keeper::{Source, Standing};
use crate::routes::SharedRoutes;
use crate::telemetry::Counters;

/// Few look at a router, and none of them often.
const BOUNDS: Bounds = Bounds { connections_max: 256, peer_connections_max: 64 };

/// Plain on loopback; elsewhere over TLS, to monitors. Ends only by being dropped.
pub async fn serve(listener: TcpListener, tls: Option<Server>, pages: Router) {
    let is_open = tls.is_none();
    let pages = pages.layer(from_fn(move |request, next| admit(is_open, request, next)));
    let never = std::future::pending();
    listener::serve(Acceptor::new(listener, tls), pages, BOUNDS, never, Duration::ZERO).await;
}

/// A monitor looks and changes nothing. Without a certificate one learns whether the process lives, so that no
/// certificate that has ended gets it killed.
///
/// `is_open`: there is no TLS, which is so on a loopback address only.
async fn admit(is_open: bool, request: Request, next: Next) -> Response {
    let may = match request.extensions().get::<Peer>().and_then(|peer| peer.role) {
        _ if is_open => true,
        Some(Role::ControlPlane) => true,
        Some(Role::Monitor) => request.method().is_safe(),
        None => request.uri().path() == "/livez",
        Some(Role::Router) => request.uri().path() == IN_USE,
        Some(Role::Cell) => false,
    };
    let problem = match access::origin::check(request.headers(), is_open) {
        Err(foreign) => {
            Problem::new(Foreign::STATUS.as_u16(), foreign.code(), foreign.title()).detail(foreign.to_string())
        }
        Ok(()) if !may => {
            let denied = Denied::Forbidden;
            Problem::new(denied.status(), denied.code(), denied.title()).detail(denied.to_string())
        }
        Ok(()) => return next.run(request).await,
    };
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, PROBLEM_JSON)], problem.to_json()).into_response()
}

#[derive(Clone)]
pub struct Admin {
    pub routes: SharedRoutes,
    pub standing: Arc<Standing>,
    pub counters: Counters,
    pub metrics: MetricsPage,
    pub draining: watch::Receiver<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacementView {
    version: Option<u64>,
    source: Source,
    age_s: Option<f64>,
    control_plane_silence_s: Option<f64>,
    cells: usize,
    pins: usize,
}

pub fn pages(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/placement", get(placement))
        .route(IN_USE, get(in_use))
        .route("/v1/log", get(async || telemetry::log::filter()).put(set_log))
        .with_state(admin)
}

/// The listeners stand before this page can be asked for, so a placement is all that may be missing.
async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if *admin.draining.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if admin.routes.load().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "no placement yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> String {
    if let Some(age) = admin.standing.age() {
        admin.counters.placement_age_s.set(age.as_secs_f64());
    }
    if let Some(silence) = admin.standing.silence() {
        admin.counters.control_plane_silence_s.set(silence.as_secs_f64());
    }
    admin.metrics.render()
}

/// Takes a filter as text: a level, or `level,target=level,…`.
async fn set_log(filter: String) -> Result<String, (StatusCode, String)> {
    telemetry::log::set_filter(&filter).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    tracing::info!(filter, "the log's filter was changed");
    Ok(telemetry::log::filter())
}

async fn placement(State(admin): State<Admin>) -> axum::Json<PlacementView> {
    let routes = admin.routes.load();
    let placement = routes.as_ref().map(|routes| &routes.placement);
    axum::Json(PlacementView {
        version: placement.map(|placement| placement.version()),
        source: admin.standing.source(),
        age_s: admin.standing.age().map(|age| age.as_secs_f64()),
        control_plane_silence_s: admin.standing.silence().map(|silence| silence.as_secs_f64()),
        cells: placement.map_or(0, |placement| placement.cells().len()),
        pins: placement.map_or(0, |placement| placement.pins().len()),
    })
}

/// The whole placement, for a router that has none.
async fn in_use(State(admin): State<Admin>) -> Response {
    match admin.routes.load().as_ref() {
        Some(routes) => axum::Json(routes.placement.to_full()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_monitor_looks_and_changes_nothing() {
        let address = ([127, 0, 0, 1], 1).into();
        for (is_open, role, method, path, expected) in [
            (false, Some(Role::Monitor), Method::GET, "/v1/log", 200),
            (false, Some(Role::Monitor), Method::PUT, "/v1/log", 403),
            (false, Some(Role::ControlPlane), Method::PUT, "/v1/log", 200),
            (true, None, Method::PUT, "/v1/log", 200),
            (false, None, Method::GET, "/v1/log", 403),
            (false, None, Method::GET, "/livez", 200),
            (false, Some(Role::Router), Method::GET, IN_USE, 200),
            (false, Some(Role::Router), Method::GET, "/v1/log", 403),
            (false, Some(Role::Cell), Method::GET, IN_USE, 403),
        ] {
            let pages = Router::new().route("/v1/log", get(async || "").put(async || ""));
            let pages = pages.route("/livez", get(async || "")).route(IN_USE, get(async || ""));
            let mut pages = pages.layer(from_fn(move |request, next| admit(is_open, request, next)));
            let request = Request::builder().method(method.clone()).uri(path).extension(Peer { address, role });
            let request = request.body(axum::body::Body::empty()).expect("sound");
            let answer = pages.call(request).await.expect("infallible");
            assert_eq!(answer.status(), expected, "{role:?} {method} {path}");
        }
    }
}

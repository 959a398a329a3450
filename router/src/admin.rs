//! What operators and their tools ask: alive, ready, metrics, placement. Not on the path of any request.

use std::sync::Arc;

use access::tls::{Acceptor, Stream};
use access::{Denied, Role};
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use serde::Serialize;
use telemetry::metrics::Page;
use tokio::sync::watch;
use topology::Problem;
use topology::problem::PROBLEM_JSON;

use crate::placement::keeper::{Source, Standing};
use crate::routes::SharedRoutes;
use crate::telemetry::Counters;

/// Plain on loopback; elsewhere over TLS, to those who watch us.
pub async fn serve(acceptor: Acceptor, pages: Router) -> std::io::Result<()> {
    let pages = pages.layer(from_fn(admit)).into_make_service_with_connect_info::<Peer>();
    axum::serve(AdminListener(acceptor), pages).await
}

struct AdminListener(Acceptor);

impl Listener for AdminListener {
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
        let accepted = self.0.accept().await;
        let peer = if accepted.stream.is_plain() { Peer::OnThisMachine } else { Peer::Process(accepted.role) };
        (accepted.stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        self.0.local_addr().map(|_| Peer::OnThisMachine)
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    /// Without TLS, which only a loopback address speaks.
    OnThisMachine,
    /// As its certificate says; None: it showed none.
    Process(Option<Role>),
}

impl Connected<IncomingStream<'_, AdminListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, AdminListener>) -> Self {
        *stream.remote_addr()
    }
}

/// A monitor looks and changes nothing. Without a certificate one learns whether the process lives, so that no
/// certificate that has ended gets it killed.
async fn admit(ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let may = match peer {
        Peer::OnThisMachine | Peer::Process(Some(Role::ControlPlane)) => true,
        Peer::Process(Some(Role::Monitor)) => request.method().is_safe(),
        Peer::Process(None) => request.uri().path() == "/livez",
        Peer::Process(Some(Role::Router | Role::Cell)) => false,
    };
    if may {
        return next.run(request).await;
    }
    let denied = Denied::Forbidden;
    let problem = Problem::new(denied.status(), denied.code(), denied.title()).detail(denied.to_string());
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, PROBLEM_JSON)], problem.to_json()).into_response()
}

#[derive(Clone)]
pub struct Admin {
    pub routes: SharedRoutes,
    pub standing: Arc<Standing>,
    pub counters: Counters,
    pub metrics: Page,
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

#[cfg(test)]
mod tests {
    use axum::extract::connect_info::MockConnectInfo;
    use axum::http::Method;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_monitor_looks_and_changes_nothing() {
        let (monitor, nobody) = (Peer::Process(Some(Role::Monitor)), Peer::Process(None));
        for (peer, method, path, expected) in [
            (monitor, Method::GET, "/v1/log", 200),
            (monitor, Method::PUT, "/v1/log", 403),
            (Peer::Process(Some(Role::ControlPlane)), Method::PUT, "/v1/log", 200),
            (Peer::OnThisMachine, Method::PUT, "/v1/log", 200),
            (nobody, Method::GET, "/v1/log", 403),
            (nobody, Method::GET, "/livez", 200),
        ] {
            let pages =
                Router::new().route("/v1/log", get(async || "").put(async || "")).route("/livez", get(async || ""));
            let mut pages = pages.layer(from_fn(admit)).layer(MockConnectInfo(peer));
            let request = Request::builder().method(method.clone()).uri(path).body(axum::body::Body::empty());
            let answer = pages.call(request.expect("sound")).await.expect("infallible");
            assert_eq!(answer.status(), expected, "{peer:?} {method} {path}");
        }
    }
}

//! What operators and their tools ask: alive, ready, metrics, placement. Not on the path of any request.

use std::net::SocketAddr;
use std::sync::Arc;

use access::tls::{Acceptor, Stream};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use serde::Serialize;
use telemetry::metrics::Page;
use tokio::sync::watch;

use crate::placement::keeper::{Source, Standing};
use crate::routes::SharedRoutes;
use crate::telemetry::Counters;

/// Plain on loopback; elsewhere over TLS, to those who watch us.
pub async fn serve(acceptor: Acceptor, pages: Router) -> std::io::Result<()> {
    axum::serve(AdminListener(acceptor), pages).await
}

struct AdminListener(Acceptor);

impl Listener for AdminListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let accepted = self.0.accept().await;
        (accepted.stream, accepted.peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
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

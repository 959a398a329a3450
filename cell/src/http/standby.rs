//! What a process answers while another Region serves its cell: that it lives, and nothing else.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use telemetry::metrics::MetricsPage;
use topology::version::Running;

use super::problem::{Fault, Rejected, request_id};

/// The routes of a process that waits.
pub fn standby_routes(running: Running, metrics: MetricsPage) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|| async {
                (StatusCode::SERVICE_UNAVAILABLE, "waits until the tables say that this Region serves the cell\n")
            }),
        )
        .route("/version", get(move || async move { Json(running) }))
        .route("/metrics", get(move || async move { metrics.render() }))
        .fallback(refused)
}

async fn refused(request: axum::extract::Request) -> Response {
    Rejected { fault: Fault::Standby, request_id: request_id(request.headers()) }.into_response()
}

//! What a process answers while another Region serves its cell: that it lives, and nothing else.

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use telemetry::metrics::MetricsPage;
use topology::version::Running;

use super::problem::{Fault, Rejected, request_id};

/// As the query of `/readyz`: a process that waits is as it should be. For what only asks whether a process has started,
/// and cannot know which of a cell's two Regions serves.
const OR_WAITING: &str = "or=waiting";

/// The routes of a process that waits.
pub fn standby_routes(running: Running, metrics: MetricsPage) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|RawQuery(query): RawQuery| async move { ready(query.as_deref()) }))
        .route("/version", get(move || async move { Json(running) }))
        .route("/metrics", get(move || async move { metrics.render() }))
        .fallback(refused)
}

fn ready(query: Option<&str>) -> (StatusCode, &'static str) {
    let status = if query == Some(OR_WAITING) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, "waits until the tables say that this Region serves the cell\n")
}

async fn refused(request: axum::extract::Request) -> Response {
    Rejected { fault: Fault::Standby, request_id: request_id(request.headers()) }.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_waits_is_ready_only_for_what_asks_so() {
        for (query, status) in [(None, 503), (Some("or=waiting"), 200), (Some("or=else"), 503), (Some(""), 503)] {
            assert_eq!(ready(query).0.as_u16(), status, "{query:?}");
        }
    }
}

//! A panic in a handler becomes an answer: 500, which is not sent to another instance, where it would happen again. The
//! log and a metric tell of the panic itself (`telemetry::log`).

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::problem::{Fault, Rejected, request_id};

/// What a handler shares with others survives its panic: money is the driver's, which no handler unwinds.
pub async fn caught(request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers());
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| Rejected { fault: Fault::Panicked, request_id }.into_response())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_500_with_a_problem() {
        let handler = async || if true { panic!("on purpose") } else { "" };
        let mut routes = Router::new().route("/", get(handler)).layer(from_fn(caught));
        let request = Request::builder().uri("/").header("x-request-id", "r-1").body(Body::empty()).expect("sound");
        let answer = routes.call(request).await.expect("infallible");
        assert_eq!(answer.status(), 500);
        assert!(answer.headers().get(topology::wire::NOT_PROCESSED).is_none(), "it may have been done");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let problem: topology::Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!((problem.code.as_str(), problem.request_id.as_deref()), ("internal_error", Some("r-1")));
    }
}

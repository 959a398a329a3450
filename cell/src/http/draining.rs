//! What an instance that is about to stop answers: nothing was done, ask another one. It closes the connection with it,
//! so that the router, which knows what it sends, never meets one that closes under its request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use store::Store;

use super::Edge;
use super::problem::{Fault, Rejected, request_id};
use crate::peers::Peers;

/// Lets through what came before the instance had to stop.
pub async fn elsewhere<S: Store, P: Peers>(
    State(edge): State<Arc<Edge<S, P>>>,
    request: Request,
    next: Next,
) -> Response {
    if !*edge.draining.borrow() {
        return next.run(request).await;
    }
    let request_id = request_id(request.headers());
    let mut refusal = Rejected { fault: Fault::Draining, request_id }.into_response();
    refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    refusal
}

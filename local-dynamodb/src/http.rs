//! The HTTP side: `POST /` is DynamoDB's JSON protocol; beside it health, faults and consumed capacity.
//!
//! It must never decide what a call does, only carry it to the engine and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dynoxide::DynoxideError;
use serde::Serialize;
use time::OffsetDateTime;

use crate::consumed::{Consumed, OPERATIONS, operation_of};
use crate::dispatch;
use crate::engine::Engine;
use crate::faults::{Fault, Faults, Plan};
use crate::signature;

/// DynamoDB's own limit of a request.
const BODY_MAX_BYTES: usize = 16 * 1024 * 1024;
const AMZ_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

pub struct Server {
    engine: Engine,
    consumed: Consumed,
    faults: Faults,
    calls: AtomicU64,
    /// Older signatures are refused.
    signature_lifetime: Duration,
}

impl Server {
    pub fn new(engine: Engine) -> Arc<Self> {
        Self::with_signature_lifetime(engine, signature::LIFETIME)
    }

    pub fn with_signature_lifetime(engine: Engine, signature_lifetime: Duration) -> Arc<Self> {
        let (consumed, faults, calls) = (Consumed::default(), Faults::default(), AtomicU64::new(0));
        Arc::new(Self { engine, consumed, faults, calls, signature_lifetime })
    }
}

pub fn app(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", post(call))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/_faults", get(faults).put(set_faults).delete(clear_faults))
        .route("/_consumed", get(consumed).delete(reset_consumed))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(server)
}

async fn call(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let id = server.calls.fetch_add(1, Ordering::Relaxed);
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or("");
    let Some(operation) = operation_of(target) else {
        let message = format!("this stand-in does not serve {target:?}");
        return refusal(id, StatusCode::BAD_REQUEST, "UnknownOperationException", &message);
    };
    let (delay, fault) = server.faults.next(OPERATIONS[operation]);
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    // After the delay: a request that was long on its way is an old one.
    if let Some(why) = signature::refused(&headers, OffsetDateTime::now_utc(), server.signature_lifetime) {
        return refusal(id, StatusCode::BAD_REQUEST, "InvalidSignatureException", &why);
    }
    match fault {
        None => {}
        Some(Fault::LoseAnswer) => {
            execute(&server, operation, body, id).await;
            return refusal(id, StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "injected: answer lost");
        }
        Some(Fault::Unavailable) => {
            return refusal(id, StatusCode::INTERNAL_SERVER_ERROR, "ServiceUnavailable", "injected: unavailable");
        }
        Some(Fault::Throttle) => {
            return refusal(id, StatusCode::BAD_REQUEST, "ThrottlingException", "injected: rate exceeded");
        }
        Some(Fault::Conflict) => return conflict(id, &body),
        Some(Fault::Hang { applied }) => {
            if applied {
                execute(&server, operation, body, id).await;
            }
            server.faults.hang().await;
            return refusal(id, StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "injected: no answer");
        }
    }
    execute(&server, operation, body, id).await
}

async fn execute(server: &Arc<Server>, operation: usize, body: Bytes, id: u64) -> Response {
    let on_thread = Arc::clone(server);
    let done = tokio::task::spawn_blocking(move || {
        let result = dispatch::run(&on_thread.engine, OPERATIONS[operation], &body);
        on_thread.consumed.record(operation, result.as_ref().ok().map(|answer| answer.units));
        result
    });
    let done = done.await;
    // A refusal rests on what it read, too.
    server.engine.settled(done.as_ref().ok().and_then(|done| done.as_ref().ok()?.commit)).await;
    match done {
        Ok(Ok(answer)) => reply(id, StatusCode::OK, answer.json),
        Ok(Err(error)) => engine_error(id, &error),
        Err(panicked) => {
            tracing::error!(%panicked, operation = OPERATIONS[operation], "the engine panicked");
            refusal(id, StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "the engine panicked")
        }
    }
}

fn engine_error(id: u64, error: &DynoxideError) -> Response {
    let status = StatusCode::from_u16(error.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply(id, status, error.to_json());
    let kind = error.error_type().rsplit('#').next().unwrap_or("InternalServerError");
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
    response
}

fn refusal(id: u64, status: StatusCode, kind: &'static str, message: &str) -> Response {
    let json = serde_json::json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": message });
    let mut response = reply(id, status, json.to_string());
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
    response
}

/// DynamoDB names a reason for each item; here each of them met another transaction.
fn conflict(id: u64, body: &[u8]) -> Response {
    let items = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|json| json["TransactItems"].as_array().map(Vec::len))
        .unwrap_or(1);
    let reason = serde_json::json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" });
    let json = serde_json::json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict]",
        "CancellationReasons": vec![reason; items],
    });
    let mut response = reply(id, StatusCode::BAD_REQUEST, json.to_string());
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static("TransactionCanceledException"));
    response
}

/// The SDK checks a CRC header only if there is one, so none is computed.
fn reply(id: u64, status: StatusCode, json: String) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, AMZ_JSON);
    let id = HeaderValue::try_from(format!("LOCAL{id:016X}")).expect("hex digits are a header value");
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

/// The plan, and how many writes it has let hang.
#[derive(Serialize)]
struct Faulty {
    #[serde(flatten)]
    plan: Plan,
    hung: u64,
}

async fn faults(State(server): State<Arc<Server>>) -> Json<Faulty> {
    Json(Faulty { plan: server.faults.plan().as_ref().clone(), hung: server.faults.hung() })
}

async fn set_faults(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Plan>(&body) {
        Ok(plan) => {
            server.faults.set(plan.clone());
            Json(plan).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn clear_faults(State(server): State<Arc<Server>>) -> StatusCode {
    server.faults.set(Plan::default());
    StatusCode::NO_CONTENT
}

async fn consumed(State(server): State<Arc<Server>>) -> Response {
    Json(server.consumed.totals()).into_response()
}

async fn reset_consumed(State(server): State<Arc<Server>>) -> StatusCode {
    server.consumed.reset();
    StatusCode::NO_CONTENT
}

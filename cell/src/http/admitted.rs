//! Whether a request is for this process, and whether there is room for it: asked before its body is read or anything of
//! it is done.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use ledger::store::Store;
use tokio::time::timeout;
use topology::{Duty, wire};

use super::batch::MAX_BATCH_BYTES;
use super::problem::{Fault, Rejected};
use super::{BODY_TIMEOUT, Edge, MAX_BODY_BYTES, context};
use crate::admission::Class;
use crate::peers::Peers;

/// Bytes of a body that is too large that are still read.
const DRAIN_MAX_BYTES: usize = 1024 * 1024;

/// Last words of the paths that lead through a wallet's past.
const HISTORY: [&str; 4] = ["transactions", "historical", "statement", "events"];
/// Last words of the paths of requests that concern other wallets too.
const TRANSFERS: [&str; 3] = ["transfer", "transfers:batch", "reverse"];

pub async fn admitted<S: Store, P: Peers>(
    State(edge): State<Arc<Edge<S, P>>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if !edge.role.serves(Duty::of(path)) {
        return reject(Fault::WrongRole, &request);
    }
    // It would be refused for its size in any case; meanwhile it would hold a place for as long as it cares to send.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let most = if path.ends_with(":batch") { MAX_BATCH_BYTES } else { MAX_BODY_BYTES };
    if length.is_some_and(|length: u64| length > most as u64) {
        let refusal = reject(Fault::BodyTooLarge, &request);
        drain(request.into_body()).await;
        return refusal;
    }
    match edge.admission.admit(class_of(request.method(), path)) {
        Ok(mut place) => {
            let response = next.run(request).await;
            // A mistake is found at once, and a wallet that is elsewhere by one look: neither says how long work takes.
            if response.status().is_success() || response.status().is_server_error() {
                place.worked();
            }
            response
        }
        Err(_) => reject(Fault::AtLimit, &request),
    }
}

/// Takes off the connection what is on its way, and drops it: closed before, the connection would take the answer with it.
async fn drain(mut body: Body) {
    let taking = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, |data| data.len());
            if taken > DRAIN_MAX_BYTES {
                return;
            }
        }
    };
    // Whoever sends more, or slowly, may miss the answer.
    let _ = timeout(BODY_TIMEOUT, taking).await;
}

fn reject(fault: Fault, request: &Request) -> Response {
    Rejected { fault, request_id: context::request_id(request.headers()) }.into_response()
}

/// `path`: as it is routed, with `{id}` for ids.
fn class_of(method: &Method, path: &str) -> Class {
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.starts_with(wire::path::INTERNAL_WALLETS) {
        Class::Internal
    } else if matches!(*method, Method::GET | Method::HEAD) {
        if HISTORY.contains(&last) { Class::History } else { Class::Reads }
    } else if Duty::of(path) == Duty::Accounts {
        Class::Accounts
    } else if TRANSFERS.contains(&last) {
        Class::Transfers
    } else {
        Class::Movement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_class() {
        for (method, path, class) in [
            (Method::POST, "/api/v1/wallets", Class::Accounts),
            (Method::GET, "/api/v1/wallets", Class::Reads),
            (Method::GET, "/api/v1/wallets/{id}/transfers/{transfer}", Class::Reads),
            (Method::GET, "/api/v1/wallets/{id}/transactions", Class::History),
            (Method::GET, "/api/v1/wallets/{id}/balance/historical", Class::History),
            (Method::POST, "/api/v1/wallets/{id}/withdraw", Class::Movement),
            (Method::POST, "/api/v1/wallets/{id}/transactions:batch", Class::Movement),
            (Method::POST, "/api/v1/wallets/{id}/holds/{hold}/capture", Class::Movement),
            (Method::GET, "/api/v1/wallets/{id}/statement", Class::History),
            (Method::POST, "/api/v1/wallets/transfer", Class::Transfers),
            (Method::POST, "/api/v1/wallets/{id}/transfers:batch", Class::Transfers),
            (Method::POST, "/api/v1/wallets/{id}/transactions/{transaction}/reverse", Class::Transfers),
            (Method::POST, "/internal/v1/wallets/{id}/credits", Class::Internal),
            (Method::GET, "/internal/v1/wallets/{id}/receivable", Class::Internal),
        ] {
            assert_eq!(class_of(&method, path), class, "{method} {path}");
        }
    }
}

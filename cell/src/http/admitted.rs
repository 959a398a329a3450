//! Whether a request is for this process, and whether there is room for it. Its body is read first, within bounds of its
//! own, so that the place it takes is held for its work and its answer only.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, SizeHint};
use store::Store;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use topology::endpoint::Method as Taken;
use topology::{Endpoint, wire};

use super::problem::{Fault, Rejected, request_id};
use super::{BODY_TIMEOUT, Edge};
use crate::admission::{Class, ClassPlace};
use crate::peers::Peers;

/// Bodies that are read at once, of one operation and of batches. Those that come slowly keep no others out that come
/// whole with their head.
const BODIES_MAX: usize = 1_024;
const BATCH_BODIES_MAX: usize = 128;

/// Places for bodies that are being read.
pub struct Bodies {
    single: Semaphore,
    batch: Semaphore,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { single: Semaphore::new(BODIES_MAX), batch: Semaphore::new(BATCH_BODIES_MAX) }
    }
}

pub async fn admitted<S: Store, P: Peers>(
    State(edge): State<Arc<Edge<S, P>>>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let Some(endpoint) = matched.and_then(|path| Endpoint::of_template(path.as_str())) else {
        return reject(Fault::NotFound, &request);
    };
    if !edge.role.serves(endpoint.duty()) {
        return reject(Fault::WrongRole, &request);
    }
    let class = class_of(endpoint, request.method());
    let bodies = if endpoint.is_batch() { &edge.bodies.batch } else { &edge.bodies.single };
    let request = match with_whole_body(request, bodies, endpoint.body_max_bytes()).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    match edge.admission.admit(class) {
        Ok(mut place) => {
            let response = next.run(request).await;
            // A mistake is found at once, a wallet that is elsewhere by one look, and a caller with
            // no place left by none: none of them says how long work takes.
            let is_refused = response.headers().contains_key(wire::NOT_PROCESSED);
            if (response.status().is_success() || response.status().is_server_error()) && !is_refused {
                place.worked();
            }
            response.map(|body| Body::new(Held { body, _place: place }))
        }
        Err(_) => reject(Fault::AtLimit, &request),
    }
}

/// The request with its body in memory: a slow sender must not hold a place of the class that moves
/// money.
async fn with_whole_body(request: Request, places: &Semaphore, most: usize) -> Result<Request, Response> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let Ok(_place) = places.try_acquire() else { return Err(reject(Fault::AtLimit, &request)) };
    if request.body().size_hint().lower() > most as u64 {
        return Err(reject(Fault::BodyTooLarge, &request));
    }
    let (head, body) = request.into_parts();
    let read = timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
    let request = Request::from_parts(head, Body::empty());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match read {
        Err(_) => Err(reject(Fault::BodyTimeout, &request)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(reject(Fault::BodyTooLarge, &request)),
        Ok(Err(error)) => Err(reject(Fault::MalformedJson(error.to_string()), &request)),
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            if !is_read && !body.is_empty() && !access::origin::is_json(request.headers()) {
                return Err(reject(Fault::UnsupportedMediaType, &request));
            }
            Ok(request.map(|_| Body::from(body)))
        }
    }
}

/// An answer's body, which holds its request's place until its last byte is taken.
struct Held {
    body: Body,
    _place: ClassPlace,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn reject(fault: Fault, request: &Request) -> Response {
    Rejected { fault, request_id: request_id(request.headers()) }.into_response()
}

/// A method that the path does not take is refused after this, without any work.
fn class_of(endpoint: Endpoint, method: &Method) -> Class {
    let asked = Taken::of(method.as_str()).and_then(|method| endpoint.taking(method));
    asked.map_or(Class::Reads, Endpoint::class)
}

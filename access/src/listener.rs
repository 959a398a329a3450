//! Serves HTTP/1.1 with the bounds that hyper leaves open: how many connections there are, in all and from one peer, how
//! slowly a client may take its answer, and what becomes of a body that is not read.
//!
//! It knows no paths. What a request may do is decided by the service.

mod io;
mod peers;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::time::timeout;
use tower_service::Service;

use crate::limits::{DESCRIPTORS_RESERVE, HEAD_MAX_BYTES, HEAD_TIMEOUT};
use crate::role::Role;
use crate::tls::{Accepted, Acceptor};
use io::Bounded;
pub use io::ReadBody;
use peers::Peers;

/// Where a request comes from; in the extensions of each.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    /// As its certificate says, if it showed one.
    pub role: Option<Role>,
}

/// How many connections a listener has at once. Further ones are closed as they come.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub connections_max: usize,
    pub peer_connections_max: usize,
}

impl Bounds {
    /// The same, where a process may have so many descriptors: it keeps some for what it asks others.
    pub fn within(self, descriptors: usize) -> Self {
        let room = descriptors.saturating_sub(DESCRIPTORS_RESERVE).max(descriptors / 2);
        Self {
            connections_max: self.connections_max.min(room),
            peer_connections_max: self.peer_connections_max.min(room),
        }
    }
}

/// Serves until `closing` is over, then ends what is idle and waits for requests under way; false if they took longer than
/// `patience`.
pub async fn serve<S, B>(
    mut acceptor: Acceptor,
    service: S,
    bounds: Bounds,
    closing: impl Future<Output = ()>,
    patience: Duration,
) -> bool
where
    S: Service<Request<ReadBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    tokio::pin!(closing);
    let (graceful, peers) = (GracefulShutdown::new(), Arc::new(Peers::new(bounds)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX_BYTES);
    loop {
        let Accepted { stream, peer, role, .. } = tokio::select! {
            biased;
            () = &mut closing => break,
            accepted = acceptor.accept() => accepted,
        };
        let Some(place) = peers.enter(peer.ip()) else { continue };
        let (stream, body_is_unread) = Bounded::new(stream);
        let (peer, service) = (Peer { address: peer, role }, service.clone());
        let connection = service_fn(move |request: Request<Incoming>| {
            let (mut service, body_is_unread) = (service.clone(), Arc::clone(&body_is_unread));
            let mut request = request.map(|body| ReadBody::new(body, body_is_unread));
            request.extensions_mut().insert(peer);
            async move { service.call(request).await }
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), connection));
        // Owned by `graceful`, which waits for it below.
        tokio::spawn(async move {
            // A client that hangs up is no error of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(acceptor);
    timeout(patience, graceful.shutdown()).await.is_ok()
}

#[cfg(test)]
mod tests;

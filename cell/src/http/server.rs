//! Serves routes over HTTP/1.1 and drains on request. Over TLS it lets in only our own processes, each to what its role is
//! for.

use std::time::Duration;

use access::Role;
use access::listener::{self, Bounds, Peer};
use access::tls::{Acceptor, Server};
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use topology::{Endpoint, wire};
use tracing::warn;

use super::problem::{self, Fault};

/// The roles that may call a cell over TLS.
pub const CALLERS: &[Role] = &[Role::Router, Role::ControlPlane, Role::Monitor];
/// A router keeps up to 256 connections of each of its threads.
const BOUNDS: Bounds = Bounds { connections_max: 32 * 1024, peer_connections_max: 8 * 1024 };

/// How long an instance goes on after the signal to stop.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// It answers that callers should try another instance; connections stay open, so that callers
    /// get that answer.
    pub notice: Duration,
    /// Then it closes what is idle, and waits for requests in flight.
    pub requests: Duration,
}

/// Serves until `stop` says so, then lets requests in flight finish. The process may have so many `descriptors`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Server>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
    patience: Patience,
    descriptors: usize,
) {
    let closing = async move {
        crate::stop::stopped(&mut stop).await;
        sleep(patience.notice).await;
    };
    let is_open = tls.is_none();
    let routes = routes.layer(from_fn(move |request, next| admit(is_open, request, next)));
    let acceptor = Acceptor::new(listener, tls);
    if !listener::serve(acceptor, routes, BOUNDS.within(descriptors), closing, patience.requests).await {
        warn!("requests were still in flight when the patience of the shutdown ended");
    }
}

/// What each of our own processes may ask a cell for; `path` is a template. Without a certificate: whether it lives, so
/// that no certificate that has ended gets a process killed.
fn may(role: Option<Role>, path: &str) -> bool {
    let Some(role) = role else { return path == "/livez" };
    let is_health = matches!(path, "/livez" | "/readyz" | "/version" | "/metrics");
    let endpoint = Endpoint::of_template(path);
    match role {
        Role::ControlPlane => endpoint != Some(Endpoint::Credit),
        Role::Router => {
            let is_of_moves = matches!(endpoint, Some(Endpoint::HoldWrites | Endpoint::ReleaseWrites));
            path != wire::LOG_PAGE && !is_of_moves
        }
        Role::Monitor => is_health,
        Role::Cell => false,
    }
}

/// `is_open`: there is no TLS, and callers show no certificates. They come from this machine then.
async fn admit(is_open: bool, request: Request, next: Next) -> Response {
    let role = request.extensions().get::<Peer>().and_then(|peer| peer.role);
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let fault = match access::origin::check(request.headers(), is_open) {
        Err(foreign) => Fault::Foreign(foreign),
        Ok(()) if !is_open && !may(role, path) => Fault::Forbidden,
        Ok(()) => return next.run(request).await,
    };
    problem::rejected(fault, request.headers()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_ask_for_what_it_is_for() {
        for (path, roles) in [
            ("/readyz", vec![Role::Router, Role::ControlPlane, Role::Monitor]),
            ("/version", vec![Role::Router, Role::ControlPlane, Role::Monitor]),
            ("/api/v1/wallets", vec![Role::Router, Role::ControlPlane]),
            ("/internal/v1/wallets/{id}/credits", vec![Role::Router]),
            ("/internal/v1/wallets/{id}/receivable", vec![Role::Router, Role::ControlPlane]),
            ("/internal/v1/wallets/{id}/hold", vec![Role::ControlPlane]),
            ("/internal/v1/wallets/{id}/release", vec![Role::ControlPlane]),
            ("/internal/v1/log", vec![Role::ControlPlane]),
        ] {
            for role in [Role::Router, Role::ControlPlane, Role::Monitor, Role::Cell] {
                assert_eq!(may(Some(role), path), roles.contains(&role), "{role:?} {path}");
            }
            assert!(!may(None, path), "without a certificate: {path}");
        }
        assert!(may(None, "/livez"));
    }
}

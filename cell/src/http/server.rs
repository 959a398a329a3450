//! Serves routes over HTTP/1.1 with the limits that `axum::serve` leaves open, and drains on request. Over TLS it lets in
//! only our own processes, each to what its role is for.

use std::time::Duration;

use access::Role;
use access::tls::{Accepted, Acceptor, Server};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use topology::wire::path;
use tracing::warn;

use super::problem;

/// Time to receive a request's head; also how long an idle connection is kept. Above the router's own idle timeout,
/// so that the router, which knows what it sends, is the one that closes.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head, all headers together.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Who may call a cell over TLS.
pub const CALLERS: &[Role] = &[Role::Router, Role::ControlPlane, Role::Monitor];

/// How long an instance that is told to stop goes on.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// It answers that others are to be asked; connections stay open, for who comes has to hear it.
    pub notice: Duration,
    /// Then it closes what is idle, and waits for requests in flight.
    pub requests: Duration,
}

/// Serves until `stop` says so, then lets requests in flight finish.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Server>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
    patience: Patience,
) {
    let closing = async move {
        crate::instance::stopped(&mut stop).await;
        sleep(patience.notice).await;
    };
    tokio::pin!(closing);
    let mut acceptor = Acceptor::new(listener, tls);
    // Made once: a connection's role never changes.
    let for_role = |role| (role, routes.clone().layer(from_fn(move |request, next| admit(role, request, next))));
    let roles = CALLERS.iter().copied().map(Some).chain([None]);
    let by_role: Vec<(Option<Role>, Router)> = roles.map(for_role).collect();
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    loop {
        let Accepted { stream, role, .. } = tokio::select! {
            biased;
            () = &mut closing => break,
            accepted = acceptor.accept() => accepted,
        };
        let of_role = by_role.iter().find(|(own, _)| *own == role);
        let routes = match of_role {
            _ if stream.is_plain() => routes.clone(),
            Some((_, routes)) => routes.clone(),
            None => continue,
        };
        let service = TowerToHyperService::new(routes);
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        // Owned by `graceful`, which waits for it below.
        tokio::spawn(async move {
            // A client that hangs up is no error of ours.
            let _ = connection.await;
        });
    }
    drop(acceptor);
    if timeout(patience.requests, graceful.shutdown()).await.is_err() {
        warn!("requests were still in flight when the patience of the shutdown ended");
    }
}

/// What each of our own processes may ask a cell for. Without a certificate: whether it lives, so that no certificate
/// that has ended gets a process killed.
fn may(role: Option<Role>, path: &str) -> bool {
    let Some(role) = role else { return path == "/livez" };
    let is_health = matches!(path, "/livez" | "/readyz" | "/version" | "/metrics");
    let is_of_moves = [path::HOLD, path::RELEASE].iter().any(|end| path.ends_with(end));
    match role {
        Role::ControlPlane => !path.ends_with(path::CREDITS),
        Role::Router => path != path::LOG && !(path.starts_with(path::INTERNAL_WALLETS) && is_of_moves),
        Role::Monitor => is_health,
        Role::Cell => false,
    }
}

async fn admit(role: Option<Role>, request: Request, next: Next) -> Response {
    if may(role, request.uri().path()) {
        next.run(request).await
    } else {
        problem::forbidden(request.headers()).into_response()
    }
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
            ("/internal/v1/wallets/w/credits", vec![Role::Router]),
            ("/internal/v1/wallets/w/receivable", vec![Role::Router, Role::ControlPlane]),
            ("/internal/v1/wallets/w/hold", vec![Role::ControlPlane]),
            ("/internal/v1/wallets/w/release", vec![Role::ControlPlane]),
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

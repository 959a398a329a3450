//! Serves routes over HTTP/1.1 with the limits that `axum::serve` leaves open, and drains on request.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Time to receive a request's head; also how long an idle connection is kept. Above the router's own idle timeout,
/// so that the router, which knows what it sends, is the one that closes.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head, all headers together.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Pause after the system refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` says so, then lets requests in flight finish, at most for `patience`.
pub async fn serve(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>, patience: Duration) {
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    loop {
        let (stream, _peer): (_, SocketAddr) = tokio::select! {
            biased;
            () = crate::instance::stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            warn!(%error, "TCP_NODELAY");
        }
        let service = TowerToHyperService::new(routes.clone());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service));
        // Owned by `graceful`, which waits for it below.
        tokio::spawn(async move {
            // A client that hangs up is no error of ours.
            let _ = connection.await;
        });
    }
    drop(listener);
    if timeout(patience, graceful.shutdown()).await.is_err() {
        warn!("requests were still in flight when the patience of the shutdown ended");
    }
}

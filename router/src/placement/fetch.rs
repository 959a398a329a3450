//! One question for a placement over a connection of its own: at one every 25 s a pool would save nothing.

use std::time::Duration;

use access::Role;
use access::tls::{Client, Stream};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use topology::PlacementUpdate;

use crate::limits;

/// Where a router shows others the placement that it uses.
pub const IN_USE: &str = "/v1/placement/in-use";

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("it could not be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("its answer broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("it did not answer in time")]
    Late,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is too large or broke off")]
    Body,
    #[error("its answer is not a placement: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where placements are asked for.
#[derive(Clone)]
pub struct Origin {
    /// `host:port`.
    pub address: String,
    pub tls: Option<Client>,
}

/// All that may be asked.
pub struct Origins {
    /// At least one, of which at most one works at a time: that of another Region when the first is lost.
    pub control_planes: Vec<Origin>,
    /// The other routers, asked while there is no placement.
    pub peers: Option<Origin>,
}

/// What the control plane has that is newer than version `since`, or None if nothing became so within `wait_s`.
pub async fn update_since(at: &Origin, since: u64, wait_s: u64) -> Result<Option<PlacementUpdate>, FetchError> {
    let patience = Duration::from_secs(wait_s) + limits::POLL_GRACE;
    let path = format!("/v1/placement?since={since}&wait={wait_s}");
    let answer = ask(&at.address, Role::ControlPlane, at.tls.as_ref(), &path);
    tokio::time::timeout(patience, answer).await.map_err(|_| FetchError::Late)?
}

/// The placement in use at a router; None if it has none.
pub async fn in_use(address: &str, tls: Option<&Client>) -> Result<Option<PlacementUpdate>, FetchError> {
    let answer = ask(address, Role::Router, tls, IN_USE);
    tokio::time::timeout(limits::PEER_TIMEOUT, answer).await.map_err(|_| FetchError::Late)?
}

async fn ask(
    address: &str,
    role: Role,
    tls: Option<&Client>,
    path: &str,
) -> Result<Option<PlacementUpdate>, FetchError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        match tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.connect(role.server_name(), stream).await,
        }
    };
    let stream = tokio::time::timeout(limits::CONNECT_TIMEOUT, connecting);
    let stream = stream.await.map_err(|_| FetchError::Late)??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let request = Request::get(path)
            .header(header::HOST, address)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .expect("the paths above are sound");
        let answer = sender.send_request(request).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => return Ok(None),
            StatusCode::OK => {}
            other => return Err(FetchError::Status(other)),
        }
        let body = Limited::new(answer.into_body(), limits::PLACEMENT_MAX_BYTES).collect().await;
        let bytes = body.map_err(|_| FetchError::Body)?.to_bytes();
        Ok(Some(serde_json::from_slice(&bytes)?))
    };
    let drive = async {
        // Its end, good or bad, shows in the exchange.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = drive => never,
    }
}

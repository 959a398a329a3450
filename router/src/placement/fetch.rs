//! One question to the control plane over a connection of its own: at one every 25 s a pool would save nothing.

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

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the control plane could not be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("the control plane's answer broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the control plane did not answer in time")]
    Late,
    #[error("the control plane answered {0}")]
    Status(StatusCode),
    #[error("the control plane's answer is too large or broke off")]
    Body,
    #[error("the control plane's answer is not a placement: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where placements are asked for.
#[derive(Clone)]
pub struct ControlPlane {
    /// `host:port`.
    pub address: String,
    pub tls: Option<Client>,
}

/// What is newer than version `since`, or None if nothing became so within `wait_s`.
pub async fn update_since(at: &ControlPlane, since: u64, wait_s: u64) -> Result<Option<PlacementUpdate>, FetchError> {
    let patience = Duration::from_secs(wait_s) + limits::POLL_GRACE;
    tokio::time::timeout(patience, ask(at, since, wait_s)).await.map_err(|_| FetchError::Late)?
}

async fn ask(at: &ControlPlane, since: u64, wait_s: u64) -> Result<Option<PlacementUpdate>, FetchError> {
    let address = at.address.as_str();
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        match &at.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.connect(Role::ControlPlane.server_name(), stream).await,
        }
    };
    let stream = tokio::time::timeout(limits::CONNECT_TIMEOUT, connecting);
    let stream = stream.await.map_err(|_| FetchError::Late)??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let request = Request::get(format!("/v1/placement?since={since}&wait={wait_s}"))
            .header(header::HOST, address)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .expect("a number in a path is sound");
        let answer = sender.send_request(request).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(None),
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

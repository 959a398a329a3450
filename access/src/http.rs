//! A small HTTP client for questions to our own processes and to issuers of keys: over TCP or TLS, answers read whole
//! and bounded. It never follows redirects and knows no proxies.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits;
use crate::tls::{Client, Stream};

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{0} is no http:// or https:// URL")]
    Url(String),
    #[error("no answer in {} ms", .0.as_millis())]
    Late(Duration),
    #[error("{0}")]
    Failed(String),
}

impl HttpError {
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late(_))
    }
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the certificate ends that the other side showed, in seconds since 1970. A connection outlives it.
    pub peer_ends_s: Option<i64>,
}

/// Rides along with a connection.
#[derive(Debug, Clone, Copy)]
struct PeerEnds(i64);

/// Makes connections: TCP for `http://`, TLS for `https://`.
#[derive(Clone)]
pub struct Connector {
    tls: Option<Client>,
    /// The name that the server has to have, if not that of the URL.
    name: Option<ServerName<'static>>,
}

impl Connector {
    pub fn new(tls: Option<Client>, name: Option<ServerName<'static>>) -> Self {
        Self { tls, name }
    }

    async fn connect(self, uri: Uri) -> std::io::Result<TokioIo<Conn>> {
        let unsound = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
        let host = uri.host().ok_or_else(|| unsound("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = timeout(limits::CONNECT_TIMEOUT, TcpStream::connect((host, port))).await??;
        stream.set_nodelay(true)?;
        if !is_tls {
            return Ok(TokioIo::new(Conn(Stream::Plain(stream))));
        }
        let tls = self.tls.ok_or_else(|| unsound("no certificates are configured for https"))?;
        let name = match self.name {
            Some(name) => name,
            None => ServerName::try_from(host.to_owned()).map_err(|_| unsound("the host is no name"))?,
        };
        let shaken = timeout(limits::HANDSHAKE_TIMEOUT, tls.connect(name, stream)).await??;
        Ok(TokioIo::new(Conn(shaken)))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Conn>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Conn>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A [`Stream`] as hyper's client takes it.
pub struct Conn(Stream);

impl Connection for Conn {
    fn connected(&self) -> Connected {
        match self.0.peer_ends_s() {
            Some(at) => Connected::new().extra(PeerEnds(at)),
            None => Connected::new(),
        }
    }
}

impl tokio::io::AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, into)
    }
}

impl tokio::io::AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// The pooled client underneath, for callers that want its own types.
pub type Pool = legacy::Client<Connector, Full<Bytes>>;

pub fn pool(connector: Connector) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(limits::POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Http {
    pool: Pool,
    is_tls: bool,
    headers: Arc<Vec<(HeaderName, HeaderValue)>>,
}

impl Http {
    pub fn new(connector: Connector) -> Self {
        let is_tls = connector.tls.is_some();
        Self { pool: pool(connector), is_tls, headers: Arc::default() }
    }

    pub fn plain() -> Self {
        Self::new(Connector::new(None, None))
    }

    /// Sends this header with every request.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        Arc::make_mut(&mut self.headers).push((name, value));
        self
    }

    /// `https` where certificates are configured: between our own processes it is one or the other.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// Asks and reads the whole answer within `patience`.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Reply, HttpError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(|_| HttpError::Url(url.to_owned()))?;
        for (name, value) in self.headers.iter() {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|error| HttpError::Failed(root_cause(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limits::ANSWER_MAX_BYTES).collect().await;
            let body = body.map_err(|error| HttpError::Failed(error.to_string()))?.to_bytes();
            let peer_ends_s = head.extensions.get::<PeerEnds>().map(|&PeerEnds(at)| at);
            Ok(Reply { status: head.status, headers: head.headers, body, peer_ends_s })
        };
        timeout(patience, exchange).await.map_err(|_| HttpError::Late(patience))?
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

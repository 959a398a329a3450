//! The other cells, as far as a cell knows of them: two questions asked of a wallet through the router.

use std::future::Future;
use std::time::Duration;

use access::http::{Connector, Pool, pool};
use access::{Role, tls};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use telemetry::trace;
use tokio::time::{Instant, timeout_at};
use topology::wire::{self, Credit, CreditOutcome, Receivable};
use topology::{CellId, Endpoint, WalletId};

/// Of a deadline, what is kept for the way back from the router.
const ANSWER_RESERVE: Duration = Duration::from_millis(100);
/// Largest answer read from another cell.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The cell that would have created the wallet has none. Before money leaves this is final; afterwards wallets
    /// never vanish, and it is a routing fault to be tried again.
    #[error("no such wallet")]
    UnknownWallet,
    /// No answer, or none that can be understood. The question may be asked again.
    #[error("{0}")]
    Unreachable(String),
}

/// The answer to a credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credited {
    /// The cell that the payee's bucket belongs to, as far as that is known; also where it did not answer.
    pub cell: Option<CellId>,
    pub outcome: Result<CreditOutcome, PeerError>,
}

/// Implemented over HTTP for the service and in process for simulations.
pub trait Peers: Clone + Send + Sync + 'static {
    /// Can `wallet` receive money now?
    fn receivable(
        &self,
        wallet: WalletId,
        deadline: Instant,
    ) -> impl Future<Output = Result<Receivable, PeerError>> + Send;

    /// Delivers money. Safe to repeat; the answer is the destination's recorded word.
    fn credit(&self, credit: &Credit, deadline: Instant) -> impl Future<Output = Credited> + Send;
}

/// Through the router's internal address.
#[derive(Clone)]
pub struct RouterPeers {
    client: Pool,
    router: String,
}

impl RouterPeers {
    /// `router`: base URL of the router's internal listener, `http://host:port`, or `https://host:port` with this cell's
    /// certificate.
    pub fn new(router: &str, tls: Option<tls::Client>) -> Self {
        let client = pool(Connector::new(tls, Some(Role::Router.server_name())));
        Self { client, router: router.trim_end_matches('/').to_owned() }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Vec<u8>,
        deadline: Instant,
    ) -> (Option<CellId>, Result<T, PeerError>) {
        let mut cell = None;
        let exchange = self.exchange(method, path, body, deadline, &mut cell);
        let outcome = timeout_at(deadline, exchange).await;
        let outcome = outcome.unwrap_or_else(|_| Err(PeerError::Unreachable("deadline".into())));
        (cell, outcome)
    }

    /// `cell` becomes the cell that the router names.
    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Vec<u8>,
        deadline: Instant,
        cell: &mut Option<CellId>,
    ) -> Result<T, PeerError> {
        let unreachable = |why: String| PeerError::Unreachable(why);
        // The router answers first, and says which cell did not.
        let remaining = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_RESERVE);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.router))
            .header("content-type", "application/json")
            .header(wire::DEADLINE_MS, remaining.as_millis().max(1).to_string());
        let request = match trace::current() {
            Some(place) => request.header(wire::TRACE_PARENT, place.to_string()),
            None => request,
        };
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status();
        *cell = response.headers().get(wire::WALLET_CELL).and_then(|cell| CellId::parse(cell.to_str().ok()?).ok());
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| unreachable(error.to_string())),
            StatusCode::NOT_FOUND if is_unknown_wallet(&body) => Err(PeerError::UnknownWallet),
            other => Err(unreachable(format!("status {other}"))),
        }
    }
}

/// Only a cell's own word counts; a 404 of anything on the way does not.
fn is_unknown_wallet(body: &[u8]) -> bool {
    serde_json::from_slice::<topology::Problem>(body).is_ok_and(|problem| problem.code == wire::code::WALLET_NOT_FOUND)
}

impl Peers for RouterPeers {
    async fn receivable(&self, wallet: WalletId, deadline: Instant) -> Result<Receivable, PeerError> {
        self.ask(Method::GET, Endpoint::Receivable.of_wallet(wallet), Vec::new(), deadline).await.1
    }

    async fn credit(&self, credit: &Credit, deadline: Instant) -> Credited {
        let path = Endpoint::Credit.of_wallet(credit.to_wallet_id);
        let body = serde_json::to_vec(credit).expect("a credit holds only strings and numbers");
        let (cell, outcome) = self.ask(Method::POST, path, body, deadline).await;
        Credited { cell, outcome }
    }
}

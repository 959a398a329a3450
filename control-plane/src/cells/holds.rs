//! Asks a cell's instances over HTTP to hold a wallet's writes while it is cut over.

use std::time::Duration;

use access::http::Http;
use axum::http::Method;
use futures_util::future::join_all;
use mover::Holds;
use topology::placement::InstanceEntry;
use topology::{Endpoint, WalletId};

/// A hold lasts 200 ms: what is not answered by then is of no use.
const CALL_TIMEOUT: Duration = Duration::from_millis(100);

/// The instances of the cell that wallets leave; dead ones cost a refused connection.
pub struct InstanceHolds {
    http: Http,
    addresses: Vec<String>,
}

impl InstanceHolds {
    pub fn new(http: Http, instances: &[InstanceEntry]) -> Self {
        Self { http, addresses: instances.iter().map(|instance| instance.address.clone()).collect() }
    }

    /// One wallet's writes meet in one instance, but which one is the router's to know: all are asked.
    async fn tell(&self, wallet: WalletId, what: Endpoint) {
        let path = what.of_wallet(wallet);
        let calls = self.addresses.iter().map(async |address| {
            let url = format!("{}://{address}{path}", self.http.scheme());
            self.http.ask(Method::POST, &url, &[], vec![], CALL_TIMEOUT).await
        });
        drop(join_all(calls).await);
    }
}

impl Holds for InstanceHolds {
    async fn hold(&self, wallet: WalletId) {
        self.tell(wallet, Endpoint::HoldWrites).await;
    }

    async fn release(&self, wallet: WalletId) {
        self.tell(wallet, Endpoint::ReleaseWrites).await;
    }
}

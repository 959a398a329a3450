//! A cell as far as onboarding meets it: it creates a wallet only if its rows allow it, by a condition on its real
//! tables. The cell's own program is another crate's, which this one may not import.

use std::net::SocketAddr;

use aws_sdk_dynamodb::Client;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use store::dynamodb::DynamoStore;
use store::{Genesis, HomeKey, HomeState, Homes};
use topology::{UserId, WalletId, wire};
use uuid::Uuid;

use crate::dynamo::{n, s};

pub const NAMESPACE: Uuid = Uuid::from_u128(7);

#[derive(Clone)]
pub struct Cell {
    pub client: Client,
    pub prefix: String,
}

impl Cell {
    pub async fn serve(self) -> SocketAddr {
        let app = Router::new()
            .route("/readyz", get(|| async { "ok" }))
            .route("/api/v1/wallets", post(create))
            .route("/api/v1/wallets/{id}", get(show))
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    fn table(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub async fn has(&self, wallet: WalletId) -> bool {
        let get = self.client.get_item().table_name(self.table("ledger")).consistent_read(true);
        let got = get.key("w", s(wallet.to_string())).key("n", n(0)).send().await.expect("answers");
        got.item.is_some()
    }

    /// Whether the cell may create the wallet; if not, the cell that may, if it is known.
    async fn may_create(&self, wallet: WalletId) -> Result<(), Option<String>> {
        let store = DynamoStore::new(self.client.clone(), &self.prefix);
        match store.home(HomeKey::Wallet(wallet)).await.expect("answers").map(|row| row.state) {
            Some(HomeState::Serving) => return Ok(()),
            Some(HomeState::Moved { to }) => return Err(Some(to.to_string())),
            Some(HomeState::Closing { .. }) => return Err(None),
            None => {}
        }
        if self.genesis().await.contains(wallet.bucket()) { Ok(()) } else { Err(None) }
    }

    pub async fn genesis(&self) -> Genesis {
        let store = DynamoStore::new(self.client.clone(), &self.prefix);
        store.genesis().await.expect("answers").expect("written")
    }
}

fn misdirected(owner: Option<String>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(owner) = owner {
        headers.insert(wire::WALLET_CELL, owner.parse().expect("a cell id is a header value"));
    }
    (StatusCode::MISDIRECTED_REQUEST, headers).into_response()
}

async fn create(State(cell): State<Cell>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert!(headers.contains_key(wire::IDEMPOTENCY_KEY), "every creation carries a key");
    let user = UserId::parse(body["userId"].as_str().expect("text")).expect("sound");
    let wallet = WalletId::for_user(NAMESPACE, &user);
    if let Err(owner) = cell.may_create(wallet).await {
        return misdirected(owner);
    }
    let put = cell.client.put_item().table_name(cell.table("ledger")).condition_expression("attribute_not_exists(w)");
    let put = put.item("w", s(wallet.to_string())).item("n", n(0)).item("k", s(wallet.bucket().to_string()));
    match put.send().await {
        Ok(_) => (StatusCode::CREATED, Json(shown(&wallet))).into_response(),
        Err(_) => StatusCode::CONFLICT.into_response(),
    }
}

async fn show(State(cell): State<Cell>, Path(id): Path<WalletId>) -> Response {
    if cell.has(id).await {
        return Json(shown(&id)).into_response();
    }
    match cell.may_create(id).await {
        Ok(()) => StatusCode::NOT_FOUND.into_response(),
        Err(owner) => misdirected(owner),
    }
}

fn shown(wallet: &impl serde::Serialize) -> serde_json::Value {
    json!({"walletId": wallet, "balance": 0.0, "createdAt": "2025-07-06T14:46:53Z", "updatedAt": "2025-07-06T14:46:53Z"})
}

//! The load's HTTP client: keep-alive HTTP/1.1 to one address, one attempt at a time.
//!
//! It must never repeat a request by itself: what is repeated, the load counts.

use std::time::Duration;

use access::http::Connector;
use anyhow::{Context, Result};
use bytes::Bytes;
use command_line::{USAGE, failure};
use control_api::client::Credentials;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HeaderValue;
use hyper::{Method, Request, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ledger::Money;
use reconciliation::Reported;
use serde::Deserialize;
use tokio::time::timeout;
use topology::{Endpoint, Problem, WalletId, wire};
use uuid::Uuid;

use crate::operation::reported;

/// Below the router's keep-alive timeout.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// How much longer than its deadline a client waits: the router's own answer to a deadline is on its way then.
const GRACE: Duration = Duration::from_millis(250);

/// One request as data, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    key: Option<String>,
    body: Option<String>,
    /// By which the router finds the cell without reading the body.
    wallet: Option<WalletId>,
}

impl Call {
    pub fn create(user: &str, key: String) -> Self {
        let body = serde_json::json!({ "userId": user }).to_string();
        Self::post(Endpoint::Create.path(&[]), key, body, None)
    }

    pub fn deposit(wallet: WalletId, amount: Money, key: String) -> Self {
        let body = format!(r#"{{"amount":{amount}}}"#);
        Self::post(Endpoint::Deposit.of_wallet(wallet), key, body, Some(wallet))
    }

    pub fn withdraw(wallet: WalletId, amount: Money, key: String) -> Self {
        let body = format!(r#"{{"amount":{amount}}}"#);
        Self::post(Endpoint::Withdraw.of_wallet(wallet), key, body, Some(wallet))
    }

    pub fn transfer(from: WalletId, to: WalletId, amount: Money, key: String) -> Self {
        let body = format!(r#"{{"fromWalletId":"{from}","toWalletId":"{to}","amount":{amount}}}"#);
        Self::post(Endpoint::Transfer.path(&[]), key, body, Some(from))
    }

    pub fn show(wallet: WalletId) -> Self {
        let path = Endpoint::Show.of_wallet(wallet);
        Self { method: Method::GET, path, key: None, body: None, wallet: None }
    }

    fn post(path: String, key: String, body: String, wallet: Option<WalletId>) -> Self {
        Self { method: Method::POST, path, key: Some(key), body: Some(body), wallet }
    }
}

/// What an answer said.
pub struct Answer {
    pub outcome: Reported,
    /// Of a creation.
    pub wallet: Option<WalletId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Success {
    wallet_id: Option<WalletId>,
    transfer_id: Option<Uuid>,
}

pub struct Wire {
    client: Client<Connector, Full<Bytes>>,
    /// Scheme and authority.
    base: String,
    authorization: Option<HeaderValue>,
    patience: Duration,
    deadline_ms: String,
}

impl Wire {
    /// `url`: `http://` or `https://host:port`. `patience`: how long one attempt may take.
    pub fn new(url: &str, credentials: &Credentials, patience: Duration) -> Result<Self> {
        let is_base = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        url.parse()
            .ok()
            .filter(is_base)
            .ok_or_else(|| failure(USAGE, format!("{url:?} is not http(s)://host:port")))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .retry_canceled_requests(false)
            .build(credentials.connector(url).context("--router-ca")?);
        let authorization = credentials.authorization("--router", url)?;
        let (base, deadline_ms) = (url.trim_end_matches('/').to_owned(), patience.as_millis().to_string());
        Ok(Self { client, base, authorization, patience, deadline_ms })
    }

    /// One attempt. It always has an answer: that there was none is one.
    pub async fn send(&self, call: &Call) -> Answer {
        match timeout(self.patience + GRACE, self.exchange(call)).await {
            Ok(Ok((status, body))) => understood(status, &body),
            Ok(Err(code)) => Answer { outcome: Reported::Unknown(code.into()), wallet: None },
            Err(_) => Answer { outcome: Reported::Unknown("no_answer".into()), wallet: None },
        }
    }

    async fn exchange(&self, call: &Call) -> Result<(u16, Bytes), &'static str> {
        let mut request = Request::builder().method(call.method.clone()).uri(format!("{}{}", self.base, call.path));
        request = request.header(wire::DEADLINE_MS, &self.deadline_ms).header(header::USER_AGENT, "ctl load");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(key) = &call.key {
            request = request.header(wire::IDEMPOTENCY_KEY, key).header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(wallet) = call.wallet {
            request = request.header(wire::WALLET_ID, wallet.to_string());
        }
        let body = Full::new(call.body.clone().map(Bytes::from).unwrap_or_default());
        let request = request.body(body).expect("paths, keys and ids are plain ASCII");
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| if error.is_connect() { "not_connected" } else { "connection_lost" })?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
        Ok((status, body.map_err(|_| "answer_cut_off")?.to_bytes()))
    }
}

fn understood(status: u16, body: &[u8]) -> Answer {
    if !(200..300).contains(&status) {
        let problem: Option<Problem> = serde_json::from_slice(body).ok();
        let code = problem.map_or_else(|| format!("status_{status}"), |problem| problem.code);
        return Answer { outcome: reported(status, &code), wallet: None };
    }
    match serde_json::from_slice::<Success>(body) {
        Ok(done) => Answer { outcome: Reported::Done(done.transfer_id), wallet: done.wallet_id },
        Err(_) => Answer { outcome: Reported::Unknown("not_understood".into()), wallet: None },
    }
}

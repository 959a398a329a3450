//! The control plane's own calls to the processes of a cell: is it ready, create a wallet, show a wallet.
//!
//! Short timeouts and no retries beyond the cell's other instances: a person or an idempotent procedure waits.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use topology::placement::InstanceEntry;
use topology::wire::path::{FENCE, INTERNAL_WALLETS};
use topology::{CellEntry, CellId, Duty, InstanceId, Problem, UserId, WalletId, wire};
use uuid::Uuid;

use crate::error::{Error, Result, refused};
use crate::wire::{InstanceHealth, WalletView};

const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Instances {
    http: reqwest::Client,
}

/// What a cell said of a wallet.
#[derive(Debug)]
pub enum Answer {
    Wallet(WalletView),
    /// The wallet would be here and is not.
    Absent,
    /// The wallet belongs to another cell.
    Elsewhere(Option<CellId>),
    /// Creating: it was there already.
    Exists,
}

impl Default for Instances {
    fn default() -> Self {
        Self::new()
    }
}

impl Instances {
    pub fn new() -> Self {
        Self { http: reqwest::Client::builder().no_proxy().build().expect("a client without options builds") }
    }

    pub fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// Has each instance confirm that it remembers nothing of the wallet, but those that are known to be stopped for
    /// good. The error names the first that did not.
    pub async fn fenced(
        &self,
        instances: &[InstanceEntry],
        stopped: &[InstanceId],
        wallet: WalletId,
    ) -> std::result::Result<(), String> {
        for instance in instances.iter().filter(|instance| !stopped.contains(&instance.id)) {
            let url = format!("http://{}{INTERNAL_WALLETS}{wallet}{FENCE}", instance.address);
            match self.http.post(url).timeout(CALL_TIMEOUT).send().await {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => {
                    let status = response.status().as_u16();
                    return Err(format!("{} answers {status} when asked to let go of {wallet}", instance.id));
                }
                Err(error) => return Err(format!("{} does not answer: {}", instance.id, root_cause(&error))),
            }
        }
        Ok(())
    }

    /// `GET /readyz`.
    pub async fn probe(&self, instance: &InstanceEntry) -> InstanceHealth {
        let url = format!("http://{}/readyz", instance.address);
        let why = match self.http.get(url).timeout(PROBE_TIMEOUT).send().await {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("answers {}", response.status().as_u16())),
            Err(error) if error.is_timeout() => Some(format!("no answer in {} ms", PROBE_TIMEOUT.as_millis())),
            Err(_) => Some("not reachable".to_owned()),
        };
        InstanceHealth { id: instance.id.to_string(), ready: why.is_none(), why }
    }

    pub async fn wallet(&self, cell: &CellEntry, wallet: WalletId) -> Result<Answer> {
        let path = format!("/api/v1/wallets/{wallet}");
        self.ask(cell, Duty::Transactions, |base| self.http.get(format!("{base}{path}"))).await
    }

    /// Repeating it with the same key is harmless.
    pub async fn create_wallet(&self, cell: &CellEntry, user: &UserId, wallet: WalletId, key: Uuid) -> Result<Answer> {
        let request = |base: String| {
            let post = self.http.post(format!("{base}/api/v1/wallets"));
            let post = post.header(wire::IDEMPOTENCY_KEY, key.to_string()).header(wire::WALLET_ID, wallet.to_string());
            post.json(&json!({ "userId": user.as_str() }))
        };
        self.ask(cell, Duty::Accounts, request).await
    }

    /// Asks one instance that is there for it after the other until one answers.
    async fn ask(
        &self,
        cell: &CellEntry,
        duty: Duty,
        request: impl Fn(String) -> reqwest::RequestBuilder,
    ) -> Result<Answer> {
        let mut last = "it has no instances".to_owned();
        for instance in cell.instances.iter().filter(|instance| instance.role.serves(duty)) {
            let request = request(format!("http://{}", instance.address)).timeout(CALL_TIMEOUT);
            match request.header(wire::REQUEST_ID, Uuid::now_v7().to_string()).send().await {
                Ok(response) if response.status().is_server_error() => {
                    last = format!("{} answers {}", instance.id, response.status().as_u16());
                }
                // It has another role by now.
                Ok(response) if response.headers().contains_key(wire::NOT_PROCESSED) => {
                    last = format!("{} is not there for this", instance.id);
                }
                Ok(response) => return understood(&cell.id, response).await,
                Err(error) => last = format!("{}: {}", instance.id, root_cause(&error)),
            }
        }
        let detail = format!("{}: {last}; nothing is lost, run the same command again", cell.id);
        Err(refused(502, "cell_unavailable", "The cell does not answer", detail))
    }
}

/// What a cell's answer about a wallet is read for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(borrow)]
    balance: &'a RawValue,
    created_at: String,
    updated_at: String,
}

impl From<Shown<'_>> for WalletView {
    fn from(shown: Shown<'_>) -> Self {
        let Shown { balance, created_at, updated_at } = shown;
        Self { balance: balance.get().to_owned(), created_at, updated_at }
    }
}

async fn understood(cell: &CellId, response: reqwest::Response) -> Result<Answer> {
    let status = response.status().as_u16();
    let owner = response.headers().get(wire::WALLET_CELL).and_then(|value| value.to_str().ok());
    let owner = owner.and_then(|text| CellId::parse(text).ok());
    let body = response.bytes().await.unwrap_or_default();
    match status {
        200 | 201 => {
            serde_json::from_slice::<Shown<'_>>(&body).map(|shown| Answer::Wallet(shown.into())).map_err(|error| {
                Error::Unsound(format!("{cell} answered {status} with something that is no wallet: {error}"))
            })
        }
        404 => Ok(Answer::Absent),
        409 => Ok(Answer::Exists),
        421 => Ok(Answer::Elsewhere(owner)),
        _ => {
            let said =
                serde_json::from_slice::<Problem>(&body).map(|problem| format!("{}: {}", problem.code, problem.detail));
            let detail =
                format!("{cell} answered {status} ({})", said.unwrap_or_else(|_| "no problem body".to_owned()));
            Err(refused(502, "cell_refused", "The cell refused", detail))
        }
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

//! The control plane's own calls to the processes of a cell: is it ready, create a wallet, show a wallet.
//!
//! Short timeouts and no retries beyond the cell's other instances: a person or an idempotent procedure waits.

use std::time::Duration;

use access::Role;
use access::http::{Connector, Http, Reply};
use access::tls::{self, days_left, now_s};
use axum::http::Method;
use control_api::{InstanceHealth, Refusal, WalletView};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use topology::placement::InstanceEntry;
use topology::version::Running;
use topology::wire::HotWallet;
use topology::{CellEntry, CellId, Endpoint, Problem, UserId, Version, WalletId, wire};
use uuid::Uuid;

use crate::error::{Error, Result, refused};

const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a process that is slow to answer is asked whether it waits for its Region.
const ASKS_MAX: u32 = 3;
/// What a build is called that does not tell its version.
pub const UNVERSIONED: &str = "unversioned";
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Instances {
    http: Http,
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
        Self { http: Http::plain() }
    }

    /// Over TLS, with this control plane's certificate; the server has to be in this role.
    pub fn over(tls: tls::Client, role: Role) -> Self {
        Self { http: Http::new(Connector::new(Some(tls), Some(role.server_name()))) }
    }

    /// Whether the cells authenticate this process by a certificate, and can believe what it says
    /// of other callers.
    pub fn is_believed(&self) -> bool {
        self.http.scheme() == "https"
    }

    pub fn http(&self) -> Http {
        self.http.clone()
    }

    /// What the process logs, or whether it took a filter; the error says why there is no answer.
    pub async fn log(
        &self,
        instance: &InstanceEntry,
        method: Method,
        body: Vec<u8>,
    ) -> std::result::Result<(bool, String), String> {
        let url = format!("{}://{}{}", self.http.scheme(), instance.address, wire::LOG_PAGE);
        let reply = self.http.ask(method, &url, &[], body, CALL_TIMEOUT).await.map_err(|error| error.to_string())?;
        Ok((reply.status.is_success(), String::from_utf8_lossy(&reply.body).trim().to_owned()))
    }

    /// `GET /readyz`.
    pub async fn probe(&self, instance: &InstanceEntry) -> InstanceHealth {
        let url = format!("{}://{}/readyz", self.http.scheme(), instance.address);
        let (ready, why) = match self.http.ask(Method::GET, &url, &[], vec![], PROBE_TIMEOUT).await {
            Ok(reply) if reply.status.is_success() => match days_left(reply.peer_ends_s, now_s()) {
                // The connection was made before; no new one can be.
                Some(days) if days < 0 => (false, Some("its certificate has ended".to_owned())),
                Some(days) => (true, Some(format!("its certificate ends in {days} days"))),
                None => (true, None),
            },
            Ok(reply) => (false, Some(format!("answers {}", reply.status.as_u16()))),
            Err(error) if error.is_late() => (false, Some(format!("no answer in {} ms", PROBE_TIMEOUT.as_millis()))),
            Err(error) => (false, Some(format!("not reachable: {error}"))),
        };
        InstanceHealth { id: instance.id.to_string(), ready, why }
    }

    /// Whether the process is there and may write to the cell's tables: one that waits for its Region does not. It may
    /// for all that is known if it is there and does not say, several times.
    pub async fn may_write(&self, instance: &InstanceEntry) -> bool {
        for _ in 0..ASKS_MAX {
            match self.running(instance).await {
                Ok(running) => return !running.standby,
                Err(_) if !self.is_there(instance).await => return false,
                Err(_) => {}
            }
        }
        true
    }

    /// Whether the process answers anything at all.
    async fn is_there(&self, instance: &InstanceEntry) -> bool {
        let url = format!("{}://{}/livez", self.http.scheme(), instance.address);
        match self.http.ask(Method::GET, &url, &[], vec![], PROBE_TIMEOUT).await {
            Ok(_) => true,
            // Too slow is there, too: it may come to again.
            Err(error) => error.is_late(),
        }
    }

    /// `GET /version`: what runs there. A build older than this path says nothing of its version.
    pub async fn running(&self, instance: &InstanceEntry) -> std::result::Result<Running, String> {
        let reply = self.page(instance, "/version").await?;
        if reply.status.as_u16() == 404 {
            let version = Version::parse(UNVERSIONED).expect("sound");
            return Ok(Running { version, instance: instance.id.to_string(), started_ms: 0, standby: false });
        }
        let running = serde_json::from_slice(&reply.body);
        running.map_err(|_| format!("{} answers {} when asked what it runs", instance.id, reply.status.as_u16()))
    }

    /// `GET /metrics`.
    pub async fn metrics(&self, instance: &InstanceEntry) -> std::result::Result<String, String> {
        let reply = self.page(instance, "/metrics").await?;
        String::from_utf8(reply.body.to_vec()).map_err(|_| format!("{} answers with no text", instance.id))
    }

    /// The wallets that this process writes most. `None`: it does not tell.
    pub async fn hot_wallets(&self, instance: &InstanceEntry) -> Option<Vec<HotWallet>> {
        let reply = self
            .page(instance, Endpoint::HotWallets.template())
            .await
            .ok()
            .filter(|reply| reply.status.is_success())?;
        serde_json::from_slice(&reply.body).ok()
    }

    async fn page(&self, instance: &InstanceEntry, path: &str) -> std::result::Result<Reply, String> {
        let url = format!("{}://{}{path}", self.http.scheme(), instance.address);
        let asked = self.http.ask(Method::GET, &url, &[], vec![], PAGE_TIMEOUT).await;
        asked.map_err(|error| format!("{}: {error}", instance.id))
    }

    pub async fn wallet(&self, cell: &CellEntry, wallet: WalletId) -> Result<Answer> {
        self.ask(cell, Endpoint::Show, &[wallet.as_uuid()], &[], "").await
    }

    /// Repeating it with the same key is harmless.
    pub async fn create_wallet(&self, cell: &CellEntry, user: &UserId, wallet: WalletId, key: Uuid) -> Result<Answer> {
        self.create_wallet_for(cell, user, wallet, key, None).await
    }

    /// The same, on behalf of an operator, if one is authenticated.
    pub async fn create_wallet_for(
        &self,
        cell: &CellEntry,
        user: &UserId,
        wallet: WalletId,
        key: Uuid,
        actor: Option<&str>,
    ) -> Result<Answer> {
        let (key, wallet) = (key.to_string(), wallet.to_string());
        let mut headers = vec![
            (wire::IDEMPOTENCY_KEY, key.as_str()),
            (wire::WALLET_ID, wallet.as_str()),
            ("content-type", "application/json"),
        ];
        headers.extend(actor.map(|actor| (wire::ACTOR, actor)));
        let body = json!({ "userId": user.as_str() }).to_string();
        self.ask(cell, Endpoint::Create, &[], &headers, &body).await
    }

    /// The cell's answer to an operator's request about a wallet, whose id is the first of `ids`.
    pub async fn change_state(
        &self,
        cell: &CellEntry,
        endpoint: Endpoint,
        ids: &[Uuid],
        actor: &str,
    ) -> Result<serde_json::Value> {
        let request_id = Uuid::now_v7().to_string();
        let headers = [(wire::REQUEST_ID, request_id.as_str()), (wire::ACTOR, actor)];
        self.as_shown(cell, endpoint, ids, &headers).await
    }

    /// A wallet as its cell shows it.
    pub async fn shown(&self, cell: &CellEntry, wallet: WalletId) -> Result<serde_json::Value> {
        self.as_shown(cell, Endpoint::Show, &[wallet.as_uuid()], &[]).await
    }

    async fn as_shown(
        &self,
        cell: &CellEntry,
        endpoint: Endpoint,
        ids: &[Uuid],
        headers: &[(&str, &str)],
    ) -> Result<serde_json::Value> {
        let (method, path) = (method(endpoint), endpoint.path(ids));
        let mut last = "it has no instances".to_owned();
        for instance in cell.instances.iter().filter(|instance| instance.role.serves(endpoint.duty())) {
            let url = format!("{}://{}{path}", self.http.scheme(), instance.address);
            match self.http.ask(method.clone(), &url, headers, vec![], CALL_TIMEOUT).await {
                Ok(reply) if reply.status.is_success() => {
                    let shown = serde_json::from_slice(&reply.body);
                    return shown.map_err(|error| Error::Unsound(format!("{}: {error}", instance.id)));
                }
                Ok(reply) if reply.status.is_client_error() => {
                    let status = reply.status.as_u16();
                    return Err(match serde_json::from_slice::<Problem>(&reply.body) {
                        Ok(said) => {
                            Error::Relayed(Box::new(Problem::new(status, &said.code, &said.title).detail(said.detail)))
                        }
                        Err(_) => Error::Refused(Refusal::Refused.detail("").status(status)),
                    });
                }
                Ok(reply) => last = format!("{} answers {}", instance.id, reply.status.as_u16()),
                Err(error) => last = format!("{}: {error}", instance.id),
            }
        }
        let detail = format!("{}: {last}; run the same command again", cell.id);
        Err(refused(Refusal::CellUnavailable, detail))
    }

    /// Asks one instance that is there for it after the other until one answers.
    async fn ask(
        &self,
        cell: &CellEntry,
        endpoint: Endpoint,
        ids: &[Uuid],
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        let (method, path) = (method(endpoint), endpoint.path(ids));
        let mut last = "it has no instances".to_owned();
        for instance in cell.instances.iter().filter(|instance| instance.role.serves(endpoint.duty())) {
            let url = format!("{}://{}{path}", self.http.scheme(), instance.address);
            let request_id = Uuid::now_v7().to_string();
            let headers = [headers, &[(wire::REQUEST_ID, request_id.as_str())]].concat();
            let asked = self.http.ask(method.clone(), &url, &headers, body.as_bytes().to_vec(), CALL_TIMEOUT);
            match asked.await {
                Ok(reply) if reply.status.is_server_error() => {
                    last = format!("{} answers {}", instance.id, reply.status.as_u16());
                }
                // It has another role by now.
                Ok(reply) if reply.headers.contains_key(wire::NOT_PROCESSED) => {
                    last = format!("{} is not there for this", instance.id);
                }
                Ok(reply) => return understood(&cell.id, &reply),
                Err(error) => last = format!("{}: {error}", instance.id),
            }
        }
        let detail = format!("{}: {last}; nothing is lost, run the same command again", cell.id);
        Err(Error::Refused(Refusal::CellUnavailable.detail(detail).titled("The cell does not answer").status(502)))
    }
}

fn method(endpoint: Endpoint) -> Method {
    match endpoint.method() {
        topology::endpoint::Method::Get => Method::GET,
        topology::endpoint::Method::Post => Method::POST,
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

fn understood(cell: &CellId, reply: &Reply) -> Result<Answer> {
    let status = reply.status.as_u16();
    let owner = reply.headers.get(wire::WALLET_CELL).and_then(|value| value.to_str().ok());
    let owner = owner.and_then(|text| CellId::parse(text).ok());
    let body = &reply.body;
    match status {
        200 | 201 => {
            serde_json::from_slice::<Shown<'_>>(body).map(|shown| Answer::Wallet(shown.into())).map_err(|error| {
                Error::Unsound(format!("{cell} answered {status} with something that is no wallet: {error}"))
            })
        }
        404 => Ok(Answer::Absent),
        409 => Ok(Answer::Exists),
        421 => Ok(Answer::Elsewhere(owner)),
        _ => {
            let said =
                serde_json::from_slice::<Problem>(body).map(|problem| format!("{}: {}", problem.code, problem.detail));
            let detail =
                format!("{cell} answered {status} ({})", said.unwrap_or_else(|_| "no problem body".to_owned()));
            Err(refused(Refusal::CellRefused, detail))
        }
    }
}

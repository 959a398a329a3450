//! A client of the wallet API as a careful integrator would write it: repeats what failed, with the same key.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;
use topology::WalletId;

use super::journal::Request;

/// Longer than any deadline of the service.
const TIMEOUT: Duration = Duration::from_secs(40);
/// How long a request is repeated until it has a final answer.
const INSIST_PATIENCE: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);

pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a client without TLS")
}

/// One request as data, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: vec![], body: None }
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        let json = ("content-type".to_owned(), "application/json".to_owned());
        Self { method: Method::POST, path: path.into(), headers: vec![json], body: Some(body.into()) }
    }

    pub fn create(user: &str) -> Self {
        Self::post("/api/v1/wallets", format!(r#"{{"userId":"{user}"}}"#))
    }

    pub fn show(wallet: WalletId) -> Self {
        Self::get(format!("/api/v1/wallets/{wallet}"))
    }

    pub fn deposit(wallet: WalletId, amount: &str) -> Self {
        Self::post(format!("/api/v1/wallets/{wallet}/deposit"), format!(r#"{{"amount":{amount}}}"#))
    }

    pub fn withdraw(wallet: WalletId, amount: &str) -> Self {
        Self::post(format!("/api/v1/wallets/{wallet}/withdraw"), format!(r#"{{"amount":{amount}}}"#))
    }

    pub fn transfer(from: WalletId, to: WalletId, amount: &str) -> Self {
        let body = format!(r#"{{"fromWalletId":"{from}","toWalletId":"{to}","amount":{amount}}}"#);
        Self::post("/api/v1/wallets/transfer", body)
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self
    }

    pub fn key(self, key: impl Into<String>) -> Self {
        self.header("idempotency-key", key)
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The text of one field as it is in the body: `350.00` stays that.
    pub fn raw(&self, field: &str) -> String {
        let fields: HashMap<String, Box<RawValue>> = serde_json::from_str(&self.text).unwrap_or_default();
        fields.get(field).map(|raw| raw.get().to_owned()).unwrap_or_else(|| panic!("no field {field}: {self:?}"))
    }

    pub fn string(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no text in field {field}: {self:?}")).to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn is_replay(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    /// The stable code of a problem; the answer must be one in every respect.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: topology::Problem = serde_json::from_str(&self.text).expect("a problem");
        assert_eq!(problem.status, self.status, "{self:?}");
        assert_eq!(problem.kind, format!("/problems/{}", problem.code), "{self:?}");
        assert_eq!(problem.request_id.as_deref(), self.header("x-request-id"), "{self:?}");
        problem.code
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether repeating the request could bring another answer.
    fn is_final(&self) -> bool {
        self.is_success() || ((400..500).contains(&self.status) && !matches!(self.status, 408 | 421 | 425 | 429))
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Talks to one address.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub fn new(http: reqwest::Client, base: String) -> Self {
        Self { http, base }
    }

    /// One attempt.
    pub async fn try_send(&self, call: &Call) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(call.method.clone(), format!("{}{}", self.base, call.path));
        for (name, value) in &call.headers {
            let name = HeaderName::try_from(name.as_str()).expect("a header name");
            request = request.header(name, HeaderValue::from_str(value).expect("a header value"));
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let answer = Answer { status, headers, text: answer.text().await? };
        super::seen::record(call, &answer);
        Ok(answer)
    }

    /// One attempt that is expected to be answered.
    pub async fn send(&self, call: &Call) -> Answer {
        self.try_send(call).await.unwrap_or_else(|error| panic!("{} {}: {error:?}", call.method, call.path))
    }

    /// Repeats the request, which carries a key if it changes anything, until there is a final answer.
    pub async fn insist(&self, call: &Call) -> Answer {
        Self::insist_at(&[self], call).await
    }

    /// The same, going round several addresses, the first one first.
    pub async fn insist_at(clients: &[&Client], call: &Call) -> Answer {
        let deadline = Instant::now() + INSIST_PATIENCE;
        let mut pause = MIN_PAUSE;
        for client in clients.iter().cycle() {
            let last = match client.try_send(call).await {
                Ok(answer) if answer.is_final() => return answer,
                Ok(answer) => format!("{answer:?}"),
                Err(error) => format!("{error:?}"),
            };
            assert!(Instant::now() < deadline, "no final answer to {} {}: {last}", call.method, call.path);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        unreachable!("there is at least one address")
    }

    pub async fn create(&self, user: &str) -> WalletId {
        let answer = self.insist(&Call::create(user).key(format!("create-{user}"))).await.expect(201);
        answer.string("walletId").parse().expect("a wallet id")
    }

    /// The balance as the API prints it.
    pub async fn balance(&self, wallet: WalletId) -> String {
        self.insist(&Call::show(wallet)).await.expect(200).raw("balance")
    }

    /// Carries out a request until it has a final answer.
    pub async fn carry_out(&self, request: Request) -> (Request, Answer) {
        let answer = self.insist(&request.call()).await;
        (request.answered(&answer), answer)
    }
}

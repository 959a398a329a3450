//! One canary's way through what customers do. Each step is a request of its own; one that fails ends the journey, and the
//! next one begins from what is there.

use std::time::{Duration, Instant};

use access::http::{Http, Reply};
use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use topology::{Endpoint, UserId, WalletId, wire};
use uuid::Uuid;

/// Longer than a customer would wait, so that what hangs differs from what is slow.
const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// Kept in the wallet, so that what goes round is there.
const FLOAT: &str = "100.00";
const MOVED: &str = "1.00";
const GIVEN: &str = "0.01";
/// Below this, the float is paid in again: gone round to a cell that does not answer.
const LEAST: f64 = 10.0;
/// Above this, as much is taken out: of journeys that ended between paying in and taking out.
const MOST: f64 = 300.0;

/// A synthetic customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    pub user: UserId,
    pub wallet: WalletId,
    pub has_wallet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// An answer as good as any, by which a customer could go on.
    Refused,
    /// 5xx, or none.
    Failed,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

pub struct Journey<'a> {
    pub http: &'a Http,
    pub router: &'a str,
    pub payee: Option<WalletId>,
}

type Count<'c> = &'c (dyn Fn(&'static str, Outcome, Duration) + Sync);

#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    balance: &'a RawValue,
}

/// What a successful answer says of it.
fn balance(reply: &Reply) -> Option<f64> {
    let shown: Shown<'_> = reply.status.is_success().then(|| serde_json::from_slice(&reply.body).ok())??;
    shown.balance.get().parse().ok()
}

impl Journey<'_> {
    pub async fn go(&self, canary: &mut Canary, count: Count<'_>) {
        if !canary.has_wallet {
            canary.has_wallet = self.settle(canary, count).await;
        }
        if canary.has_wallet {
            let _: Option<()> = self.travel(canary, count).await;
        }
    }

    /// Finds the canary's wallet, or makes one.
    async fn settle(&self, canary: &Canary, count: Count<'_>) -> bool {
        let find = format!("{}?userId={}", Endpoint::Find.path(&[]), canary.user);
        match self.step("find", Method::GET, &find, String::new(), canary.wallet, count).await {
            Some(reply) if reply.status.is_success() => true,
            Some(reply) if reply.status == StatusCode::NOT_FOUND => {
                let body = serde_json::json!({ "userId": canary.user.as_str() }).to_string();
                let made =
                    self.step("create", Method::POST, &Endpoint::Create.path(&[]), body, canary.wallet, count).await;
                made.is_some_and(|reply| reply.status.is_success() || reply.status == StatusCode::CONFLICT)
            }
            _ => false,
        }
    }

    async fn travel(&self, canary: &mut Canary, count: Count<'_>) -> Option<()> {
        let wallet = canary.wallet;
        let own = |endpoint: Endpoint| endpoint.of_wallet(wallet);
        let shown = self.step("balance", Method::GET, &own(Endpoint::Show), String::new(), wallet, count).await?;
        // Lost with its cell: the next journey makes another one.
        canary.has_wallet = shown.status != StatusCode::NOT_FOUND;
        let balance = balance(&shown)?;
        let amount = |amount: &str| format!(r#"{{"amount":{amount}}}"#);
        let (deposit, withdraw) = (own(Endpoint::Deposit), own(Endpoint::Withdraw));
        if balance < LEAST {
            self.done("deposit", Method::POST, &deposit, amount(FLOAT), wallet, count).await?;
        }
        if balance > MOST {
            self.done("withdraw", Method::POST, &withdraw, amount(FLOAT), wallet, count).await?;
        }
        self.done("deposit", Method::POST, &deposit, amount(MOVED), wallet, count).await?;
        // What is not taken out now is there the next time.
        self.done("withdraw", Method::POST, &withdraw, amount(MOVED), wallet, count).await?;
        if let Some(payee) = self.payee {
            let body = format!(r#"{{"fromWalletId":"{wallet}","toWalletId":"{payee}","amount":{GIVEN}}}"#);
            self.done("transfer", Method::POST, &Endpoint::Transfer.path(&[]), body, wallet, count).await?;
        }
        let history = own(Endpoint::ListTransactions) + "?limit=5";
        self.done("history", Method::GET, &history, String::new(), wallet, count).await?;
        Some(())
    }

    async fn done(
        &self,
        step: &'static str,
        method: Method,
        path: &str,
        body: String,
        wallet: WalletId,
        count: Count<'_>,
    ) -> Option<Reply> {
        self.step(step, method, path, body, wallet, count).await.filter(|reply| reply.status.is_success())
    }

    /// Sent once, as it is: what is repeated behind a customer's back would not be seen. `None`: no answer.
    async fn step(
        &self,
        step: &'static str,
        method: Method,
        path: &str,
        body: String,
        wallet: WalletId,
        count: Count<'_>,
    ) -> Option<Reply> {
        let (url, key, wallet) = (format!("{}{path}", self.router), Uuid::now_v7().to_string(), wallet.to_string());
        let mut headers = vec![(wire::WALLET_ID, wallet.as_str())];
        if method == Method::POST {
            headers.extend([(wire::IDEMPOTENCY_KEY, key.as_str()), ("content-type", "application/json")]);
        }
        let began = Instant::now();
        let reply = self.http.ask(method, &url, &headers, body.into_bytes(), STEP_PATIENCE).await;
        let outcome = match &reply {
            // Without an answer in it, a customer cannot go on.
            Ok(reply) if step == "balance" && reply.status.is_success() && balance(reply).is_none() => Outcome::Failed,
            Ok(reply) if reply.status.is_success() => Outcome::Done,
            // The question was whether it has a wallet.
            Ok(reply) if step == "find" && reply.status == StatusCode::NOT_FOUND => Outcome::Done,
            Ok(reply) if !reply.status.is_server_error() => Outcome::Refused,
            _ => Outcome::Failed,
        };
        count(step, outcome, began.elapsed());
        reply.ok()
    }
}

#[cfg(test)]
mod tests;

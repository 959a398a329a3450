//! Deposits at a fixed rate, each when it is due, however long others take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use topology::WalletId;
use uuid::Uuid;

use crate::bench::connection::{Connection, Request};
use crate::fleet::open_transfers::now;

/// Connections: enough that none waits for another one's answer.
const CONNECTIONS: usize = 24;

/// A deposit that was confirmed.
pub struct Paid {
    pub wallet: WalletId,
    pub transaction: String,
    pub answered: Timestamp,
    pub took: Duration,
}

/// A deposit into each of these wallets, in turn, `rate` a second.
pub async fn run(base: &str, wallets: Vec<WalletId>, rate: u64) -> Vec<Paid> {
    let (wallets, next, began) = (Arc::new(wallets), Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (wallets, next) = (Arc::clone(&wallets), Arc::clone(&next));
        let mut connection = Connection::open(base).await.expect("it listens");
        connections.spawn(async move {
            let mut paid = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(wallet) = wallets.get(number).copied() else { return paid };
                sleep_until(began + Duration::from_secs(1).mul_f64(number as f64 / rate as f64)).await;
                paid.push(pay(&mut connection, wallet).await);
            }
        });
    }
    connections.join_all().await.into_iter().flatten().collect()
}

async fn pay(connection: &mut Connection, wallet: WalletId) -> Paid {
    let (path, body) = (format!("{wallet}/deposit"), r#"{"amount":0.01}"#.to_owned());
    let began = Instant::now();
    let answer = connection.send(&Request { path, key: Uuid::new_v4().to_string(), body }).await;
    let (answered, took, answer) = (now(), began.elapsed(), answer.expect("it answers"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    Paid { wallet, transaction: answer.text("transactionId"), answered, took }
}

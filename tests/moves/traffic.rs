//! Customers at work while wallets move: each request is sent once, and its answer and latency remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ledger::Money;
use tokio::task::JoinSet;
use topology::WalletId;

use crate::fleet::journal::{Request, What};
use crate::fleet::{Call, Client};

/// One request and what became of it.
pub struct Seen {
    pub wallet: WalletId,
    pub took: Duration,
    /// Absent for reads.
    pub request: Option<Request>,
    /// What a customer would complain of.
    pub complaint: Option<String>,
}

pub struct Traffic {
    over: Arc<AtomicBool>,
    clients: JoinSet<Vec<Seen>>,
}

impl Traffic {
    /// So many customers, each with a pause between two requests: an offered load below what the machine can bear.
    pub fn start(client: &Client, wallets: &[WalletId], clients: u64, pause: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let (over, client, wallets) = (over.clone(), client.clone(), wallets.to_vec());
            tasks.spawn(async move {
                let mut dice = Rng::with_seed(number);
                let name = fastrand::u64(..);
                let mut seen = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let key = format!("{name}-{}", seen.len());
                    seen.push(one(&client, &wallets, &mut dice, key).await);
                    tokio::time::sleep(pause.mul_f64(dice.f64() * 2.0)).await;
                }
                seen
            });
        }
        Self { over, clients: tasks }
    }

    pub async fn finish(self) -> Vec<Seen> {
        self.over.store(true, Ordering::Release);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

async fn one(client: &Client, wallets: &[WalletId], dice: &mut Rng, key: String) -> Seen {
    let from = dice.usize(0..wallets.len());
    let to = (from + dice.usize(1..wallets.len())) % wallets.len();
    let (wallet, to) = (wallets[from], wallets[to]);
    let amount = Money::from_minor(dice.u64(1..500));
    let what = match dice.u8(0..10) {
        0..4 => Some(What::Deposit { wallet, amount }),
        4..6 => Some(What::Withdraw { wallet, amount }),
        6..8 => Some(What::Transfer { from: wallet, to, amount }),
        _ => None,
    };
    let request = what.map(|what| Request::new(what, key));
    let call = request.as_ref().map_or_else(|| Call::show(wallet), Request::call);
    let began = Instant::now();
    let answer = client.try_send(&call).await;
    let took = began.elapsed();
    let complaint = match &answer {
        Ok(answer) if answer.is_success() => None,
        Ok(answer) if answer.status == 400 && answer.code() == "insufficient_balance" => None,
        Ok(answer) => Some(format!("{} {}: {answer:?}", call.method, call.path)),
        Err(error) => Some(format!("{} {}: {error:?}", call.method, call.path)),
    };
    let request = match (request, &answer) {
        (Some(request), Ok(answer)) if answer.is_success() || answer.status < 500 => Some(request.answered(answer)),
        (request, _) => request,
    };
    Seen { wallet, took, request, complaint }
}

pub fn complaints(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(|seen| seen.complaint.as_deref()).collect()
}

pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

impl Seen {
    /// Requests of one kind take about the same time.
    pub fn kind(&self) -> &'static str {
        match self.request.as_ref().map(|request| request.what) {
            None => "read",
            Some(What::Transfer { .. }) => "transfer",
            Some(_) => "write",
        }
    }
}

/// How much longer than typical for its kind each wallet's slowest write took, shortest first.
pub fn pauses(seen: &[Seen], typical: &BTreeMap<&'static str, Duration>) -> Vec<Duration> {
    let mut by_wallet: BTreeMap<WalletId, Duration> = BTreeMap::new();
    for seen in seen.iter().filter(|seen| seen.request.is_some()) {
        let longer = seen.took.saturating_sub(typical.get(seen.kind()).copied().unwrap_or_default());
        let pause = by_wallet.entry(seen.wallet).or_default();
        *pause = longer.max(*pause);
    }
    let mut pauses: Vec<Duration> = by_wallet.into_values().collect();
    pauses.sort_unstable();
    pauses
}

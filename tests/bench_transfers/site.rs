//! A fleet with funded wallets in each of its cells, and the sum of what was put into them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use topology::WalletId;

use crate::bench::connection::{Connection, Request};
use crate::fleet::{Call, Client, Fleet, Shape};

/// What each wallet gets at the start: more than any run can take out of it, a cent at a time.
const FUNDS_MINOR: u64 = 100_000;
const CENT: &str = "0.01";
/// Wallets that are made, funded or read at the same time.
const AT_ONCE: usize = 32;
/// From the last request until all money has arrived.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// What to start.
pub struct Plan {
    pub cells: u16,
    pub wallets_per_cell: usize,
    /// The folder of the programs; `None`: those of this build.
    pub programs: Option<PathBuf>,
    pub environment: Vec<(&'static str, &'static str)>,
}

pub struct Site {
    pub fleet: Fleet,
    /// The wallets of each cell.
    pub wallets: Vec<Vec<WalletId>>,
    deposited_minor: u64,
}

impl Site {
    pub async fn start(plan: Plan) -> Self {
        // What the programs can do, not what they are allowed to.
        let unlimited = ["CTL_MAX_TPS", "ROUTER_MAX_TPS", "ROUTER_WALLET_MAX_TPS"].map(|name| (name, "0"));
        let environment = unlimited.into_iter().chain(plan.environment);
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let Plan { cells, programs, .. } = plan;
        let fleet = Fleet::of(Shape { cells, instances: 1, environment, programs, ..Shape::default() }).await;
        let (mut wallets, mut deposited_minor) = (Vec::new(), 0);
        for cell in 1..=cells {
            let users = fleet.users_in(cell, plan.wallets_per_cell).await;
            deposited_minor += FUNDS_MINOR * users.len() as u64;
            wallets.push(at_once(&fleet.client(), users, open).await);
        }
        Self { fleet, wallets, deposited_minor }
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&self.fleet.ports.router()).await.expect("the router listens")
    }

    /// Deposits of a cent that were made on top of the funds.
    pub fn deposited_cents(&mut self, count: usize) {
        self.deposited_minor += count as u64;
    }

    /// Waits until nothing is in flight: only then the balances add up to what was deposited. Panics if they never do.
    pub async fn check_money(&self) -> String {
        let deadline = Instant::now() + ARRIVAL_PATIENCE;
        loop {
            let all: Vec<WalletId> = self.wallets.iter().flatten().copied().collect();
            let count = all.len();
            let sum: u64 = at_once(&self.fleet.client(), all, balance_minor).await.into_iter().sum();
            if sum == self.deposited_minor {
                return format!("{count} wallets hold {sum} minor units, which is what was deposited");
            }
            let late = Instant::now() > deadline;
            assert!(!late, "the wallets hold {sum} minor units; {} were deposited", self.deposited_minor);
            tokio::time::sleep(POLL).await;
        }
    }
}

pub fn deposit(wallet: WalletId) -> Request {
    request(format!("{wallet}/deposit"), format!(r#"{{"amount":{CENT}}}"#))
}

pub fn transfer(from: WalletId, to: WalletId) -> Request {
    let body = format!(r#"{{"fromWalletId":"{from}","toWalletId":"{to}","amount":{CENT}}}"#);
    request("transfer".to_owned(), body)
}

/// With a key that no other request has.
pub fn request(path: String, body: String) -> Request {
    Request { path, key: format!("bench-{}", NUMBERS.fetch_add(1, Ordering::Relaxed)), body }
}

async fn open(client: Client, user: String) -> WalletId {
    let wallet = client.create(&user).await;
    let funds = format!("{}.{:02}", FUNDS_MINOR / 100, FUNDS_MINOR % 100);
    client.insist(&Call::deposit(wallet, &funds).key(format!("fund-{user}"))).await.expect(200);
    wallet
}

/// The API prints two decimals, always.
async fn balance_minor(client: Client, wallet: WalletId) -> u64 {
    client.balance(wallet).await.replace('.', "").parse().expect("an amount")
}

/// `work` on each of `items`, some at the same time; the results in their order.
async fn at_once<T, R, F>(client: &Client, items: Vec<T>, work: fn(Client, T) -> F) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let (mut working, mut done) = (JoinSet::new(), Vec::new());
    for (position, item) in items.into_iter().enumerate() {
        if working.len() == AT_ONCE {
            done.extend(working.join_next().await.map(|one| one.expect("no panic")));
        }
        let work = work(client.clone(), item);
        working.spawn(async move { (position, work.await) });
    }
    done.extend(working.join_all().await);
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, result)| result).collect()
}

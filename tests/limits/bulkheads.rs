//! A flood of one kind of request, and what clients that move money notice of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use topology::WalletId;

use crate::fleet::{Call, Client, Fleet, until, within};

/// Customers that take money out, each from its own wallet, one withdrawal after the other.
const CUSTOMERS: usize = 4;
const WITHDRAWALS: usize = 60;
/// Requests of the flood under way at once: far more than a cell has places for their kind.
const FLOODERS: usize = 160;
/// Before the withdrawals are looked at, so many requests of the flood have been answered.
const FLOODED: u64 = 500;
/// Most that is let in of a flood of costly requests while one withdrawal goes on. This follows from the places, however
/// slow the machine; with a place for every request all of the flood gets in each time.
const LET_IN_MAX: u64 = FLOODERS as u64 / 2;
/// How much slower a withdrawal gets than beside as many clients with requests that are refused for
/// their bodies: those take the same processor time from the same two cores, and nothing from the
/// database.
const SLOWER_MAX: f64 = 20.0;
/// As long takes anything on two cores that as many clients keep busy with the cheapest requests there are: what is held up
/// by a flood's own work waits for seconds.
const FLOOR: Duration = Duration::from_secs(1);
/// A refused client asks again after this long: ten times as soon as the answer asks for.
const PAUSE: Duration = Duration::from_millis(100);

/// The median and the slowest but one in twenty of all withdrawals, each of which succeeded at the first attempt.
async fn withdrawals(client: &Client, wallets: &[WalletId], phase: &str) -> (Duration, Duration) {
    let mut tasks = JoinSet::new();
    for (number, wallet) in wallets.iter().copied().enumerate() {
        let (client, name) = (client.clone(), format!("{phase}-{number}"));
        tasks.spawn(async move {
            let mut took = Vec::new();
            for step in 0..WITHDRAWALS {
                let began = Instant::now();
                client.send(&Call::withdraw(wallet, "0.01").key(format!("{name}-{step}"))).await.expect(200);
                took.push(began.elapsed());
            }
            took
        });
    }
    let mut all: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    all.sort();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

/// [`FLOODERS`] clients that ask again as soon as they are served, and soon after they are not. Ends when it is dropped.
struct Flood {
    _tasks: JoinSet<()>,
    answered: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
}

impl Flood {
    async fn start(client: &Client, call: impl Fn(u64) -> Call + Clone + Send + 'static) -> Self {
        let mut tasks = JoinSet::new();
        let (answered, served) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        for flooder in 0..FLOODERS as u64 {
            let (client, call, over) = (client.clone(), call.clone(), over.clone());
            let (answered, served) = (answered.clone(), served.clone());
            tasks.spawn(async move {
                let mut number = flooder << 32;
                while !over.load(Ordering::Acquire) {
                    number += 1;
                    let answer = client.send(&call(number)).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    served.fetch_add(u64::from(answer.is_success()), Ordering::Relaxed);
                    assert!(answer.is_success() || matches!(answer.status, 400 | 503), "{answer:?}");
                    if !answer.is_success() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        let flood = Self { _tasks: tasks, answered, served };
        until(60, "the flood is under way", async || flood.answered.load(Ordering::Relaxed) > FLOODED).await;
        flood
    }

    fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }
}

/// The n-th request of a flood.
type Ask = Box<dyn Fn(u64) -> Call + Send + Sync>;

/// How often the cell refused a request of a class for want of places.
async fn shed(fleet: &Fleet, class: &str) -> u64 {
    let page = fleet.instance_client(1, 0).send(&Call::get("/metrics")).await.expect(200).text;
    let is_it = |line: &&str| line.starts_with("cell_shed_total{") && line.contains(&format!("class=\"{class}\""));
    page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_creations_or_reads_delays_no_withdrawal() {
    within(240, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let mut wallets = Vec::new();
        for number in 0..CUSTOMERS {
            let wallet = client.create(&format!("customer-{number}")).await;
            client.send(&Call::deposit(wallet, "100").key("first")).await.expect(200);
            wallets.push(wallet);
        }
        // A long history, so that a read of it is work.
        for step in 0..200 {
            client.send(&Call::deposit(wallets[0], "0.01").key(format!("history-{step}"))).await.expect(200);
        }
        withdrawals(&client, &wallets, "warm").await;
        let quiet = withdrawals(&client, &wallets, "quiet").await;
        let nothing = Call::deposit(wallets[0], "0");
        let refused = Flood::start(&client, move |_| nothing.clone()).await;
        let calm = withdrawals(&client, &wallets, "calm").await;
        drop(refused);
        eprintln!("alone: p50 {:?}, p95 {:?}", quiet.0, quiet.1);
        eprintln!("beside as many that ask for nothing: p50 {:?}, p95 {:?}", calm.0, calm.1);
        let shown = wallets[0];
        let read = format!("/api/v1/wallets/{}/transactions?limit=200", wallets[0]);
        let floods: [(&str, Ask); 3] = [
            ("accounts", Box::new(|number| Call::create(&format!("flood-{number}")))),
            ("reads", Box::new(move |_| Call::show(shown))),
            ("history", Box::new(move |_| Call::get(read.clone()))),
        ];
        for (class, call) in floods {
            let call = Arc::new(call);
            let flood = Flood::start(&client, move |number| call(number)).await;
            let before = flood.counts();
            let flooded = withdrawals(&client, &wallets, class).await;
            let after = flood.counts();
            drop(flood);
            let ratio = flooded.0.as_secs_f64() / calm.0.as_secs_f64();
            eprintln!(
                "{class}: p50 {:?} ({ratio:.1} times), p95 {:?}; of the flood meanwhile {} answered, {} served, {} shed by then",
                flooded.0,
                flooded.1,
                after.0 - before.0,
                after.1 - before.1,
                shed(&fleet, class).await,
            );
            assert!(after.0 - before.0 > WITHDRAWALS as u64, "there was a flood");
            assert!(shed(&fleet, class).await > 0, "it was more than there are places for");
            // A plain read is over long before a withdrawal: many get in, one after the other.
            let let_in = (after.1 - before.1) / WITHDRAWALS as u64;
            assert!(class == "reads" || let_in <= LET_IN_MAX, "{let_in} got in for each withdrawal");
            assert!(ratio <= SLOWER_MAX || flooded.0 <= FLOOR, "{ratio:.1} times as slow: {flooded:?} after {calm:?}");
        }
        assert_eq!((shed(&fleet, "movement").await, shed(&fleet, "internal").await), (0, 0));
    })
    .await;
}

//! One wallet that all customers pay into, through two instances of its cell at once.

mod filling;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Money;
use topology::WalletId;

use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Call, Client, Fleet, setting, until, within};

const CLIENTS: u64 = 64;
const CENT: Money = Money::from_minor(1);
/// Keys that a wallet remembers, and the memory that they take.
const MOST_KEYS: u64 = 5_000_000;
const MOST_BYTES: f64 = 16e6;
/// Of the keys of the longest test, so many are used by real requests.
const MOST_REQUESTS: u64 = 10_000;

/// `count` deposits of a cent, by [`CLIENTS`] clients at once. Half of the requests start at one instance and half at
/// the other; a client goes to the other one when the first does not answer. `begun` counts as they go.
async fn deposit_cents(fleet: &Fleet, wallet: WalletId, count: u64, begun: &Arc<AtomicU64>) -> Vec<Request> {
    let instances = [fleet.instance_client(1, 0), fleet.instance_client(1, 1)];
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (instances, begun) = (instances.clone(), begun.clone());
        clients.spawn(async move {
            let mut requests = Vec::new();
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return requests;
                }
                let first = usize::try_from(number % 2).expect("0 or 1");
                let request = Request::new(What::Deposit { wallet, amount: CENT }, format!("cent-{number}"));
                let answer = Client::insist_at(&[&instances[first], &instances[1 - first]], &request.call()).await;
                requests.push(request.answered(&answer.expect(200)));
            }
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

async fn check(fleet: &Fleet, wallet: WalletId, requests: &[Request], expected: &str) {
    assert_eq!(fleet.client().balance(wallet).await, expected);
    let books = Books::read(fleet).await;
    books.audit(Moment::Still);
    books.check_requests(requests);
    let chain = books.chain(wallet);
    let entries: usize = chain.iter().map(|block| block.entries.len()).sum();
    eprintln!("{} deposits in {} blocks", requests.len(), chain.len() - 1);
    // The opening, the first deposit, and each of the others once.
    assert_eq!(entries, requests.len() + 2);
}

async fn begin() -> (Fleet, WalletId) {
    let fleet = Fleet::start(1, 2).await;
    let wallet = fleet.client().create("merchant").await;
    fleet.client().send(&Call::deposit(wallet, "7.00")).await.expect(200);
    (fleet, wallet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_deposits_by_two_instances_are_counted_once() {
    within(120, "the test", async {
        let (fleet, wallet) = begin().await;
        let requests = deposit_cents(&fleet, wallet, 10_000, &Arc::default()).await;
        check(&fleet, wallet, &requests, "107.00").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_survive_instances_killed_under_them() {
    within(180, "the test", async {
        let kills = setting("WALLET_HOT_KILLS", 5);
        let count = 2_000 * kills;
        let (fleet, wallet) = begin().await;
        let begun = Arc::new(AtomicU64::new(0));
        let killer = async {
            for kill in 0..kills {
                // Spread over the work: the n-th kill comes when so many deposits have begun.
                let due = (kill * 2 + 1) * count / (kills * 2);
                until(120, "deposits go on", async || begun.load(Ordering::Relaxed) >= due).await;
                fleet.kill(if kill % 2 == 0 { "cell-1-a" } else { "cell-1-b" }).await;
            }
        };
        let (requests, ()) = tokio::join!(deposit_cents(&fleet, wallet, count, &begun), killer);
        let expected = Money::from_minor(700 + count).to_string();
        check(&fleet, wallet, &requests, &expected).await;
    })
    .await;
}

/// Keys are remembered for a day, however much happens in it and whichever instance has to look
/// them up: `WALLET_KEYS` deposits, then both instances die with all they had in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_long_ago_is_found_by_an_instance_that_never_saw_it() {
    within(1_800, "the test", async {
        let count = setting("WALLET_KEYS", 10_000);
        let (fleet, wallet) = begin().await;
        let requests = count.min(MOST_REQUESTS);
        for half in [0, 1] {
            let begun = Arc::new(AtomicU64::new(half * requests / 2));
            deposit_cents(&fleet, wallet, (half + 1) * requests / 2, &begun).await;
            filling::fill(&fleet.store(1).await, wallet, (count - requests) / 2).await;
        }
        let client = fleet.client();
        let balance = client.balance(wallet).await;
        for name in ["cell-1-a", "cell-1-b"] {
            fleet.kill(name).await;
        }
        fleet.until_all_ready(&["cell-1-a", "cell-1-b"]).await;
        for number in [0, requests / 2, requests - 1] {
            let request = Request::new(What::Deposit { wallet, amount: CENT }, format!("cent-{number}"));
            let started = std::time::Instant::now();
            let answer = client.insist(&request.call()).await.expect(200);
            eprintln!("key {number} among {count} found in {} ms", started.elapsed().as_millis());
            assert!(answer.is_replay(), "{answer:?}");
            let other = Call::deposit(wallet, "0.02").key(format!("cent-{number}"));
            assert_eq!(client.send(&other).await.expect(422).code(), "idempotency_key_reused");
        }
        if count >= MOST_KEYS {
            let another = Call::deposit(wallet, "0.01").key("one-too-many");
            assert_eq!(client.send(&another).await.expect(429).code(), "idempotency_window_full");
        }
        assert_eq!(client.balance(wallet).await, balance, "nothing was done twice");
        let bytes = marks_bytes(&fleet, 0).await.max(marks_bytes(&fleet, 1).await);
        eprintln!("what was done is remembered in {bytes} bytes");
        assert!(bytes > 0.0 && bytes <= MOST_BYTES, "{bytes}");
    })
    .await;
}

/// None of an instance that had nothing to do yet.
async fn marks_bytes(fleet: &Fleet, instance: u16) -> f64 {
    let page = fleet.instance_client(1, instance).send(&Call::get("/metrics")).await.expect(200).text;
    let line = page.lines().find_map(|line| line.strip_prefix("cell_marks_bytes"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

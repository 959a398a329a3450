//! Many wallets move from one cell to another and back while customers use them: no customer
//! notices.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::Way;
use super::traffic::{Traffic, complaints, pauses, percentile};
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, setting, until, wallet_of, within};

const CLIENTS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(20);
/// Wallets moved at once, unless a variable says otherwise: one, so that customers keep most of the
/// machine.
const AT_ONCE: u64 = 1;
/// The buckets that move, all of one cell: so few that each holds several wallets, as in a deployment.
const BUCKETS: (u16, u16) = (0x1000, 0x103f);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallets_move_there_and_back_under_load_and_no_request_fails() {
    let wallets = usize::try_from(setting("WALLET_MOVES", 60)).expect("a number of wallets");
    let rounds = setting("WALLET_ROUNDS", 2);
    within(120 + rounds * 60, "the test", run(wallets, rounds)).await;
}

async fn run(count: usize, rounds: u64) {
    let fleet = Fleet::start(2, 2).await;
    let named = (0..).map(|number| format!("mover-{number}"));
    let within_buckets = |user: &String| (BUCKETS.0..=BUCKETS.1).contains(&wallet_of(user).bucket().0);
    let mut wallets = Vec::new();
    for user in named.filter(within_buckets).take(count) {
        let wallet = fleet.client().create(&user).await;
        fleet.client().send(&Call::deposit(wallet, "100").key(user)).await.expect(200);
        wallets.push(wallet);
    }
    let before_all = Books::read(&fleet).await;
    let home = before_all.home(wallets[0]).expect("it was created").to_owned();
    assert!(wallets.iter().all(|wallet| before_all.home(*wallet) == Some(&home)), "one cell has all the buckets");
    let start: u16 = if home == "cell-1" { 1 } else { 2 };
    let (mut requests, mut all_pauses) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (from, to) in [(start, 3 - start), (3 - start, start)] {
            let quiet = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = quiet.finish().await;
            let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
            let began = Instant::now();
            let operation = move_all(&fleet, to).await;
            let took = began.elapsed();
            let seen = traffic.finish().await;
            let way = Way::new(&fleet, from, to, "check").await;
            for wallet in &wallets {
                way.check_moved(*wallet).await;
            }
            let typical = typical(&before);
            let pauses = pauses(&seen, &typical);
            let mut during: Vec<Duration> = seen.iter().map(|seen| seen.took).collect();
            during.sort_unstable();
            let mut usual: Vec<Duration> = before.iter().map(|seen| seen.took).collect();
            usual.sort_unstable();
            eprintln!(
                "round {round}, cell-{from} to cell-{to}: {} wallets in {took:.1?}, longest cutover {} µs; {} requests, \
                 {:.0}/s, p50 {:.1?} p99 {:.1?} (before: {:.1?}, {:.1?}); pause of a wallet: median {:.1?}, p99 {:.1?}",
                wallets.len(),
                operation["progress"]["longestCutoverMicros"],
                seen.len(),
                seen.len() as f64 / took.as_secs_f64(),
                percentile(&during, 50),
                percentile(&during, 99),
                percentile(&usual, 50),
                percentile(&usual, 99),
                percentile(&pauses, 50),
                percentile(&pauses, 99),
            );
            all_pauses.extend(pauses);
            let complaints: Vec<&str> = complaints(&before).into_iter().chain(complaints(&seen)).collect();
            let some = &complaints[..complaints.len().min(5)];
            assert!(complaints.is_empty(), "{} requests failed: {some:#?}", complaints.len());
            requests.extend(before.into_iter().chain(seen).filter_map(|seen| seen.request));
        }
    }
    all_pauses.sort_unstable();
    eprintln!(
        "{} moves: the pause of a wallet has median {:.1?}, p99 {:.1?}, longest {:.1?}",
        all_pauses.len(),
        percentile(&all_pauses, 50),
        percentile(&all_pauses, 99),
        percentile(&all_pauses, 100),
    );
    until(30, "all transfers have an outcome", async || {
        Books::read(&fleet).await.cells.iter().all(|cell| cell.open_at_home() == 0)
    })
    .await;
    let books = Books::read(&fleet).await;
    books.audit(Moment::Still);
    books.check_requests(&requests);
    assert!(wallets.iter().all(|wallet| books.home(*wallet) == Some(&home)));
}

async fn move_all(fleet: &Fleet, to: u16) -> Value {
    let buckets = format!("{:04x}..{:04x}", BUCKETS.0, BUCKETS.1);
    let to = format!("cell-{to}");
    let at_once = setting("WALLET_AT_ONCE", AT_ONCE).to_string();
    let words =
        ["migrate", "--bucket", &buckets, "--to", &to, "--max-concurrent", &at_once, "--yes", "--reason", "test"];
    let operation = fleet.ctl(&words).await;
    assert_eq!(operation["state"], "done", "{operation}");
    operation
}

/// What a request of each kind takes when nothing moves: the median.
fn typical(before: &[super::traffic::Seen]) -> BTreeMap<&'static str, Duration> {
    let mut by_kind: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for seen in before {
        by_kind.entry(seen.kind()).or_default().push(seen.took);
    }
    let median = |mut took: Vec<Duration>| {
        took.sort_unstable();
        percentile(&took, 50)
    };
    by_kind.into_iter().map(|(kind, took)| (kind, median(took))).collect()
}

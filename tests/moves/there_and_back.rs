//! Many wallets move from one cell to another and back while customers use them: nobody notices.

use std::time::{Duration, Instant};

use control_plane::mover::Moved;
use futures_util::stream::{self, StreamExt};
use topology::WalletId;

use super::support::Way;
use super::traffic::{Traffic, complaints, pauses, percentile};
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, setting, until, within};

const CLIENTS: u64 = 12;
const PAUSE: Duration = Duration::from_millis(12);
/// Wallets moved at once.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wallets_move_there_and_back_under_load_and_no_request_fails() {
    let wallets = usize::try_from(setting("WALLET_MOVES", 60)).expect("a number of wallets");
    let rounds = setting("WALLET_ROUNDS", 2);
    within(120 + rounds * 60, "the test", run(wallets, rounds)).await;
}

async fn run(count: usize, rounds: u64) {
    let fleet = Fleet::start(2, 2).await;
    let mut wallets = Vec::new();
    for user in fleet.users_in(1, count).await {
        wallets.push(fleet.client().create(&user).await);
    }
    for wallet in &wallets {
        fleet.client().send(&Call::deposit(*wallet, "100")).await.expect(200);
    }
    let mut deeds = Vec::new();
    for round in 1..=rounds {
        for (from, to) in [(1, 2), (2, 1)] {
            let way = Way::new(&fleet, from, to, &format!("{round}-{from}")).await;
            let quiet = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let before = quiet.finish().await;
            let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
            let began = Instant::now();
            move_all(&way, &wallets).await;
            let took = began.elapsed();
            let seen = traffic.finish().await;
            for wallet in &wallets {
                way.check_moved(*wallet).await;
            }
            let mut usual: Vec<Duration> = before.iter().map(|seen| seen.took).collect();
            usual.sort_unstable();
            let mut during: Vec<Duration> = seen.iter().map(|seen| seen.took).collect();
            during.sort_unstable();
            let pauses = pauses(seen.iter());
            eprintln!(
                "round {round}, cell-{from} to cell-{to}: {} wallets in {took:.1?} ({:.0}/s), longest cutover {} µs; \
                 {} requests, {:.0}/s, p50 {:.1?} p99 {:.1?} (before: {:.1?}, {:.1?}); pause of a wallet: median {:.1?}, \
                 p99 {:.1?}, longest {:.1?}",
                wallets.len(),
                wallets.len() as f64 / took.as_secs_f64(),
                way.pace.progress.longest_cutover_micros.load(std::sync::atomic::Ordering::Relaxed),
                seen.len(),
                seen.len() as f64 / took.as_secs_f64(),
                percentile(&during, 50),
                percentile(&during, 99),
                percentile(&usual, 50),
                percentile(&usual, 99),
                percentile(&pauses, 50),
                percentile(&pauses, 99),
                percentile(&pauses, 100),
            );
            let complaints: Vec<&str> = complaints(&before).into_iter().chain(complaints(&seen)).collect();
            assert!(
                complaints.is_empty(),
                "{} requests failed: {:#?}",
                complaints.len(),
                &complaints[..complaints.len().min(5)]
            );
            deeds.extend(before.into_iter().chain(seen).filter_map(|seen| seen.deed));
        }
    }
    until(30, "all transfers have an outcome", async || {
        let mut open = 0;
        for cell in 1..=2 {
            open += Books::read(&fleet).await.cells[cell - 1].open_at_home();
        }
        open == 0
    })
    .await;
    let books = Books::read(&fleet).await;
    books.audit(Moment::Still);
    books.check_deeds(&deeds);
    assert!(wallets.iter().all(|wallet| books.home(*wallet) == Some("cell-1")));
}

async fn move_all(way: &Way, wallets: &[WalletId]) {
    let moves = stream::iter(wallets).map(|wallet| async {
        assert_eq!(way.mover().move_wallet(*wallet).await.expect("nothing stands in its way"), Moved::Done);
    });
    moves.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

//! Instances of the last release and of this build in one fleet: they read each other's blocks, take each other's credits,
//! follow each other's hints, and wallets move between them.

use std::time::Duration;

use topology::WalletId;

use super::support::other_build;
use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::Request;
use crate::fleet::{Call, Fleet, until, wallet_of, within};
use crate::moves::traffic::{Traffic, complaints};

const WALLETS: usize = 10;
const CLIENTS: u64 = 6;
const PAUSE: Duration = Duration::from_millis(15);
/// What `scripts/builds/previous-release` leaves in `target/`.
const BUILD: &str = "previous-release";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_release_and_this_one_understand_each_other() {
    let Some(binary) = other_build(BUILD, "cell") else {
        eprintln!("SKIPPED: there is no build of the last release: scripts/builds/previous-release makes it");
        return;
    };
    within(180, "the test", async {
        let fleet = Fleet::start(2, 2).await;
        // One of each in every cell, then all of the one cell, so that each meets each in both roles.
        for (round, old) in [["cell-1-a", "cell-2-a"], ["cell-1-b", "cell-2-a"]].into_iter().enumerate() {
            for name in old {
                let binary = binary.display().to_string();
                fleet.ctl(&["local", "replace", name, "--version", BUILD, "--binary", &binary]).await;
            }
            go_round(&fleet, round).await;
        }
        Books::read(&fleet).await.audit(Moment::Still);
    })
    .await;
}

/// All customers pay one another while the first cell's customers move to the second and back.
async fn go_round(fleet: &Fleet, round: usize) {
    let (mut wallets, mut requests): (Vec<WalletId>, Vec<Request>) = (vec![], vec![]);
    for cell in [1, 2] {
        for user in fleet.users_in(cell, WALLETS / 2).await {
            let wallet = if round == 0 { fleet.client().create(&user).await } else { wallet_of(&user) };
            fleet.client().send(&Call::deposit(wallet, "100").key(format!("{user}-{round}"))).await.expect(200);
            wallets.push(wallet);
        }
    }
    let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
    for (from, to) in [(0, "cell-2"), (0, "cell-1"), (WALLETS / 2, "cell-1"), (WALLETS / 2, "cell-2")] {
        let bucket = wallets[from].bucket().to_string();
        let moved = fleet.ctl(&["migrate", "--bucket", &bucket, "--to", to, "--yes", "--reason", "mixed"]).await;
        assert_eq!(moved["state"], "done", "{moved}");
    }
    let seen = traffic.finish().await;
    let complaints = complaints(&seen);
    assert!(complaints.is_empty(), "{:#?}", &complaints[..complaints.len().min(5)]);
    eprintln!("{} requests, none failed", seen.len());
    requests.extend(seen.into_iter().filter_map(|seen| seen.request));
    until(30, "all transfers have an outcome", async || {
        Books::read(fleet).await.cells.iter().all(|cell| cell.open_at_home() == 0)
    })
    .await;
    let books = Books::read(fleet).await;
    books.audit(Moment::Still);
    books.check_requests(&requests);
}

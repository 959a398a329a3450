//! Several migrators at once, on the same plan and on opposite ones: one outcome, and money is where it was.

use std::time::Duration;

use mover::MoveError;
use store::{HomeKey, HomeState, Homes};
use topology::{Bucket, WalletId};

use super::support::{Way, bucket_of, insist};
use super::traffic::{Traffic, complaints};
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, until, wallet_of, within};

const CLIENTS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// Cells that may create wallets of this bucket.
async fn creators(fleet: &Fleet, bucket: Bucket) -> Vec<u16> {
    let mut creators = Vec::new();
    for cell in 1..=fleet.shape.cells {
        let store = fleet.store(cell).await;
        let row = store.home(HomeKey::Bucket(bucket)).await.expect("it answers").map(|row| row.state);
        let from_start = store.genesis().await.expect("it answers").expect("it has one").contains(bucket);
        if row.map_or(from_start, |state| state == HomeState::Serving) {
            creators.push(cell);
        }
    }
    creators
}

async fn funded(fleet: &Fleet, cell: u16, count: usize) -> Vec<WalletId> {
    let mut wallets = Vec::new();
    for user in fleet.users_in(cell, count).await {
        let wallet = fleet.client().create(&user).await;
        fleet.client().send(&Call::deposit(wallet, "50")).await.expect(200);
        wallets.push(wallet);
    }
    wallets
}

/// A mover that meets a bucket that another one moves gives way; none may fail in another manner.
fn gave_way(outcome: Result<(), MoveError>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(MoveError::NotOurs(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_migrators_on_equal_or_opposite_plans_have_one_outcome() {
    within(120, "the test", async {
        let fleet = Fleet::start(3, 1).await;
        let wallets = funded(&fleet, 1, 8).await;
        let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
        for (number, wallet) in wallets.iter().enumerate() {
            let group = bucket_of(*wallet);
            let first = Way::new(&fleet, 1, 2, &format!("first-{number}")).await;
            // The same plan, then a plan for another cell, then the way back while the way there is under way.
            let (from, to) = [(1, 2), (1, 3), (2, 1)][number % 3];
            let second = Way::new(&fleet, from, to, &format!("second-{number}")).await;
            let (one, two) = tokio::join!(insist(&first, group), insist(&second, group));
            assert!(!(gave_way(one) && gave_way(two)), "one must win");
            assert_eq!(creators(&fleet, group.first).await.len(), 1, "bucket {}", group.first);
        }
        let seen = traffic.finish().await;
        assert_eq!(complaints(&seen), Vec::<&str>::new());
        until(30, "all transfers have an outcome", async || {
            Books::read(&fleet).await.cells.iter().all(|cell| cell.open_at_home() == 0)
        })
        .await;
        let books = Books::read(&fleet).await;
        books.audit(Moment::Still);
        books.check_requests(seen.iter().filter_map(|seen| seen.request.as_ref()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_comes_while_his_bucket_moves_gets_one_wallet() {
    within(120, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        for user in fleet.users_in(1, 12).await {
            let group = bucket_of(wallet_of(&user));
            let way = Way::new(&fleet, 1, 2, &user).await;
            let client = fleet.client();
            let create = Call::create(&user).key(user.clone());
            let other = create.clone().key("other");
            let (moved, created, again) = tokio::join!(insist(&way, group), client.send(&create), client.send(&other));
            moved.expect("no rival moves it");
            let statuses = [created.status, again.status];
            assert!(statuses == [201, 409] || statuses == [409, 201], "{created:?} {again:?}");
            let wallet = wallet_of(&user);
            client.send(&Call::deposit(wallet, "1")).await.expect(200);
            assert_eq!(client.balance(wallet).await, "1.00");
        }
        let books = Books::read(&fleet).await;
        books.audit(Moment::Still);
        assert_eq!(books.chains().count(), 12);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_taken_back_is_as_if_it_had_never_been_moved() {
    within(60, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let wallet = funded(&fleet, 1, 1).await[0];
        let group = bucket_of(wallet);
        let there = Way::new(&fleet, 1, 2, "there").await;
        // As far as the cutover of its wallet; then the operator thinks better of it.
        there.mover().move_wallet(wallet).await.expect("moved");
        assert_eq!(there.mover().return_group(group).await.expect("taken back"), mover::Returned::TakenBack);
        assert_eq!(Books::read(&fleet).await.home(wallet), Some("cell-1"));
        assert_eq!(creators(&fleet, group.first).await, [1]);
        // Done to the end, it is too late.
        insist(&there, group).await.expect("moved");
        assert_eq!(there.mover().return_group(group).await.expect("an answer"), mover::Returned::TooLate);
        assert_eq!(creators(&fleet, group.first).await, [2]);
        fleet.client().send(&Call::deposit(wallet, "1")).await.expect(200);
        Books::read(&fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forgotten_can_come_back() {
    within(60, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let wallet = funded(&fleet, 1, 1).await[0];
        let client = fleet.client();
        let there = Way::new(&fleet, 1, 2, "there").await;
        assert_eq!(there.mover().tombstone(wallet).await.expect("it answers"), None, "it is at home");
        there.mover().move_wallet(wallet).await.expect("moved");
        let tombstone = there.mover().tombstone(wallet).await.expect("it answers").expect("it has left").number;
        there.mover().forget_wallet(wallet, tombstone - 1).await.expect_err("not what was asked about");
        assert!(there.mover().forget_wallet(wallet, tombstone).await.expect("forgotten") >= 2);
        // The tombstone still sends customers on, and no second wallet is created over it.
        client.send(&Call::deposit(wallet, "1")).await.expect(200);
        let user = fleet.users_in(1, 1).await[0].clone();
        let again = fleet.instance_client(1, 0).send(&Call::create(&user).key("again")).await;
        assert_eq!(again.status, 421, "{again:?}");

        let back = Way::new(&fleet, 2, 1, "back").await;
        back.mover().move_wallet(wallet).await.expect("moved back");
        client.send(&Call::deposit(wallet, "1")).await.expect(200);
        assert_eq!(client.balance(wallet).await, "52.00");
        let books = Books::read(&fleet).await;
        books.audit(Moment::Still);
        assert_eq!(books.home(wallet), Some("cell-1"));
    })
    .await;
}

//! Processes for wallets and processes for money: each does its own, and neither is missed by the other.

use topology::WalletId;

use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, Shape, within};

const ACCOUNTS: [&str; 2] = ["cell-1-accounts-a", "cell-2-accounts-a"];
const TRANSACTIONS: [&str; 2] = ["cell-1-transactions-a", "cell-2-transactions-a"];

async fn split() -> Fleet {
    let environment = vec![("CTL_SPLIT_ROLES".to_owned(), "true".to_owned())];
    Fleet::of(Shape { cells: 2, instances: 1, environment, ..Shape::default() }).await
}

/// Every way in which money moves and is looked at, each at the first attempt.
async fn money_moves(fleet: &Fleet, ann: WalletId, bob: WalletId, other: WalletId, round: &str) {
    let client = fleet.client();
    client.send(&Call::deposit(ann, "10").key(format!("deposit-{round}"))).await.expect(200);
    client.send(&Call::withdraw(ann, "1").key(format!("withdraw-{round}"))).await.expect(200);
    client.send(&Call::transfer(ann, bob, "2").key(format!("near-{round}"))).await.expect(200);
    let sent = client.send(&Call::transfer(ann, other, "3").key(format!("far-{round}"))).await.expect(200);
    client.send(&Call::show(ann)).await.expect(200);
    let transfer = format!("/api/v1/wallets/{ann}/transfers/{}", sent.string("transferId"));
    client.send(&Call::get(transfer)).await.expect(200);
    client.send(&Call::get(format!("/api/v1/wallets/{ann}/transactions"))).await.expect(200);
    let then = format!("/api/v1/wallets/{ann}/balance/historical?timestamp={}", sent.string("createdAt"));
    client.send(&Call::get(then)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_moves_untouched_while_no_process_creates_wallets() {
    within(120, "the test", async {
        let fleet = split().await;
        let client = fleet.client();
        let (first, second) = (fleet.users_in(1, 4).await, fleet.users_in(2, 1).await);
        let (ann, bob) = (client.create(&first[0]).await, client.create(&first[1]).await);
        let other = client.create(&second[0]).await;
        money_moves(&fleet, ann, bob, other, "before").await;
        for name in ACCOUNTS {
            fleet.kill_for_good(name).await;
        }
        for round in 0..20 {
            money_moves(&fleet, ann, bob, other, &format!("without-{round}")).await;
        }
        let answer = client.send(&Call::create(&first[2])).await.expect(503);
        assert_eq!(answer.code(), "upstream_unavailable");
        client.send(&Call::get(format!("/api/v1/wallets?userId={}", first[0]))).await.expect(503);
        for name in ACCOUNTS {
            fleet.restart(name).await;
        }
        fleet.until_all_ready(&ACCOUNTS).await;
        client.create(&first[2]).await;

        // And the other way round: a new user gets a wallet while no money moves.
        for name in TRANSACTIONS {
            fleet.kill_for_good(name).await;
        }
        client.create(&first[3]).await;
        assert_eq!(client.send(&Call::deposit(ann, "1")).await.expect(503).code(), "upstream_unavailable");
        for name in TRANSACTIONS {
            fleet.restart(name).await;
        }
        fleet.until_all_ready(&[]).await;
        money_moves(&fleet, ann, bob, other, "after").await;
        Books::read(&fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_refuses_the_duty_of_others_and_wallets_still_move() {
    within(120, "the test", async {
        let fleet = split().await;
        let user = fleet.users_in(1, 1).await.remove(0);
        let wallet = fleet.client().create(&user).await;
        let (money, accounts) = (fleet.instance_client(1, 0), fleet.instance_client(1, 1));
        for (client, call) in [
            (&money, Call::create("somebody")),
            (&money, Call::get(format!("/api/v1/wallets?userId={user}"))),
            (&accounts, Call::deposit(wallet, "1")),
            (&accounts, Call::show(wallet)),
        ] {
            let answer = client.send(&call).await.expect(421);
            assert_eq!((answer.code().as_str(), answer.header("x-not-processed")), ("wrong_role", Some("true")));
        }
        money.send(&Call::deposit(wallet, "5").key("d")).await.expect(200);
        // Both processes of the source have to let go of it, and both of the target to take it up.
        fleet.ctl(&["migrate", "--user", &user, "--to", "cell-2", "--yes"]).await;
        let client = fleet.client();
        client.send(&Call::withdraw(wallet, "2").key("w")).await.expect(200);
        let found = client.send(&Call::get(format!("/api/v1/wallets?userId={user}"))).await.expect(200);
        assert_eq!(found.raw("balance"), "3.00");
        Books::read(&fleet).await.audit(Moment::Still);
    })
    .await;
}

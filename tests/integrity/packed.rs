//! Old blocks leave the table of a real cell, and nothing that customers and auditors see changes.

use serde_json::Value;
use store::dynamodb::DynamoStore;
use store::{BlockRange, Chains};
use topology::WalletId;

use crate::fleet::{Call, Client, Fleet, Shape, until, within};

/// More than stay in the table, and two packs.
const DEPOSITS: u64 = 600;
/// Blocks of two packs, but for block 0.
const PACKED_AT_LEAST: u64 = 255;
const PATIENCE_S: u64 = 60;
const KILLS: u64 = 8;
const OLD_S: &str = "2";

/// All that the API says of a wallet's past.
async fn past(client: &Client, wallet: WalletId, at: &str) -> Vec<Value> {
    let mut said = Vec::new();
    for path in [
        format!("/api/v1/wallets/{wallet}/balance/historical?timestamp={at}"),
        format!("/api/v1/wallets/{wallet}/transactions?limit=100&to={at}"),
        format!("/api/v1/wallets/{wallet}/transactions?limit=100"),
    ] {
        said.push(client.send(&Call::get(path)).await.expect(200).json());
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_blocks_leave_the_table_and_are_still_served() {
    within(180, "the test", async {
        let environment = vec![("CONTROL_PLANE_HISTORY_SECONDS".to_owned(), OLD_S.to_owned())];
        let fleet = Fleet::of(Shape { cells: 2, instances: 1, environment, ..Shape::default() }).await;
        let client = fleet.client();
        let users = fleet.users_in(1, 2).await;
        let (ann, bob) = (client.create(&users[0]).await, client.create(&users[1]).await);
        let mut first = Value::Null;
        for number in 0..DEPOSITS {
            client.insist(&Call::deposit(ann, "1").key(format!("d{number}"))).await.expect(200);
            if number == 40 {
                let newest = format!("/api/v1/wallets/{ann}/transactions?limit=1");
                first = client.send(&Call::get(newest)).await.expect(200).json()["transactions"][0].clone();
            }
        }
        let at = first["timestamp"].as_str().expect("a time").to_owned();
        let store = fleet.store(1).await;
        let old = past(&client, ann, &at).await;
        let lowest = async |store: &DynamoStore| {
            let held = BlockRange { first: 1, last: u64::MAX, newest_first: false };
            store.held_page(ann, held, 1).await.expect("it answers").blocks[0].number
        };
        // What packs dies again and again. What it had claimed and not done goes with later packs.
        for kill in 0..KILLS {
            fleet.kill("control-plane").await;
            client.insist(&Call::deposit(ann, "1").key(format!("k{kill}"))).await.expect(200);
        }
        fleet.until_all_ready(&["control-plane"]).await;
        let mut more = 0;
        until(PATIENCE_S, "old blocks leave the table", async || {
            more += 1;
            client.insist(&Call::deposit(ann, "1").key(format!("m{more}"))).await.expect(200);
            lowest(&store).await > PACKED_AT_LEAST
        })
        .await;

        let before = past(&client, ann, &at).await;
        assert_eq!(before[..2], old[..2]);
        // An old deposit is reversed, and that only once.
        let transaction = first["transactionId"].as_str().expect("an id").to_owned();
        let reverse = |key: &str| {
            let path = format!("/api/v1/wallets/{ann}/transactions/{transaction}/reverse");
            Call::post(path, "").without("content-type").key(key)
        };
        client.send(&reverse("once")).await.expect(200);
        assert_eq!(client.send(&reverse("twice")).await.code(), "already_reversed");
        client.send(&Call::transfer(ann, bob, "5").key("pay")).await.expect(200);

        fleet.ctl(&["ledger", "verify"]).await;
        fleet.ctl(&["migrate", "--user", &users[0], "--to", "cell-2", "--yes"]).await;
        assert!(lowest(&fleet.store(2).await).await > PACKED_AT_LEAST, "packs are not copied");
        client.insist(&Call::deposit(ann, "1").key("d7")).await.expect(200);
        assert_eq!(past(&client, ann, &at).await[..2], before[..2]);
        fleet.ctl(&["ledger", "verify"]).await;
        fleet.ctl(&["audit", "conservation"]).await;

        // The log of its new cell lacks these blocks, and so do the tables that are restored from it.
        let newest = client.send(&Call::get(format!("/api/v1/wallets/{ann}"))).await.expect(200).json();
        let archive = format!("file://{}", fleet.data().join("archive").display());
        until(PATIENCE_S, "all is archived", async || {
            let verified = fleet.ctl(&["archive", "verify", "--archive", &archive, "--cell", "cell-2"]).await;
            assert_eq!(verified["findings"], Value::from(Vec::<Value>::new()), "{verified}");
            let balances = ["archive", "balances", "--archive", &archive, "--cell", "cell-2", "--at"];
            let balances = fleet.ctl(&[&balances[..], &["2999-01-01T00:00:00Z"]].concat()).await;
            balances.to_string().contains(&ann.to_string())
        })
        .await;
        fleet.destroy("cell-2").await;
        let restored = fleet.ctl(&["--reason", "lost", "cell", "restore", "cell-2", "--from", "archive"]).await;
        assert_eq!(restored["missing"], Value::from(Vec::<Value>::new()), "{restored}");
        fleet.restart("cell-2-a").await;
        fleet.until_all_ready(&[]).await;
        assert!(lowest(&fleet.store(2).await).await > PACKED_AT_LEAST);
        assert_eq!(client.send(&Call::get(format!("/api/v1/wallets/{ann}"))).await.expect(200).json(), newest);
        assert_eq!(past(&client, ann, &at).await[..2], before[..2]);
        fleet.ctl(&["ledger", "verify"]).await;
        fleet.ctl(&["audit", "conservation"]).await;
    })
    .await;
}

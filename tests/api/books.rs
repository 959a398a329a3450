//! The books, added up by `ctl` while money moves; and wallets frozen and closed by an operator.

use serde_json::Value;

use super::Fixture;
use crate::fleet::{Call, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_money_is_there_while_it_moves() {
    within(120, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, abe, bob) = (fixture.client.clone(), fixture.ann, fixture.abe, fixture.bob);
        let traffic = tokio::spawn(async move {
            for round in 0_u32.. {
                let pairs = [(ann, bob), (bob, abe), (abe, ann)];
                for (number, (from, to)) in pairs.into_iter().enumerate() {
                    let key = format!("round-{round}-{number}");
                    client.insist(&Call::transfer(from, to, "1.11").key(key)).await;
                }
                let hold = Call::post(format!("/api/v1/wallets/{ann}/holds"), r#"{"amount":1}"#);
                let hold = client.insist(&hold.key(format!("hold-{round}"))).await;
                if hold.is_success() {
                    let path = format!("/api/v1/wallets/{ann}/holds/{}/capture", hold.string("holdId"));
                    client.insist(&Call::post(path, "{}").key(format!("capture-{round}"))).await;
                }
                client.insist(&Call::deposit(ann, "1").key(format!("deposit-{round}"))).await;
            }
        });
        // Only what is older than the cut counts: until that is more than the first deposits, it is asked again.
        until(90, "transfers between the cells count", async || {
            let books: Value = fixture.fleet.ctl(&["audit", "conservation"]).await;
            assert_eq!((&books["difference"], &books["faults"]), (&Value::from(0), &Value::from(Vec::<Value>::new())));
            let pairs = books["pairs"].as_array().expect("a list");
            let across = |pair: &&Value| pair["from"] == "cell-1" && pair["to"] == "cell-2" && pair["received"] != 0;
            pairs.iter().any(|pair| across(&pair)) && books["wentOut"] != 0
        })
        .await;
        traffic.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_freezes_unfreezes_and_closes_a_wallet() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let ann = fixture.ann.to_string();
        let status = async |verb: &str| fixture.fleet.ctl(&["wallet", verb, &ann]).await["status"].clone();
        assert_eq!(status("freeze").await, "FROZEN");
        assert_eq!(fixture.client.send(&Call::deposit(fixture.ann, "1")).await.expect(409).code(), "wallet_frozen");
        assert_eq!(status("unfreeze").await, "ACTIVE");
        let refused = fixture.fleet.try_ctl(&["wallet", "close", &ann]).await.expect_err("there is money in it");
        assert!(refused.contains("100.00"), "{refused}");
        fixture.client.send(&Call::withdraw(fixture.ann, "100")).await.expect(200);
        assert_eq!(status("close").await, "CLOSED");
    })
    .await;
}

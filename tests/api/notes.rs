//! What clients say of transactions in words of their own, and what is left of it once it is erased.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use store::{Chains, Owners};
use topology::WalletId;

use super::Fixture;
use crate::fleet::{Call, wallet_of, within};

fn noted(wallet: WalletId, what: &str, note: &Value) -> Call {
    Call::post(format!("/api/v1/wallets/{wallet}/{what}"), note.to_string())
}

async fn newest(fixture: &Fixture, wallet: WalletId) -> Value {
    let path = format!("/api/v1/wallets/{wallet}/transactions?limit=1");
    fixture.client.send(&Call::get(path)).await.expect(200).json()["transactions"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_is_shown_with_its_transaction() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, bob) = (&fixture.client, fixture.ann, fixture.bob);
        let metadata = json!({ "shop": "7", "till": "north" });
        let note = json!({ "amount": 5, "reference": "inv-17", "description": "Zwei Törtchen", "metadata": metadata });
        client.send(&noted(ann, "deposit", &note).key("noted")).await.expect(200);
        let shown = newest(&fixture, ann).await;
        for name in ["reference", "description", "metadata"] {
            assert_eq!(shown[name], note[name], "{name}");
        }
        // Of the same request, another description is no other request; another reference is.
        let reworded = json!({ "amount": 5, "reference": "inv-17", "description": "Cakes" });
        assert!(client.send(&noted(ann, "deposit", &reworded).key("noted")).await.expect(200).is_replay());
        let renamed = json!({ "amount": 5, "reference": "inv-18" });
        assert_eq!(
            client.send(&noted(ann, "deposit", &renamed).key("noted")).await.expect(422).code(),
            "idempotency_key_reused"
        );

        let (from, to) = (ann, bob);
        let transfer =
            json!({ "fromWalletId": from, "toWalletId": to, "amount": 1, "reference": "rent/5", "description": "the rent of May" });
        let sent = client.send(&Call::post("/api/v1/wallets/transfer", transfer.to_string())).await.expect(200);
        assert_eq!(sent.string("reference"), "rent/5");
        let received = newest(&fixture, bob).await;
        assert_eq!((&received["type"], &received["reference"]), (&json!("TRANSFER_IN"), &json!("rent/5")));
        assert_eq!(received["description"], Value::Null, "the payer's words are the payer's");
        let statement = Call::get(format!("/api/v1/wallets/{bob}/statement?format=csv"));
        let statement = client.send(&statement).await.expect(200).text;
        assert!(statement.contains(",rent/5\r\n"), "{statement}");

        for (body, code) in [
            (json!({ "amount": 1, "reference": "=1+1" }), "invalid_reference"),
            (json!({ "amount": 1, "description": "x".repeat(256) }), "invalid_description"),
            (json!({ "amount": 1, "metadata": { "a b": "" } }), "invalid_metadata"),
            (json!({ "amount": 1, "metadata": { "a": 1 } }), "wrong_type"),
        ] {
            assert_eq!(client.send(&noted(ann, "deposit", &body)).await.expect(400).code(), code);
        }
        let batch =
            json!({ "operations": [{ "type": "withdraw", "amount": 1, "reference": "part-1", "description": "a" }] });
        client.send(&noted(ann, "transactions:batch", &batch)).await.expect(200);
        let part = newest(&fixture, ann).await;
        assert_eq!((&part["reference"], &part["description"]), (&json!("part-1"), &json!("a")));
        nothing_personal_is_readable(&fixture, &["Törtchen", "north", "the rent of", "127.0.0.1"]).await;
    })
    .await;
}

/// In the bytes of the tables of chains: they are in backups, in exports and in the stream of changes.
async fn nothing_personal_is_readable(fixture: &Fixture, words: &[&str]) {
    let users = [fixture.fleet.users_in(1, 2).await, fixture.fleet.users_in(2, 1).await].concat();
    for cell in [1, 2] {
        let store = fixture.fleet.store(cell).await;
        for table in ["ledger", "snapshots", "homes"] {
            let name = format!("cell-{cell}-{table}");
            let items =
                store.client().scan().table_name(&name).send().await.expect("it answers").items.unwrap_or_default();
            let all: Vec<u8> = items.iter().flat_map(bytes).collect();
            assert!(table != "ledger" || all.len() > 1_000, "{name} holds {} bytes", all.len());
            for word in words.iter().copied().chain(users.iter().map(String::as_str)) {
                let found = all.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!found, "{word} can be read in {name}");
            }
        }
    }
}

fn bytes(item: &HashMap<String, AttributeValue>) -> Vec<u8> {
    let of = |value: &AttributeValue| match value {
        AttributeValue::B(blob) => blob.as_ref().to_vec(),
        AttributeValue::S(text) => text.clone().into_bytes(),
        _ => vec![],
    };
    item.values().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_can_be_read_nowhere_and_the_chain_verifies() {
    within(120, "the test", async {
        let fixture = Fixture::new().await;
        let (client, fleet, ann) = (&fixture.client, &fixture.fleet, fixture.ann);
        let wallet = ann.to_string();
        let note = json!({ "amount": 5, "reference": "inv-17", "description": "Cakes", "metadata": { "shop": "7" } });
        client.send(&noted(ann, "deposit", &note)).await.expect(200);
        // Its owner goes along when it moves.
        let user = client.send(&Call::show(ann)).await.expect(200).string("userId");
        fleet.ctl(&["migrate", "--user", &user, "--to", "cell-2", "--yes"]).await;
        assert_eq!(newest(&fixture, ann).await["type"], "MOVED");
        assert_eq!(client.send(&Call::show(ann)).await.expect(200).string("userId"), user);
        assert_eq!(wallet_of(&user), ann);
        let refused = fleet.try_ctl(&["wallet", "erase", &wallet]).await.expect_err("it is not closed");
        assert!(refused.contains("not closed"), "{refused}");
        client.send(&Call::withdraw(ann, "105")).await.expect(200);
        fleet.ctl(&["wallet", "close", &wallet]).await;
        // Twice: the second finds what the first did.
        for _ in 0..2 {
            assert_eq!(fleet.ctl(&["wallet", "erase", &wallet]).await["status"], "ERASED");
        }
        let shown = client.send(&Call::show(ann)).await.expect(200).json();
        assert_eq!((&shown["status"], &shown["userId"]), (&json!("ERASED"), &Value::Null));
        let lines = client.send(&Call::get(format!("/api/v1/wallets/{ann}/transactions"))).await.expect(200).json();
        let lines = lines["transactions"].as_array().expect("a list").clone();
        let deposit = lines.iter().find(|line| line["reference"] == "inv-17").expect("the deposit is in the history");
        assert_eq!((&deposit["description"], &deposit["metadata"]), (&Value::Null, &Value::Null));
        for cell in [1, 2] {
            assert_eq!(fleet.store(cell).await.owner(ann).await, Ok(None), "cell {cell}");
        }
        // It moves on as it is, takes no money, and gives its user no second wallet.
        fleet.ctl(&["migrate", "--user", &user, "--to", "cell-1", "--yes"]).await;
        let head = fleet.store(1).await.head(ann).await.expect("it answers").expect("it is here");
        assert_eq!((head.state.status, fleet.store(1).await.owner(ann).await), (ledger::Status::Erased, Ok(None)));
        assert_eq!(client.send(&Call::transfer(fixture.bob, ann, "1")).await.expect(409).code(), "wallet_closed");
        assert_eq!(client.send(&Call::create(&user)).await.expect(409).code(), "wallet_exists");
        let verified = fleet.ctl(&["ledger", "verify", "--wallet", &wallet]).await;
        assert_eq!(verified["breaks"], json!([]), "{verified}");
    })
    .await;
}

//! Transfers with an outcome that takes longer than the client waits.

use serde_json::json;

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, until, within};

/// Each call of the destination's database takes this long: one for "can it receive?", several for the credit.
const SLOW_MS: u64 = 1_200;
const DEADLINE_MS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_outlasts_the_client_is_accepted_and_settles() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, bob) = (&fixture.client, fixture.ann, fixture.bob);
        fixture.fleet.faults(2, Some(json!({ "latency_ms": SLOW_MS }))).await;
        let call = Call::transfer(ann, bob, "25").key("slow").header("x-deadline-ms", DEADLINE_MS.to_string());
        let accepted = client.send(&call).await.expect(202);
        assert_eq!(accepted.string("status"), "IN_FLIGHT");
        let location = accepted.header("location").expect("where to ask").to_owned();
        assert_eq!(location, format!("/api/v1/wallets/{ann}/transfers/{}", accepted.string("transferId")));
        assert_eq!(client.balance(ann).await, "75.00");
        fixture.fleet.faults(2, None).await;
        // An operator need not wait for its next turn.
        let (payer, transfer) = (ann.to_string(), accepted.string("transferId"));
        let tried = ["transfer", "deliver", payer.as_str(), transfer.as_str(), "--reason", "the database is back"];
        let shown = fixture.fleet.ctl(&tried).await;
        assert_eq!((&shown["transferId"], &shown["status"]), (&json!(transfer), &json!("SETTLED")), "{shown}");
        let poll = Call::get(location);
        until(10, "the transfer is settled", async || {
            client.send(&poll).await.expect(200).string("status") == "SETTLED"
        })
        .await;
        assert_eq!((client.balance(ann).await, client.balance(bob).await), ("75.00".into(), "125.00".into()));
        // The same request again gets the outcome.
        let again = client.send(&call).await.expect(200);
        assert!(again.is_replay());
        assert_eq!(again.string("status"), "SETTLED");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_to_an_absent_cell_leaves_the_money() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        fixture.fleet.stop("cell-2-a").await;
        let call = Call::transfer(fixture.ann, fixture.bob, "25").key("away").header("x-deadline-ms", "1500");
        let answer = fixture.client.send(&call).await.expect(503);
        assert!(!answer.code().is_empty());
        assert_eq!(fixture.client.balance(fixture.ann).await, "100.00");
        fixture.fleet.restart("cell-2-a").await;
        let answer = fixture.client.insist(&call).await.expect(200);
        assert!(!answer.is_replay(), "a refused request spent its key: {answer:?}");
        assert_eq!(fixture.client.balance(fixture.bob).await, "125.00");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

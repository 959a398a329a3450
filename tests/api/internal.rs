//! The internal API trusts no sender's arithmetic: what a cell is sent is checked like what a
//! client sends.

use serde_json::json;
use uuid::Uuid;

use super::Fixture;
use crate::fleet::{Call, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_that_cannot_be_is_refused_and_the_cell_lives_on() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, internal, ann, bob) = (&fixture.client, fixture.fleet.internal_client(), fixture.ann, fixture.bob);
        let credit = |from, amount: u64, text: &str| {
            let body = json!({
                "transferId": Uuid::now_v7(), "fromWalletId": from, "toWalletId": ann,
                "amountMinor": amount, "leftAtMicros": 1, "requestId": text, "actor": text, "reference": "",
            });
            Call::post(format!("/internal/v1/wallets/{ann}/credits"), body.to_string())
        };
        for (call, code) in [
            (credit(bob, 0, "r"), "amount_below_minimum"),
            (credit(bob, u64::MAX, "r"), "amount_above_maximum"),
            (credit(ann, 1, "r"), "same_wallet"),
        ] {
            assert_eq!(internal.send(&call).await.expect(400).code(), code);
        }
        assert_eq!(client.balance(ann).await, "100.00");
        // Texts longer than a block has room for are cut, and do no harm.
        internal.send(&credit(bob, 1, &"r".repeat(300))).await.expect(200);
        client.send(&Call::deposit(ann, "1")).await.expect(200);
        assert_eq!(client.balance(ann).await, "101.01");
    })
    .await;
}

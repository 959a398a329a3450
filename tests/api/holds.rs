//! Holds: authorized, captured, voided, expired; and still there after a move.

use serde_json::Value;
use topology::WalletId;

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Answer, Call, within};

fn place(wallet: WalletId, body: &str) -> Call {
    Call::post(format!("/api/v1/wallets/{wallet}/holds"), body)
}

fn end(wallet: WalletId, hold: &str, how: &str, body: &str) -> Call {
    Call::post(format!("/api/v1/wallets/{wallet}/holds/{hold}/{how}"), body)
}

async fn figures(fixture: &Fixture, wallet: WalletId) -> [String; 3] {
    let shown = fixture.client.send(&Call::show(wallet)).await.expect(200);
    ["balance", "availableBalance", "heldBalance"].map(|field| shown.raw(field))
}

fn hold_of(answer: &Answer) -> String {
    answer.string("holdId")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_captured_in_part_once_and_the_rest_is_free() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let placed = client.send(&place(ann, r#"{"amount":"60.00"}"#).key("h")).await.expect(201);
        assert!(client.send(&place(ann, r#"{"amount":"60.00"}"#).key("h")).await.expect(201).is_replay());
        assert_eq!(figures(&fixture, ann).await, ["100.00", "40.00", "60.00"]);
        let refused = client.send(&Call::withdraw(ann, "40.01")).await.expect(400);
        assert_eq!(refused.code(), "insufficient_balance");
        assert_eq!(client.send(&place(ann, r#"{"amount":"40.01"}"#)).await.expect(400).code(), "insufficient_balance");

        let hold = hold_of(&placed);
        let above = client.send(&end(ann, &hold, "capture", r#"{"amount":60.01}"#)).await.expect(400);
        assert_eq!(above.code(), "amount_above_hold");
        let capture = end(ann, &hold, "capture", r#"{"amount":25}"#).key("c");
        let captured = client.send(&capture).await.expect(200);
        assert_eq!((captured.raw("amount"), captured.raw("balanceAfter")), ("25.00".into(), "75.00".into()));
        let again = client.send(&capture).await.expect(200);
        assert!(again.is_replay() && again.text == captured.text);
        assert_eq!(client.send(&end(ann, &hold, "capture", "{}")).await.expect(409).code(), "hold_not_open");
        assert_eq!(client.send(&end(ann, &hold, "void", "")).await.expect(409).code(), "hold_not_open");
        assert_eq!(figures(&fixture, ann).await, ["75.00", "75.00", "0.00"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voided_or_expired_hold_gives_its_amount_back() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let hold = hold_of(&client.send(&place(ann, r#"{"amount":100}"#)).await.expect(201));
        client.send(&end(ann, &hold, "void", "")).await.expect(200);
        assert_eq!(figures(&fixture, ann).await, ["100.00", "100.00", "0.00"]);

        let short = client.send(&place(ann, r#"{"amount":100,"expiresInSeconds":1}"#)).await.expect(201);
        while figures(&fixture, ann).await[1] != "100.00" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let late = client.send(&end(ann, &hold_of(&short), "capture", "{}")).await.expect(409);
        assert_eq!(late.code(), "hold_not_open");
        client.send(&Call::withdraw(ann, "100")).await.expect(200);
        let listed = client.send(&Call::get(format!("/api/v1/wallets/{ann}/transactions"))).await.expect(200).json();
        let names: Vec<_> = listed["transactions"].as_array().expect("a list").iter().map(|t| &t["type"]).collect();
        assert!(names.contains(&&Value::from("HOLD_EXPIRED")), "{names:?}");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_money_moves_with_its_wallet() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let hold = hold_of(&client.send(&place(ann, r#"{"amount":30}"#)).await.expect(201));
        let bucket = ann.bucket().to_string();
        fixture.fleet.ctl(&["migrate", "--bucket", &bucket, "--to", "cell-2", "--yes", "--reason", "test"]).await;
        assert_eq!(figures(&fixture, ann).await, ["100.00", "70.00", "30.00"]);
        client.send(&end(ann, &hold, "capture", "{}")).await.expect(200);
        assert_eq!(figures(&fixture, ann).await, ["70.00", "70.00", "0.00"]);
        let books = Books::read(&fixture.fleet).await;
        books.audit(Moment::Still);
        assert_eq!(books.home(ann), Some("cell-2"));
    })
    .await;
}

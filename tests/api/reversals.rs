//! Reversals: a compensating entry that names what it undoes, once only; and the states of a wallet.

use topology::WalletId;

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Answer, Call, Client, within};

fn reverse(wallet: WalletId, transaction: &str) -> Call {
    Call::post(format!("/api/v1/wallets/{wallet}/transactions/{transaction}/reverse"), "").without("content-type")
}

/// The newest transaction of this kind.
async fn newest(client: &Client, wallet: WalletId, kind: &str) -> String {
    let listed = client.send(&Call::get(format!("/api/v1/wallets/{wallet}/transactions"))).await.expect(200).json();
    let found = listed["transactions"].as_array().expect("a list").iter().find(|line| line["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {listed}"))["transactionId"].as_str().expect("a text").to_owned()
}

async fn set_status(fixture: &Fixture, wallet: WalletId, status: &str) -> Answer {
    let internal = fixture.fleet.internal_client();
    internal.send(&Call::post(format!("/internal/v1/wallets/{wallet}/{status}"), "")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_reversed_once() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        client.send(&Call::withdraw(ann, "30")).await.expect(200);
        let withdrawal = newest(client, ann, "WITHDRAWAL").await;
        let call = reverse(ann, &withdrawal).key("r");
        let done = client.send(&call).await.expect(200);
        assert_eq!((done.string("reverses"), done.raw("balanceAfter")), (withdrawal.clone(), "100.00".into()));
        let again = client.send(&call).await.expect(200);
        assert!(again.is_replay() && again.text == done.text);
        assert_eq!(client.send(&reverse(ann, &withdrawal)).await.expect(409).code(), "already_reversed");
        assert_eq!(
            client.send(&reverse(ann, &done.string("transactionId"))).await.expect(409).code(),
            "not_reversible"
        );
        assert_eq!(client.send(&reverse(ann, "x")).await.expect(400).code(), "invalid_transaction_id");
        let unknown = uuid::Uuid::now_v7().to_string();
        assert_eq!(client.send(&reverse(ann, &unknown)).await.expect(404).code(), "transaction_not_found");

        // A deposit can be taken back as far as the money is there, also out of a frozen wallet.
        let deposit = newest(client, ann, "DEPOSIT").await;
        client.send(&Call::withdraw(ann, "1")).await.expect(200);
        assert_eq!(client.send(&reverse(ann, &deposit)).await.expect(400).code(), "insufficient_balance");
        client.send(&Call::deposit(ann, "1")).await.expect(200);
        set_status(&fixture, ann, "freeze").await.expect(200);
        client.send(&reverse(ann, &deposit)).await.expect(200);
        assert_eq!(client.balance(ann).await, "0.00");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_came_by_a_transfer_is_sent_back_once() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, abe, bob) = (&fixture.client, fixture.ann, fixture.abe, fixture.bob);
        for payee in [abe, bob] {
            let sent = client.send(&Call::transfer(ann, payee, "10")).await.expect(200).string("transferId");
            assert_eq!(client.send(&reverse(ann, &sent)).await.expect(409).code(), "not_reversible");
            let (one, two) = (reverse(payee, &sent), reverse(payee, &sent));
            // At the same moment, twice: one of them does it.
            let (one, two) = tokio::join!(client.send(&one), client.send(&two));
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
        }
        let balances = [client.balance(ann).await, client.balance(abe).await, client.balance(bob).await];
        assert_eq!(balances, ["100.00", "100.00", "100.00"]);
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_that_came_back_can_be_repeated() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, bob) = (&fixture.client, fixture.ann, fixture.bob);
        let sent = client.send(&Call::transfer(ann, bob, "10")).await.expect(200).string("transferId");
        // Ann's balance becomes so large that it has room for a cent, but not for what is sent back.
        let deposit = r#"{"type":"deposit","amount":1000000000}"#;
        for count in std::iter::repeat_n(500, 19).chain([499]) {
            let body = format!(r#"{{"operations":[{}]}}"#, vec![deposit; count].join(","));
            client.send(&Call::post(format!("/api/v1/wallets/{ann}/transactions:batch"), body)).await.expect(200);
        }
        client.send(&Call::deposit(ann, "999999905")).await.expect(200);
        let call = reverse(bob, &sent);
        assert_eq!(client.send(&call).await.expect(400).code(), "transfer_returned");
        assert_eq!(client.balance(bob).await, "110.00");
        assert_eq!(client.send(&call).await.expect(400).code(), "transfer_returned", "there is still no room");
        client.send(&Call::withdraw(ann, "10")).await.expect(200);
        client.send(&call).await.expect(200);
        assert_eq!(client.balance(bob).await, "100.00");
        assert_eq!(client.send(&call).await.expect(409).code(), "already_reversed");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_is_closed_only_when_nothing_is_in_it() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        assert_eq!(set_status(&fixture, ann, "close").await.expect(409).code(), "wallet_not_empty");
        client.send(&Call::withdraw(ann, "100")).await.expect(200);
        assert_eq!(set_status(&fixture, ann, "close").await.expect(200).string("status"), "CLOSED");
        assert_eq!(client.send(&Call::deposit(ann, "1")).await.expect(409).code(), "wallet_closed");
        assert_eq!(client.send(&Call::transfer(fixture.bob, ann, "1")).await.expect(409).code(), "wallet_closed");
        assert_eq!(client.balance(ann).await, "0.00");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_opens_and_closes_with_the_balance() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let after = |answer: &Answer| answer.string("updatedAt");
        let first = client.send(&Call::deposit(ann, "5")).await.expect(200);
        client.send(&Call::withdraw(ann, "7")).await.expect(200);
        let last = client.send(&Call::deposit(ann, "1")).await.expect(200);
        let path = format!("/api/v1/wallets/{ann}/statement");
        let query = format!("?from={}&to={}", after(&first), after(&last));
        let statement = client.send(&Call::get(format!("{path}{query}"))).await.expect(200);
        assert_eq!(
            (statement.raw("openingBalance"), statement.raw("closingBalance")),
            ("100.00".into(), "98.00".into())
        );
        let json = statement.json();
        let kinds: Vec<_> = json["transactions"].as_array().expect("a list").iter().map(|line| &line["type"]).collect();
        assert_eq!(kinds, ["DEPOSIT", "WITHDRAWAL"]);
        let whole = client.send(&Call::get(path.clone())).await.expect(200);
        assert_eq!((whole.raw("openingBalance"), whole.raw("closingBalance")), ("0.00".into(), "99.00".into()));
        let csv = client.send(&Call::get(format!("{path}{query}&format=csv"))).await.expect(200);
        let lines: Vec<_> = csv.text.lines().collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[1].contains("OPENING_BALANCE,,,100.00") && lines[4].contains("CLOSING_BALANCE,,,98.00"));
        assert_eq!(client.send(&Call::get(format!("{path}?format=xml"))).await.expect(400).code(), "invalid_format");
    })
    .await;
}

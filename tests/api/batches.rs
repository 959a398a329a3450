//! Many things in one request: operations in one block, payments to any cell, and what a repetition gets.

use ledger::Money;
use ledger::limits::MAX_BATCH_OPERATIONS;
use topology::WalletId;

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, within};

fn batch(wallet: WalletId, mode: &str, operations: &[String]) -> Call {
    let body = format!(r#"{{"mode":"{mode}","operations":[{}]}}"#, operations.join(","));
    Call::post(format!("/api/v1/wallets/{wallet}/transactions:batch"), body)
}

fn operation(kind: &str, amount: &str) -> String {
    format!(r#"{{"type":"{kind}","amount":{amount}}}"#)
}

fn keyed(kind: &str, amount: &str, key: &str) -> String {
    format!(r#"{{"type":"{kind}","amount":{amount},"idempotencyKey":"{key}"}}"#)
}

fn payments(from: WalletId, payments: &[(WalletId, &str)]) -> Call {
    let payment = |(to, amount): &(WalletId, &str)| format!(r#"{{"toWalletId":"{to}","amount":{amount}}}"#);
    let list: Vec<_> = payments.iter().map(payment).collect();
    Call::post(format!("/api/v1/wallets/{from}/transfers:batch"), format!(r#"{{"payments":[{}]}}"#, list.join(",")))
}

fn keyed_payments(from: WalletId, payments: &[(WalletId, &str, &str)]) -> Call {
    let payment = |(to, amount, key): &(WalletId, &str, &str)| {
        format!(r#"{{"toWalletId":"{to}","amount":{amount},"idempotencyKey":"{key}"}}"#)
    };
    let list: Vec<_> = payments.iter().map(payment).collect();
    Call::post(format!("/api/v1/wallets/{from}/transfers:batch"), format!(r#"{{"payments":[{}]}}"#, list.join(",")))
}

fn statuses(answer: &crate::fleet::Answer) -> Vec<String> {
    let json = answer.json();
    let results = json["results"].as_array().expect("a list");
    results.iter().map(|result| result["status"].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_atomic_or_each_for_itself_and_is_done_once() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let operations = [operation("withdraw", "90"), operation("withdraw", "20"), operation("deposit", "5")];
        let refused = client.send(&batch(ann, "atomic", &operations).key("a")).await.expect(400);
        assert_eq!(refused.code(), "insufficient_balance");
        assert!(refused.string("detail").contains("operation 1"), "{refused:?}");
        assert_eq!(client.balance(ann).await, "100.00");

        let call = batch(ann, "independent", &operations).key("b");
        let done = client.send(&call).await.expect(200);
        assert_eq!(statuses(&done), ["DONE", "REFUSED", "DONE"]);
        assert_eq!((done.raw("balance"), client.balance(ann).await), ("15.00".into(), "15.00".into()));
        // What was refused would be possible now: the repetition of the batch still says what it said.
        client.send(&Call::deposit(ann, "100")).await.expect(200);
        let again = client.send(&call).await.expect(200);
        assert!(again.is_replay());
        assert_eq!(again.text, done.text);
        let other = batch(ann, "independent", &operations[..2]).key("b");
        assert_eq!(client.send(&other).await.expect(422).code(), "idempotency_key_reused");
        assert_eq!(client.balance(ann).await, "115.00");
        fixture.fleet.kill("cell-1-a").await;
        assert_eq!(client.insist(&call).await.expect(200).text, done.text, "also from the tables");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_with_its_own_key_is_done_once_in_any_batch() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let first = [keyed("deposit", "1", "one"), keyed("deposit", "2", "two")];
        client.send(&batch(ann, "atomic", &first)).await.expect(200);
        let second = [keyed("deposit", "2", "two"), keyed("deposit", "4", "three")];
        let call = batch(ann, "atomic", &second).key("second");
        let done = client.send(&call).await.expect(200);
        assert_eq!(statuses(&done), ["DONE_BEFORE", "DONE"]);
        assert_eq!(done.json()["results"][0]["balanceAfter"].to_string(), "103.0");
        assert_eq!(client.balance(ann).await, "107.00");
        assert_eq!(client.send(&call).await.expect(200).text, done.text);
        let changed = [keyed("deposit", "3", "two")];
        assert_eq!(client.send(&batch(ann, "atomic", &changed)).await.expect(422).code(), "idempotency_key_reused");
        // Of independent operations, the others are carried out.
        let mixed = [keyed("deposit", "3", "two"), operation("deposit", "1")];
        let call = batch(ann, "independent", &mixed).key("mixed");
        let done = client.send(&call).await.expect(200);
        assert_eq!(statuses(&done), ["REFUSED", "DONE"]);
        assert_eq!(done.json()["results"][0]["code"], "idempotency_key_reused");
        assert_eq!(client.send(&call).await.expect(200).text, done.text);
        // The same batch under the same key, but with other keys for its operations, is another one.
        let others = [keyed("deposit", "3", "four"), operation("deposit", "1")];
        let other = client.send(&batch(ann, "independent", &others).key("mixed")).await.expect(422);
        assert_eq!(other.code(), "idempotency_key_reused");
        client.send(&Call::post(format!("/api/v1/wallets/{ann}/withdraw"), r#"{"amount":1}"#)).await.expect(200);
        // As a single request: the same key, the same meaning.
        assert!(client.send(&Call::deposit(ann, "4").key("three")).await.expect(200).is_replay());
        assert_eq!(client.balance(ann).await, "107.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_batch_is_one_block() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let many = vec![operation("deposit", "0.01"); MAX_BATCH_OPERATIONS];
        let done = client.send(&batch(ann, "atomic", &many).key("many")).await.expect(200);
        let deposited = Money::from_minor(MAX_BATCH_OPERATIONS as u64);
        assert_eq!(done.raw("balance"), Money::from_minor(10_000).checked_add(deposited).expect("small").to_string());
        let books = Books::read(&fixture.fleet).await;
        books.audit(Moment::Still);
        let head = books.chain(ann).last().expect("a chain");
        assert_eq!((head.number.to_string(), head.entries.len()), (done.raw("blockNumber"), MAX_BATCH_OPERATIONS + 1));
        let too_many = vec![operation("deposit", "0.01"); MAX_BATCH_OPERATIONS + 1];
        assert_eq!(client.send(&batch(ann, "atomic", &too_many)).await.expect(400).code(), "invalid_batch_size");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_batch_names_the_operation_and_changes_nothing() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, abe) = (&fixture.client, fixture.ann, fixture.abe);
        let good = operation("deposit", "1");
        let cases = [
            (batch(ann, "both", std::slice::from_ref(&good)), "invalid_batch_mode"),
            (batch(ann, "atomic", &[]), "invalid_batch_size"),
            (batch(ann, "atomic", &[good.clone(), operation("steal", "1")]), "invalid_operation"),
            (batch(ann, "atomic", &[good.clone(), operation("deposit", "0")]), "amount_below_minimum"),
            (batch(ann, "atomic", &[good.clone(), "{}".into()]), "missing_field"),
            (batch(ann, "atomic", &[good.clone(), "7".into()]), "malformed_json"),
            (batch(ann, "atomic", &[r#"{"type":"void","holdId":"x"}"#.into()]), "invalid_hold_id"),
            (
                batch(ann, "atomic", &[keyed("deposit", "1", "k"), keyed("deposit", "1", "k")]),
                "idempotency_key_repeated",
            ),
            (batch(ann, "atomic", &[keyed("deposit", "1", "k")]).key("k"), "idempotency_key_repeated"),
            (keyed_payments(ann, &[(abe, "1", "k")]).key("k"), "idempotency_key_repeated"),
            (batch(ann, "atomic", &[keyed("deposit", "1", "a b")]), "invalid_idempotency_key"),
            (payments(ann, &[(abe, "1")]), "idempotency_key_required"),
            (payments(ann, &[]).key("k"), "invalid_batch_size"),
            (payments(ann, &[(abe, "-1")]).key("k"), "amount_below_minimum"),
        ];
        for (call, code) in cases {
            let refused = client.send(&call).await.expect(400);
            assert_eq!(refused.code(), code, "{:?}", call.body);
        }
        assert_eq!(client.balance(ann).await, "100.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_payments_leave_one_wallet_for_any_cell_once() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, abe, bob) = (&fixture.client, fixture.ann, fixture.abe, fixture.bob);
        let absent: WalletId = "00000000-0000-4000-8000-000000000000".parse().expect("a wallet id");
        let call = payments(ann, &[(abe, "10"), (bob, "20"), (absent, "1"), (bob, "500"), (ann, "1")]).key("pay");
        let paid = client.send(&call).await.expect(200);
        assert_eq!(statuses(&paid), ["SETTLED", "SETTLED", "REFUSED", "REFUSED", "REFUSED"]);
        let codes: Vec<_> = (2..5).map(|place| paid.json()["results"][place]["code"].clone()).collect();
        assert_eq!(codes, ["wallet_not_found", "insufficient_balance", "same_wallet"]);
        let again = client.send(&call).await.expect(200);
        assert!(again.is_replay());
        assert_eq!(statuses(&again), statuses(&paid));
        let other = payments(ann, &[(abe, "10"), (bob, "20"), (bob, "1")]).key("pay");
        assert_eq!(client.send(&other).await.expect(422).code(), "idempotency_key_reused");
        let balances = [client.balance(ann).await, client.balance(abe).await, client.balance(bob).await];
        assert_eq!(balances, ["70.00", "110.00", "120.00"]);

        // Other keys for the payments make it another request: nothing is paid twice.
        let keyed = |key| keyed_payments(ann, &[(abe, "10", key)]).key("keyed");
        client.send(&keyed("one")).await.expect(200);
        assert_eq!(client.send(&keyed("two")).await.expect(422).code(), "idempotency_key_reused");
        assert_eq!(client.balance(ann).await, "60.00");
        // A repetition that pays what could not be paid before is no replay.
        let short = payments(ann, &[(abe, "10"), (abe, "55")]).key("short");
        assert_eq!(statuses(&client.send(&short).await.expect(200)), ["SETTLED", "REFUSED"]);
        client.send(&Call::deposit(ann, "10")).await.expect(200);
        let finished = client.send(&short).await.expect(200);
        assert_eq!(statuses(&finished), ["SETTLED", "SETTLED"]);
        assert!(!finished.is_replay(), "money moved");
        assert!(client.send(&short).await.expect(200).is_replay());
        assert_eq!(client.balance(ann).await, "5.00");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}

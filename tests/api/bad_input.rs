//! Whatever a client gets wrong is answered with a problem that says what, and changes nothing.

use reqwest::Method;

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, wallet_of, within};

/// What is wrong, the request, and the answer's status and code.
pub type Case = (&'static str, Call, u16, &'static str);

const FAR_FUTURE: &str = "2999-01-01T00:00:00Z";

pub fn bodies(fixture: &Fixture) -> Vec<Case> {
    let (ann, bob) = (fixture.ann, fixture.bob);
    let deposit = |body: &str| Call::post(format!("/api/v1/wallets/{ann}/deposit"), body);
    let transfer = |body: String| Call::post("/api/v1/wallets/transfer", body);
    let create = |body: &str| Call::post("/api/v1/wallets", body);
    vec![
        ("no user", create("{}"), 400, "missing_field"),
        ("null user", create(r#"{"userId":null}"#), 400, "missing_field"),
        ("user is a number", create(r#"{"userId":7}"#), 400, "wrong_type"),
        ("empty user", create(r#"{"userId":""}"#), 400, "invalid_user_id"),
        ("user with a line break", create(r#"{"userId":"a\nb"}"#), 400, "invalid_user_id"),
        ("user too long", create(&format!(r#"{{"userId":"{}"}}"#, "u".repeat(129))), 400, "invalid_user_id"),
        ("broken JSON", create(r#"{"userId":"x""#), 400, "malformed_json"),
        ("no body", create(""), 400, "malformed_json"),
        ("no amount", deposit("{}"), 400, "missing_field"),
        ("null amount", deposit(r#"{"amount":null}"#), 400, "missing_field"),
        ("amount is a list", deposit(r#"{"amount":[1]}"#), 400, "wrong_type"),
        ("amount is a truth value", deposit(r#"{"amount":true}"#), 400, "wrong_type"),
        ("amount is no JSON", deposit(r#"{"amount":NaN}"#), 400, "malformed_json"),
        ("amount is no number", deposit(r#"{"amount":"NaN"}"#), 400, "invalid_amount"),
        ("amount twice", deposit(r#"{"amount":1,"amount":2}"#), 400, "malformed_json"),
        ("body is a list", deposit("[1]"), 400, "wrong_type"),
        ("amount beyond all bounds", deposit(r#"{"amount":1e400}"#), 400, "invalid_amount"),
        ("amount too large", deposit(r#"{"amount":1000000000.01}"#), 400, "amount_above_maximum"),
        ("negative", deposit(r#"{"amount":-5}"#), 400, "amount_below_minimum"),
        ("zero", deposit(r#"{"amount":0}"#), 400, "amount_below_minimum"),
        ("less than half a cent", deposit(r#"{"amount":0.004}"#), 400, "amount_below_minimum"),
        ("less than half a cent, as text", deposit(r#"{"amount":"0.004"}"#), 400, "amount_below_minimum"),
        ("a field that no request has", deposit(r#"{"amount":1,"amuont":2}"#), 400, "unknown_field"),
        ("a field of another request", deposit(r#"{"amount":1,"userId":"ann"}"#), 400, "unknown_field"),
        (
            "a transfer with a note",
            transfer(format!(r#"{{"fromWalletId":"{ann}","toWalletId":"{bob}","amount":1,"note":null}}"#)),
            400,
            "unknown_field",
        ),
        (
            "an operation with another's field",
            Call::post(
                format!("/api/v1/wallets/{ann}/transactions:batch"),
                r#"{"operations":[{"type":"deposit","amount":1,"holdId":"x"}]}"#,
            ),
            400,
            "unknown_field",
        ),
        (
            "a reversal of a part",
            Call::post(format!("/api/v1/wallets/{ann}/transactions/{bob}/reverse"), r#"{"amount":1}"#),
            400,
            "unknown_field",
        ),
        (
            "body over the limit",
            deposit(&format!(r#"{{"amount":1,"x":"{}"}}"#, "x".repeat(66_000))),
            413,
            "body_too_large",
        ),
        ("transfer over the limit", transfer(format!(r#"{{"x":"{}"}}"#, "x".repeat(66_000))), 413, "body_too_large"),
        ("no payer", transfer(format!(r#"{{"toWalletId":"{bob}","amount":1}}"#)), 400, "missing_field"),
        ("no payee", transfer(format!(r#"{{"fromWalletId":"{ann}","amount":1}}"#)), 400, "missing_field"),
        (
            "payer is a number",
            transfer(format!(r#"{{"fromWalletId":1,"toWalletId":"{bob}","amount":1}}"#)),
            400,
            "wrong_type",
        ),
        (
            "payee is no UUID",
            transfer(format!(r#"{{"fromWalletId":"{ann}","toWalletId":"x","amount":1}}"#)),
            400,
            "invalid_wallet_id",
        ),
        (
            "payer is no UUID",
            transfer(format!(r#"{{"fromWalletId":"x","toWalletId":"{bob}","amount":1}}"#)),
            400,
            "invalid_wallet_id",
        ),
        ("to oneself", Call::transfer(ann, ann, "1"), 400, "same_wallet"),
        ("withdraw nothing", Call::withdraw(ann, "0"), 400, "amount_below_minimum"),
        ("no content type", deposit("{}").without("content-type"), 415, "unsupported_media_type"),
        (
            "wrong content type",
            deposit(r#"{"amount":1}"#).header("content-type", "text/plain"),
            415,
            "unsupported_media_type",
        ),
    ]
}

pub fn requests(fixture: &Fixture) -> Vec<Case> {
    let (ann, bob) = (fixture.ann, fixture.bob);
    let stranger = wallet_of("never created");
    let get = |path: String| Call::get(format!("/api/v1/wallets{path}"));
    let method = |method: Method, path: String| Call { method, ..get(path) };
    let long = "k".repeat(129);
    vec![
        ("no UUID", get("/x".into()), 400, "invalid_wallet_id"),
        ("UUID without hyphens", get(format!("/{}", ann.as_uuid().simple())), 400, "invalid_wallet_id"),
        ("deposit to no UUID", Call::post("/api/v1/wallets/7/deposit", r#"{"amount":1}"#), 400, "invalid_wallet_id"),
        ("unknown wallet", Call::show(stranger), 404, "wallet_not_found"),
        ("deposit to an unknown wallet", Call::deposit(stranger, "1"), 404, "wallet_not_found"),
        ("withdraw from an unknown wallet", Call::withdraw(stranger, "1"), 404, "wallet_not_found"),
        ("transfer from an unknown wallet", Call::transfer(stranger, ann, "1"), 404, "wallet_not_found"),
        ("transfer to an unknown wallet", Call::transfer(ann, stranger, "1"), 404, "wallet_not_found"),
        ("unknown user", get("?userId=unknown".into()), 404, "wallet_not_found"),
        ("no user asked for", get(String::new()), 400, "invalid_user_id"),
        ("history of an unknown wallet", get(format!("/{stranger}/transactions")), 404, "wallet_not_found"),
        (
            "past of an unknown wallet",
            get(format!("/{stranger}/balance/historical?timestamp=2025-01-01T00:00:00Z")),
            404,
            "wallet_not_found",
        ),
        ("no transfer id", get(format!("/{ann}/transfers/x")), 400, "invalid_transfer_id"),
        ("unknown transfer", get(format!("/{ann}/transfers/{}", uuid::Uuid::from_u128(1))), 404, "transfer_not_found"),
        ("no timestamp", get(format!("/{ann}/balance/historical")), 400, "missing_field"),
        (
            "malformed timestamp",
            get(format!("/{ann}/balance/historical?timestamp=yesterday")),
            400,
            "invalid_timestamp",
        ),
        (
            "timestamp without offset",
            get(format!("/{ann}/balance/historical?timestamp=2025-01-01T00:00:00")),
            400,
            "invalid_timestamp",
        ),
        (
            "timestamp in the future",
            get(format!("/{ann}/balance/historical?timestamp={FAR_FUTURE}")),
            400,
            "timestamp_in_future",
        ),
        (
            "a parameter that no listing has",
            get(format!("/{ann}/transactions?form=2025-01-01T00:00:00Z")),
            400,
            "unknown_parameter",
        ),
        (
            "a parameter that comes twice",
            get(format!("/{ann}/statement?to=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z")),
            400,
            "repeated_parameter",
        ),
        ("malformed from", get(format!("/{ann}/transactions?from=7")), 400, "invalid_timestamp"),
        ("malformed to", get(format!("/{ann}/transactions?to=x")), 400, "invalid_timestamp"),
        (
            "statement to a time of no UTC year",
            get(format!("/{ann}/statement?to=9999-12-31T23:59:59-01:00")),
            400,
            "invalid_timestamp",
        ),
        (
            "statement from a time of no UTC year",
            get(format!("/{ann}/statement?format=csv&from=0000-01-01T00:00:00%2B23:59")),
            400,
            "invalid_timestamp",
        ),
        (
            "past of a time of no UTC year",
            get(format!("/{ann}/balance/historical?timestamp=0000-01-01T00:00:00%2B23:59")),
            400,
            "invalid_timestamp",
        ),
        ("malformed cursor", get(format!("/{ann}/transactions?cursor=zz")), 400, "invalid_cursor"),
        ("page of nothing", get(format!("/{ann}/transactions?limit=0")), 400, "invalid_limit"),
        ("page too large", get(format!("/{ann}/transactions?limit=501")), 400, "invalid_limit"),
        ("page size is no number", get(format!("/{ann}/transactions?limit=ten")), 400, "invalid_limit"),
        ("insufficient balance", Call::withdraw(ann, "100.01"), 400, "insufficient_balance"),
        ("insufficient balance, inside", Call::transfer(ann, fixture.abe, "100.01"), 400, "insufficient_balance"),
        ("insufficient balance, across", Call::transfer(ann, bob, "100.01"), 400, "insufficient_balance"),
        ("key too long", Call::deposit(ann, "1").key(&long), 400, "invalid_idempotency_key"),
        ("empty key", Call::deposit(ann, "1").key(""), 400, "invalid_idempotency_key"),
        ("key with a space", Call::deposit(ann, "1").key("a b"), 400, "invalid_idempotency_key"),
        ("no such method", method(Method::DELETE, format!("/{ann}")), 405, "method_not_allowed"),
        ("deposit is no PUT", method(Method::PUT, format!("/{ann}/deposit")), 405, "method_not_allowed"),
        ("deposit is no GET", method(Method::GET, format!("/{ann}/deposit")), 405, "method_not_allowed"),
        (
            "history is no POST",
            Call::post(format!("/api/v1/wallets/{ann}/transactions"), "{}"),
            405,
            "method_not_allowed",
        ),
        ("transfer is no GET", method(Method::GET, "/transfer".into()), 405, "method_not_allowed"),
        ("nothing there", get(format!("/{ann}/nothing")), 404, "not_found"),
        (
            "header names another wallet",
            Call::show(ann).header("x-wallet-id", bob.to_string()),
            400,
            "wallet_header_mismatch",
        ),
        (
            "header names another payer",
            Call::transfer(ann, bob, "1").header("x-wallet-id", bob.to_string()),
            400,
            "wallet_header_mismatch",
        ),
        ("header names no wallet", Call::deposit(ann, "1").header("x-wallet-id", "x"), 400, "invalid_wallet_id"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_answered_with_its_code_and_changes_nothing() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let before = Books::read(&fixture.fleet).await.audit(Moment::Still);
        let mut wrong = Vec::new();
        for (name, call, status, code) in bodies(&fixture).into_iter().chain(requests(&fixture)) {
            let answer = fixture.client.send(&call).await;
            if answer.is_success() || (answer.status, answer.code().as_str()) != (status, code) {
                wrong.push(format!("{name}: wanted {status} {code}, got {} {}", answer.status, answer.text));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let after = Books::read(&fixture.fleet).await.audit(Moment::Still);
        assert_eq!((before.entries, before.balances), (after.entries, after.balances));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_one_wallet_and_a_frozen_one_moves_no_money() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, bob) = (&fixture.client, fixture.ann, fixture.bob);
        let user = client.send(&Call::show(ann)).await.string("userId");
        for call in [Call::create(&user), Call::create(&user).key("another")] {
            assert_eq!(client.send(&call).await.expect(409).code(), "wallet_exists");
        }
        let found = client.send(&Call::get(format!("/api/v1/wallets?userId={user}"))).await.expect(200);
        assert_eq!(found.text, client.send(&Call::show(ann)).await.text);

        let internal = fixture.fleet.internal_client();
        internal.send(&Call::post(format!("/internal/v1/wallets/{ann}/freeze"), "")).await.expect(200);
        let before = Books::read(&fixture.fleet).await.audit(Moment::Still);
        for call in [
            Call::deposit(ann, "1"),
            Call::withdraw(ann, "1"),
            Call::transfer(ann, fixture.abe, "1"),
            Call::transfer(ann, bob, "1"),
            Call::transfer(fixture.abe, ann, "1"),
            Call::transfer(bob, ann, "1"),
        ] {
            assert_eq!(client.send(&call).await.expect(409).code(), "wallet_frozen", "{call:?}");
        }
        let after = Books::read(&fixture.fleet).await.audit(Moment::Still);
        assert_eq!((before.entries, before.balances), (after.entries, after.balances));
        internal.send(&Call::post(format!("/internal/v1/wallets/{ann}/unfreeze"), "")).await.expect(200);
        client.send(&Call::deposit(ann, "1")).await.expect(200);
    })
    .await;
}

//! The table: caller, request and answer, through the router and at the control plane.

use serde_json::json;

use super::support::Secure;
use crate::fleet::{until, wallet_of};

#[tokio::test]
async fn each_caller_gets_its_own_and_nothing_else() {
    let every_second = vec![("CELL_CHECKPOINT_SECONDS".to_owned(), "1".to_owned())];
    let secure = Secure::start_with(2, every_second).await;
    let (ann, bob) = (wallet_of("ann"), wallet_of("bob"));
    let a = secure.customer("ann");
    let all = "wallets:create wallets:read deposit withdraw transfer";
    let service = |scope: &str| secure.service(scope);
    let operator = secure.operator("admin");
    let create = |user: &str| json!({ "userId": user }).to_string();
    let transfer = |from, to| json!({ "fromWalletId": from, "toWalletId": to, "amount": 1 }).to_string();
    let five = json!({ "amount": 5 }).to_string();
    let one = json!({ "amount": 1 }).to_string();
    let batch = json!({ "operations": [{ "type": "deposit", "amount": 1 }] }).to_string();
    let path = |wallet, rest: &str| format!("/api/v1/wallets/{wallet}{rest}");
    for (who, token, method, path, body, expected) in [
        ("no token", String::new(), "POST", "/api/v1/wallets".into(), create("ann"), "401 unauthenticated"),
        ("no token", String::new(), "GET", path(ann, ""), String::new(), "401 unauthenticated"),
        ("no token", String::new(), "GET", "/openapi.yaml".into(), String::new(), "200"),
        ("no token", String::new(), "GET", "/docs/".into(), String::new(), "200"),
        ("ann", a.clone(), "POST", "/api/v1/wallets".into(), create("ann"), "201"),
        ("ann", a.clone(), "POST", "/api/v1/wallets".into(), create("bob"), "403 forbidden"),
        ("a service", service(all), "POST", "/api/v1/wallets".into(), create("bob"), "201"),
        ("ann", a.clone(), "POST", path(ann, "/deposit"), five.clone(), "403 forbidden"),
        ("a service", service("withdraw"), "POST", path(ann, "/deposit"), five.clone(), "403 forbidden"),
        ("an admin", operator.clone(), "POST", path(ann, "/deposit"), five.clone(), "403 forbidden"),
        ("a service", service("deposit"), "POST", path(ann, "/deposit"), five.clone(), "200"),
        ("ann", a.clone(), "GET", path(ann, ""), String::new(), "200"),
        ("ann", a.clone(), "GET", path(bob, ""), String::new(), "403 forbidden"),
        ("ann", a.clone(), "GET", "/api/v1/wallets?userId=ann".into(), String::new(), "200"),
        ("ann", a.clone(), "GET", "/api/v1/wallets?userId=bob".into(), String::new(), "403 forbidden"),
        ("an admin", operator.clone(), "GET", path(ann, "/transactions"), String::new(), "200"),
        ("a service", service("deposit"), "GET", path(ann, ""), String::new(), "403 forbidden"),
        ("ann", a.clone(), "POST", path(ann, "/withdraw"), one.clone(), "200"),
        ("ann", a.clone(), "POST", path(bob, "/withdraw"), one.clone(), "403 forbidden"),
        ("ann", a.clone(), "POST", "/api/v1/wallets/transfer".into(), transfer(ann, bob), "200"),
        ("ann", a.clone(), "POST", "/api/v1/wallets/transfer".into(), transfer(bob, ann), "403 forbidden"),
        ("an admin", operator.clone(), "POST", "/api/v1/wallets/transfer".into(), transfer(bob, ann), "403 forbidden"),
        ("a service", service("transfer"), "POST", "/api/v1/wallets/transfer".into(), transfer(bob, ann), "200"),
        ("ann", a.clone(), "POST", path(ann, "/holds"), one.clone(), "201"),
        ("ann", a.clone(), "POST", path(bob, "/holds"), one.clone(), "403 forbidden"),
        ("ann", a.clone(), "POST", path(ann, &format!("/holds/{ann}/capture")), one.clone(), "403 forbidden"),
        (
            "a service",
            service("hold"),
            "POST",
            path(ann, &format!("/holds/{ann}/capture")),
            one.clone(),
            "409 hold_not_open",
        ),
        ("ann", a.clone(), "POST", path(ann, &format!("/transactions/{ann}/reverse")), String::new(), "403 forbidden"),
        (
            "a service",
            service("reverse"),
            "POST",
            path(ann, &format!("/transactions/{ann}/reverse")),
            String::new(),
            "404 transaction_not_found",
        ),
        ("ann", a.clone(), "POST", path(ann, "/transactions:batch"), batch.clone(), "403 forbidden"),
        ("a service", service("batch"), "POST", path(ann, "/transactions:batch"), batch.clone(), "200"),
        ("ann", a.clone(), "GET", path(ann, "/statement"), String::new(), "200"),
        ("ann", a.clone(), "GET", path(bob, "/statement"), String::new(), "403 forbidden"),
        ("ann", a.clone(), "GET", path(bob, "/proof"), String::new(), "403 forbidden"),
        ("ann", a.clone(), "GET", "/api/v1/events?cell=cell-1".into(), String::new(), "403 forbidden"),
        ("an admin", operator.clone(), "GET", "/api/v1/events?cell=cell-1".into(), String::new(), "200"),
        ("a service", service(all), "PUT", path(ann, "/of-tomorrow"), one.clone(), "403 forbidden"),
    ] {
        let answer = secure.ask(&token, method, &format!("{}{path}", secure.router()), &body).await;
        let got = format!("{} {}", answer.status, answer.code());
        assert_eq!(got.trim_end(), expected, "{who}: {method} {path} {body}: {}", answer.text);
        assert_eq!(answer.challenge.is_some(), matches!(answer.status, 401 | 403), "{who}: {method} {path}");
    }
    assert!(secure.router_counted("router_problems_total{code=\"forbidden\"}").await >= 10.0);

    // Only operators see the actor of each event.
    let listing = format!("{}{}", secure.router(), path(ann, "/transactions"));
    let text = secure.ask(&operator, "GET", &listing, "").await.text;
    assert!(text.contains("\"actor\":\"customer:ann\"") && text.contains("\"sourceIp\":\"127.0.0.1\""), "{text}");
    let own = secure.ask(&a, "GET", &listing, "").await.text;
    assert!(own.contains("WITHDRAWAL") && !own.contains("audit") && !own.contains("127.0.0.1"), "{own}");

    // The same where a whole cell is followed.
    let events = format!("{}/api/v1/events?cell=cell-", secure.router());
    let following = async |token: &str| {
        let mut text = String::new();
        for cell in 1..=2 {
            text += &secure.ask(token, "GET", &format!("{events}{cell}"), "").await.text;
        }
        text
    };
    until(20, "the event of the deposit is there", async || {
        following(&operator).await.contains("\"actor\":\"customer:ann\"")
    })
    .await;
    let text = following(&service("events:read")).await;
    assert!(text.contains("WITHDRAWAL") && !text.contains("audit") && !text.contains("127.0.0.1"), "{text}");

    // A header cannot say otherwise than the body: neither sent along, nor hidden from the cell.
    let url = format!("{}/api/v1/wallets/transfer", secure.router());
    let (bearer, own) = (format!("Bearer {a}"), ann.to_string());
    let named = [("authorization", &*bearer), ("x-wallet-id", &*own), ("content-type", "application/json")];
    let hidden = [&named[..], &[("connection", "x-wallet-id")]].concat();
    for headers in [&named[..], &hidden[..]] {
        let answer = secure.ask_with(headers, "POST", &url, &transfer(bob, ann)).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (400, "wallet_header_mismatch"), "{}", answer.text);
    }
    // A customer that uses a shop's key first neither gets the goods for nothing nor blocks the charge.
    let withdraw = format!("{}{}", secure.router(), path(ann, "/withdraw"));
    for token in [&a, &service("withdraw")] {
        let bearer = format!("Bearer {token}");
        let headers =
            [("authorization", &*bearer), ("idempotency-key", "order-1"), ("content-type", "application/json")];
        let first = secure.ask_with(&headers, "POST", &withdraw, &one).await.expect("an answer");
        let again = secure.ask_with(&headers, "POST", &withdraw, &one).await.expect("an answer");
        assert_eq!((first.status, again.status), (200, 200), "{} {}", first.text, again.text);
        assert_eq!(first.text, again.text, "the caller's own repetition");
    }
    let left = secure.ask(&operator, "GET", &format!("{}{}", secure.router(), path(ann, "")), "").await;
    assert!(left.text.contains("\"balance\":3.00"), "each was charged once, of 5.00: {}", left.text);

    let balance = secure.ask(&operator, "GET", &format!("{}{}", secure.router(), path(bob, "")), "").await;
    assert!(balance.text.contains("\"balance\":0.00"), "{}", balance.text);
}

#[tokio::test]
async fn operators_change_what_their_role_allows_and_are_named() {
    let secure = Secure::start(2).await;
    let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| secure.operator(role));
    let strangers = [secure.customer("ann"), secure.service("deposit admin wallets:read")];
    let onboard = json!({ "userId": "zoe", "actor": "somebody else", "reason": "asked" }).to_string();
    let evacuate = |force: bool| {
        json!({ "kind": "evacuate", "cell": "cell-2", "force": force, "dryRun": true, "actor": "x", "reason": "y" })
            .to_string()
    };
    let because = json!({ "actor": "somebody else", "reason": "asked" }).to_string();
    let zoe = wallet_of("zoe");
    let freeze = format!("/v1/wallets/{zoe}/freeze");
    for (who, token, method, path, body, expected) in [
        ("no token", "", "GET", "/v1/cells", "", "401 unauthenticated"),
        ("no token", "", "GET", "/v1/placement", "", "401 unauthenticated"),
        ("no token", "", "GET", "/metrics", "", "401 unauthenticated"),
        ("no token", "", "GET", "/readyz", "", "200"),
        ("a customer", &strangers[0], "GET", "/v1/cells", "", "403 forbidden"),
        ("a service", &strangers[1], "GET", "/v1/where/ann", "", "403 forbidden"),
        ("a viewer", &viewer, "GET", "/v1/cells", "", "200"),
        ("a viewer", &viewer, "GET", "/metrics", "", "200"),
        ("a viewer", &viewer, "POST", "/v1/customers", &onboard, "403 forbidden"),
        ("an operator", &operator, "POST", "/v1/customers", &onboard, "201"),
        ("an operator", &operator, "POST", "/v1/cells/cell-2/drain", &because, "403 forbidden"),
        ("an operator", &operator, "POST", "/v1/operations", &evacuate(true), "403 forbidden"),
        ("an operator", &operator, "POST", "/v1/operations", &evacuate(false), "200"),
        ("a viewer", &viewer, "POST", &freeze, &because, "403 forbidden"),
        ("an operator", &operator, "POST", &freeze, &because, "200"),
        ("an admin", &admin, "POST", "/v1/operations", &evacuate(true), "200"),
        ("an admin", &admin, "POST", "/v1/cells/cell-2/drain", &because, "200"),
    ] {
        let answer = secure.ask(token, method, &format!("{}{path}", secure.control_plane()), body).await;
        let got = format!("{} {}", answer.status, answer.code());
        assert_eq!(got.trim_end(), expected, "{who}: {method} {path}: {}", answer.text);
    }
    let history = secure.ask(&viewer, "GET", &format!("{}/v1/placement/history", secure.control_plane()), "").await;
    assert!(history.text.contains("operator:joe") && !history.text.contains("somebody else"), "{}", history.text);
    let listing = format!("{}/api/v1/wallets/{zoe}/transactions", secure.router());
    let text = secure.ask(&viewer, "GET", &listing, "").await.text;
    assert!(text.contains("\"type\":\"FROZEN\"") && text.contains("operator:joe"), "{text}");
    // `ctl` finds its own way in, and is turned away with another's token.
    assert_eq!(secure.fleet.ctl(&["cell", "list"]).await.as_array().map(Vec::len), Some(2));
    let refused = secure.fleet.try_ctl(&["--token", &strangers[0], "cell", "list"]).await;
    assert!(refused.expect_err("refused").contains("forbidden"));
    let minted = secure.fleet.try_ctl(&["token", "--service", "cards", "--scope", "deposit"]).await;
    minted.expect("there is a development key");
}

//! The shipped policy, as a table.

use topology::Endpoint;
use topology::endpoint::{Callers, Method};
use uuid::Uuid;

use super::*;

fn identity(claims: serde_json::Value) -> Identity {
    let mut claims = claims;
    claims["exp"] = 5.into();
    Identity::new(serde_json::from_value(claims).expect("claims"), Uuid::nil()).expect("sound")
}

fn public(decider: &mut Decider, who: &Identity, endpoint: Endpoint, own: bool) -> bool {
    let (method, route) = (endpoint.method().name().into(), endpoint.template().into());
    decider.allows(Asker::Identity(who), Question { side: Side::Public, method, route, own, force: false })
}

fn control(decider: &mut Decider, who: Asker<'_>, method: &'static str, route: &'static str, force: bool) -> bool {
    let (method, route) = (Cow::Borrowed(method), Cow::Borrowed(route));
    decider.allows(who, Question { side: Side::Control, method, route, own: false, force })
}

fn decider() -> Decider {
    Decider::new(Arc::new(ArcSwap::from_pointee(Policy::shipped())))
}

#[test]
fn who_may_do_what_through_the_router() {
    let customer = identity(json!({ "sub": "ann", "kind": "customer" }));
    let service = |scope: &str| identity(json!({ "sub": "cards", "kind": "service", "scope": scope }));
    let operator = identity(json!({ "sub": "joe", "kind": "operator", "role": "admin" }));
    let mut decider = decider();
    for &endpoint in Endpoint::ALL {
        let (own, scope) = expected(endpoint);
        let what = format!("{endpoint:?}");
        assert_eq!(public(&mut decider, &customer, endpoint, true), own, "a customer: {what}");
        assert!(!public(&mut decider, &customer, endpoint, false), "a customer, of another's wallet: {what}");
        let all = "wallets:read wallets:create events:read deposit withdraw transfer hold reverse batch";
        for other in all.split(' ') {
            let may = public(&mut decider, &service(other), endpoint, other != scope);
            assert_eq!(may, other == scope, "a service with {other}: {what}");
        }
        let others: Vec<_> = all.split(' ').filter(|other| *other != scope).collect();
        assert!(!public(&mut decider, &service(&others.join(" ")), endpoint, true), "without it: {what}");
        let is_read = endpoint.callers() == Callers::Clients && endpoint.method() == Method::Get;
        assert_eq!(public(&mut decider, &operator, endpoint, false), is_read, "an operator: {what}");
        assert!(!public(&mut decider, &service("admin *"), endpoint, true), "no scope of ours: {what}");
    }
}

/// Of each endpoint: whether a customer may do it to its own wallet, and the scope that a service needs.
fn expected(endpoint: Endpoint) -> (bool, &'static str) {
    match endpoint {
        Endpoint::Find
        | Endpoint::Show
        | Endpoint::ShowAt
        | Endpoint::ShowTransfer
        | Endpoint::ListTransactions
        | Endpoint::ListHolds
        | Endpoint::Statement
        | Endpoint::Proof => (true, "wallets:read"),
        Endpoint::Create => (true, "wallets:create"),
        Endpoint::Transfer => (true, "transfer"),
        Endpoint::Deposit => (false, "deposit"),
        Endpoint::Withdraw => (true, "withdraw"),
        Endpoint::PlaceHold => (true, "hold"),
        Endpoint::CaptureHold | Endpoint::VoidHold => (false, "hold"),
        Endpoint::Reverse => (false, "reverse"),
        Endpoint::RunBatch | Endpoint::PayBatch => (false, "batch"),
        Endpoint::Events => (false, "events:read"),
        Endpoint::Receivable
        | Endpoint::Credit
        | Endpoint::HoldWrites
        | Endpoint::ReleaseWrites
        | Endpoint::Deliver
        | Endpoint::Freeze
        | Endpoint::Unfreeze
        | Endpoint::Close
        | Endpoint::Erase
        | Endpoint::HotWallets
        | Endpoint::Findings => (false, "none"),
    }
}

#[test]
fn the_policy_names_only_endpoints() {
    let served = |method: &str, template: &str| {
        Endpoint::ALL.iter().any(|known| known.method().name() == method && known.template() == template)
    };
    let (_, text) = SHIPPED[0];
    let mut named = 0;
    for rule in text.split("[\"").skip(1) {
        // A method and a template in one pair of brackets.
        let Some((method, rest)) = rule.split_once("\", \"") else { continue };
        let template = rest.split('"').next().unwrap_or_default();
        if template.starts_with('/') {
            assert!(served(method, template), "{method} {template}");
            named += 1;
        }
    }
    assert!(named > 20, "{named} read");
}

#[test]
fn who_may_do_what_at_the_control_plane() {
    let operator = |role: &str| identity(json!({ "sub": "joe", "kind": "operator", "role": role }));
    let strangers = [
        identity(json!({ "sub": "ann", "kind": "customer" })),
        identity(json!({ "sub": "cards", "kind": "service", "scope": "admin deposit wallets:read" })),
    ];
    let [viewer, usual, admin] = ["viewer", "operator", "admin"].map(operator);
    let mut decider = decider();
    for (method, route, force, viewer_may, operator_may) in [
        ("GET", "/v1/cells", false, true, true),
        ("GET", "/v1/audit", false, true, true),
        ("GET", "/v1/placement", false, true, true),
        ("POST", "/v1/operations", false, false, true),
        ("POST", "/v1/operations", true, false, false),
        ("POST", "/v1/operations/{id}/pause", false, false, true),
        ("POST", "/v1/operations/{id}/abort", true, false, false),
        ("GET", "/v1/deploys", false, true, true),
        ("POST", "/v1/deploys", false, false, true),
        ("POST", "/v1/deploys/{id}/rollback", false, false, true),
        ("POST", "/v1/deploys/{id}/promote", true, false, false),
        ("GET", "/v1/zones", false, true, true),
        ("POST", "/v1/zones/{zone}/evacuate", false, false, true),
        ("POST", "/v1/zones/{zone}/evacuate", true, false, false),
        ("POST", "/v1/zones/{zone}/restore", false, false, true),
        ("POST", "/v1/cells/{id}/restore/begin", false, false, false),
        ("POST", "/v1/cells/{id}/restore/chains", false, false, false),
        ("POST", "/v1/cells/{id}/restore/archive", false, false, false),
        ("POST", "/v1/customers", false, false, true),
        ("GET", "/v1/ledger/findings/{cell}", false, true, true),
        ("POST", "/v1/ledger/verify", false, false, true),
        ("POST", "/v1/wallets/{id}/{verb}", false, false, true),
        ("POST", "/v1/owners/{id}/erase", false, false, false),
        ("POST", "/v1/owners/{id}/export", false, false, false),
        ("POST", "/v1/cells", false, false, false),
        ("PUT", "/v1/cells/{id}/addresses", false, false, false),
        ("PUT", "/v1/cells/{id}/capacity", false, false, false),
        ("PUT", "/v1/cells/{id}/standby", false, false, false),
        ("GET", "/v1/drift", false, true, true),
        ("POST", "/v1/cells/{id}/drain", false, false, false),
        ("POST", "/v1/cells/{id}/remove", false, false, false),
        ("POST", "/v1/bootstrap", false, false, false),
    ] {
        let mut may = |who: &Identity| control(&mut decider, Asker::Identity(who), method, route, force);
        assert_eq!(may(&viewer), viewer_may, "a viewer: {method} {route}");
        assert_eq!(may(&usual), operator_may, "an operator: {method} {route}");
        assert!(may(&admin), "an admin: {method} {route}");
        assert!(!strangers.iter().any(&mut may), "others: {method} {route}");
    }
    for (role, route, may) in [
        (Role::Router, "/v1/placement", true),
        (Role::Router, "/v1/cells", false),
        (Role::Cell, "/v1/placement", false),
        (Role::Monitor, "/v1/placement", false),
        (Role::Monitor, "/metrics", true),
    ] {
        assert_eq!(control(&mut decider, Asker::Process(role), "GET", route, false), may, "{role:?} {route}");
    }
}

#[tokio::test]
async fn a_changed_policy_is_in_force_and_a_broken_one_is_ignored() {
    let folder = std::env::temp_dir().join(format!("wallet-policy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory");
    let write = |public: &str| {
        std::fs::write(folder.join("control.rego"), "package wallet.control\ndefault allow := false").expect("written");
        std::fs::write(folder.join("public.rego"), public).expect("written");
    };
    write("package wallet.public\ndefault allow := false");
    let mut decider = Decider::new(start(Some(&folder)).expect("a policy"));
    let customer = identity(json!({ "sub": "ann", "kind": "customer" }));
    let mut may = || public(&mut decider, &customer, Endpoint::Show, true);
    assert!(!may());
    write("package wallet.public\ndefault allow := false\nallow if input.own");
    let mut looks = 0;
    while !may() {
        looks += 1;
        assert!(looks < 1_000, "the new policy is not in force");
        sleep(std::time::Duration::from_millis(10)).await;
    }
    write("package wallet.public\ndefault allow := true");
    sleep(3 * WATCH_PERIOD).await;
    assert!(may() && !public(&mut decider, &customer, Endpoint::Show, false), "the one before stays");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_policy_that_admits_the_unknown_or_lacks_rules_is_refused() {
    let compile = |text: &str| Policy::compile([("x.rego".to_owned(), text.to_owned())]);
    assert!(compile("package wallet.public\ndefault allow := true").is_err());
    assert!(compile("package wallet.public\ndefault allow := false").is_err(), "no rule for the control plane");
    assert!(compile("package wallet.public\nallow if {").is_err());
}

//! The router's own part of access control: what it tells the cell of a caller. The policy is
//! tested on whole fleets.

use access::flags::{AuthFlags, TokenAlgorithm};
use access::jwt::sign::{SigningKey, key_set};
use serde_json::json;

use super::fixture::{LOW, Rig, fresh_dir};
use super::http_client::ask;
use crate::config::Access;

#[tokio::test]
async fn the_source_is_the_last_address_that_is_no_trusted_proxy() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network"), "10.0.0.0/8".parse().expect("a network")];
    let (rig, cell) = Rig::guarded(Access { trusted_proxies, ..Access::default() }).await;
    let path = format!("/api/v1/wallets/{LOW}");
    for (lines, source) in [
        (vec![], "127.0.0.1"),
        (vec![("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        (vec![("X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.0.0.9")], "1.2.3.4"),
        (vec![("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4")], "1.2.3.4"),
        (vec![("X-Forwarded-For", "1.2.3.4, nonsense")], "127.0.0.1"),
    ] {
        assert_eq!(ask(rig.running.public, "GET", &path, &lines, "").await.status, 200);
        let seen = cell.seen().pop().expect("a request").to_ascii_lowercase();
        let told: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("x-forwarded-for: ")).collect();
        assert_eq!(told, [source], "{lines:?}");
    }
}

#[tokio::test]
async fn the_cell_is_told_who_asks_and_never_sees_his_token() {
    let (key, dir) = (SigningKey::generate(), fresh_dir());
    std::fs::create_dir_all(&dir).expect("a directory");
    let jwks = dir.join("jwks.json");
    std::fs::write(&jwks, key_set(&[&key])).expect("written");
    let auth = AuthFlags {
        auth_jwks: Some(jwks.display().to_string()),
        auth_issuer: Some("issuer".into()),
        auth_audience: Some("wallet".into()),
        auth_algorithm: TokenAlgorithm::EdDsa,
        auth_ca: None,
        policy: None,
    };
    let (rig, cell) = Rig::guarded(Access { auth, ..Access::default() }).await;
    let claims = json!({ "iss": "issuer", "aud": "wallet", "kind": "operator", "role": "viewer", "sub": "joe",
        "exp": 4_000_000_000_u64 });
    let bearer = format!("Bearer {}", key.sign(&claims));
    let path = format!("/api/v1/wallets/{LOW}");
    let headers = [("Authorization", bearer.as_str()), ("X-Wallet-Actor", "service:root")];
    assert_eq!(ask(rig.running.public, "GET", &path, &headers, "").await.status, 200);
    let seen = cell.seen().pop().expect("a request");
    assert!(seen.contains("x-wallet-actor: operator:joe\r\n"), "{seen}");
    assert!(!seen.contains("root") && !seen.to_ascii_lowercase().contains("authorization"), "{seen}");
    let refused = ask(rig.running.public, "GET", &path, &[], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthenticated"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"wallet\""));
    let refused = ask(rig.running.public, "POST", &format!("{path}/deposit"), &headers, "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    assert_eq!(cell.seen().len(), 1);
    assert_eq!(ask(rig.running.public, "GET", "/openapi.yaml", &[], "").await.status, 200);
}

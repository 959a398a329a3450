//! Tokens that are none, at both doors; and keys that change.

use std::time::Duration;

use access::jwt::sign::{SigningKey, key_set};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::support::Secure;
use crate::fleet::{until, wallet_of};

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn public_key(key: &SigningKey) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(key.jwk()["x"].as_str().expect("text")).expect("base64")
}

#[tokio::test]
async fn a_token_that_is_not_right_in_everything_opens_neither_door() {
    let secure = Secure::start(1).await;
    let key = secure.secrets.signing_key().expect("the fleet's key");
    let sound = json!({ "kind": "operator", "sub": "joe", "role": "admin" });
    let with = |name: &str, value: Value| {
        let mut claims = sound.clone();
        claims[name] = value;
        secure.token(claims)
    };
    let full = json!({ "iss": "ctl-up", "aud": "wallet", "sub": "joe", "kind": "operator", "role": "admin",
        "exp": 4_000_000_000_u64 });
    let lacking = |name: &str| {
        let mut claims = full.clone();
        claims.as_object_mut().expect("an object").remove(name);
        key.sign(&claims)
    };
    let unsigned = |alg: &str| format!("{}.{}", part(&json!({ "alg": alg, "kid": key.kid })), part(&full));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public_key(&key));
    let hashed = unsigned("HS256");
    let hashed = format!("{hashed}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, hashed.as_bytes())));
    let stranger = SigningKey::generate();
    let foreign = stranger.sign(&full);
    let claimed = format!("{}.{}", unsigned("EdDSA"), foreign.rsplit('.').next().expect("three parts"));
    for (what, token, code) in [
        ("expired", with("exp", json!(1_700_000_000)), "token_expired"),
        ("of tomorrow", with("nbf", json!(3_999_999_999_u64)), "token_not_yet_valid"),
        ("another issuer's", with("iss", json!("https://another")), "token_invalid"),
        ("for others", with("aud", json!("another")), "token_invalid"),
        ("of no kind", with("kind", json!("root")), "token_invalid"),
        ("of no role", with("role", json!("root")), "token_invalid"),
        ("without exp", lacking("exp"), "token_invalid"),
        ("without aud", lacking("aud"), "token_invalid"),
        ("without iss", lacking("iss"), "token_invalid"),
        ("without sub", lacking("sub"), "token_invalid"),
        ("unsigned", format!("{}.", unsigned("none")), "token_invalid"),
        ("hashed with the public key", hashed, "token_invalid"),
        ("by an unknown key", foreign.clone(), "token_key_unknown"),
        ("by another key under a known name", claimed, "token_invalid"),
        ("oversized", with("pad", json!("x".repeat(5_000))), "token_too_large"),
        ("no token", "not.a.token".to_owned(), "token_invalid"),
    ] {
        for url in [
            format!("{}/v1/cells", secure.control_plane()),
            format!("{}/api/v1/wallets/{}", secure.router(), wallet_of("ann")),
        ] {
            let answer = secure.ask(&token, "GET", &url, "").await;
            assert_eq!((answer.status, answer.code().as_str()), (401, code), "{what}: {url}: {}", answer.text);
            assert!(answer.challenge.is_some_and(|challenge| challenge.contains("invalid_token")), "{what}");
            assert!(!answer.text.contains(&token), "{what}: it is not repeated");
        }
    }
    assert_eq!(secure.router_counted("router_problems_total{code=\"token_key_unknown\"}").await, 1.0);
    assert_eq!(
        secure.ask(&key.sign(&full), "GET", &format!("{}/v1/cells", secure.control_plane()), "").await.status,
        200
    );
    for log in ["router.log", "control-plane.log"] {
        let text = std::fs::read_to_string(secure.fleet.data().join("logs").join(log)).expect("a log");
        assert!(text.contains("turned away") && !text.contains(foreign.as_str()), "{log}");
    }
}

#[tokio::test]
async fn keys_come_into_force_and_end_without_a_restart() {
    let secure = Secure::start(1).await;
    let url = format!("{}/api/v1/wallets?userId=ann", secure.router());
    let (old, new) = (secure.secrets.signing_key().expect("a key"), SigningKey::generate());
    let claims =
        json!({ "iss": "ctl-up", "aud": "wallet", "sub": "ann", "kind": "customer", "exp": 4_000_000_000_u64 });
    let [by_old, by_new] = [&old, &new].map(|key| key.sign(&claims));
    let status = async |token: &str| secure.ask(token, "GET", &url, "").await.status;
    assert_eq!((status(&by_old).await, status(&by_new).await), (404, 401), "404: ann has no wallet yet");
    std::fs::write(secure.secrets.key_set(), key_set(&[&old, &new])).expect("written");
    until(20, "the new key is known", async || status(&by_new).await == 404).await;
    assert_eq!(status(&by_old).await, 404);
    // What cannot be used leaves the keys that are known.
    std::fs::write(secure.secrets.key_set(), "{").expect("written");
    until(20, "the broken key set was met", async || {
        secure.router_counted("access_keys_refreshed_total{outcome=\"failed\"}").await >= 1.0
    })
    .await;
    assert_eq!((status(&by_old).await, status(&by_new).await), (404, 404));
    std::fs::write(secure.secrets.key_set(), key_set(&[&new])).expect("written");
    until(20, "the old key is forgotten", async || status(&by_old).await == 401).await;
    assert_eq!(status(&by_new).await, 404);
    let minted = secure.secrets.mint(json!({ "kind": "customer", "sub": "ann" }), Duration::from_secs(60));
    assert_eq!(status(&minted.expect("signs")).await, 401, "the key that is withdrawn signs in vain");
}

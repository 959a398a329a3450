//! What a guard remembers, and when it has to forget.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::jwt::sign::{SigningKey, key_set};
use crate::policy;
use jsonwebtoken::Algorithm;

const NOW_S: u64 = 1_800_000_000;

fn keys(key: &SigningKey) -> KeySet {
    KeySet::parse(key_set(&[key]).as_bytes(), Algorithm::EdDSA).expect("a key set")
}

fn gate(key: &SigningKey) -> Gate {
    let (issuer, audience, namespace) = ("issuer".into(), "wallet".into(), Uuid::nil());
    let expected = Arc::new(Expected { issuer, audience, algorithm: Algorithm::EdDSA, namespace });
    let policy = policy::start(None).expect("the shipped policy");
    Gate { expected, keys: Keys::fixed(keys(key)), policy }
}

fn line(key: &SigningKey) -> HeaderValue {
    let claims = json!({ "iss": "issuer", "aud": "wallet", "sub": "ann", "kind": "customer", "exp": NOW_S + 60 });
    HeaderValue::from_str(&format!("Bearer {}", key.sign(&claims))).expect("ASCII")
}

#[test]
fn a_remembered_token_expires_and_goes_with_its_key() {
    let (key, next) = (SigningKey::generate(), SigningKey::generate());
    let gate = gate(&key);
    let mut guard = Guard::new(gate.clone());
    let line = line(&key);
    let mut ask = |now_s| guard.authenticate([&line].into_iter(), now_s).map(|caller| caller.actor.clone());
    assert_eq!(ask(NOW_S), Ok(HeaderValue::from_static("customer:ann")));
    assert_eq!(ask(NOW_S + 1), Ok(HeaderValue::from_static("customer:ann")));
    assert_eq!(ask(NOW_S + 60 + crate::limits::LEEWAY_S), Err(Denied::TokenExpired));
    gate.keys.current.store(Arc::new(keys(&next)));
    assert_eq!(ask(NOW_S), Err(Denied::TokenKeyUnknown), "its key was withdrawn");
}

#[test]
fn one_line_with_a_bearer_token_is_needed() {
    let key = SigningKey::generate();
    let mut guard = Guard::new(gate(&key));
    let sound = line(&key);
    let basic = HeaderValue::from_static("Basic dXNlcjpwYXNz");
    let long = HeaderValue::from_str(&format!("Bearer {}", "x".repeat(TOKEN_MAX_BYTES + 1))).expect("ASCII");
    for (lines, refusal) in [
        (vec![], Denied::Unauthenticated),
        (vec![&basic], Denied::Unauthenticated),
        (vec![&long], Denied::TokenTooLarge),
        (vec![&sound, &sound], Denied::TokenInvalid),
    ] {
        assert_eq!(guard.authenticate(lines.into_iter(), NOW_S).expect_err("refused"), refusal);
    }
}

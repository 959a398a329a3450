//! Tokens that are taken, and every way not to be one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::sign::{SigningKey, key_set};
use super::*;
use crate::identity::Kind;

const NOW_S: u64 = 1_800_000_000;

fn expected(algorithm: Algorithm) -> Expected {
    Expected { issuer: "https://issuer".into(), audience: "wallet".into(), algorithm, namespace: Uuid::from_u128(7) }
}

fn claims() -> Value {
    json!({ "iss": "https://issuer", "aud": "wallet", "sub": "ann", "kind": "customer", "exp": NOW_S + 60 })
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn lacking(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[test]
fn a_token_is_taken_only_if_everything_about_it_is_right() {
    let (key, stranger) = (SigningKey::generate(), SigningKey::generate());
    let keys = KeySet::parse(key_set(&[&key]).as_bytes(), Algorithm::EdDSA).expect("a key set");
    let check = |token: &str| verify(token, &expected(Algorithm::EdDSA), &keys, NOW_S).map(|identity| identity.kind);
    assert_eq!(check(&key.sign(&claims())), Ok(Kind::Customer));
    assert_eq!(check(&key.sign(&changed("aud", json!(["other", "wallet"])))), Ok(Kind::Customer));
    assert_eq!(check(&key.sign(&changed("exp", json!(NOW_S - LEEWAY_S + 1)))), Ok(Kind::Customer), "within the leeway");
    for (claims, refusal) in [
        (changed("exp", json!(NOW_S - LEEWAY_S)), Denied::TokenExpired),
        (changed("nbf", json!(NOW_S + LEEWAY_S + 1)), Denied::TokenNotYetValid),
        (changed("nbf", json!("soon")), Denied::TokenInvalid),
        (changed("iss", json!("https://another")), Denied::TokenInvalid),
        (changed("aud", json!("another")), Denied::TokenInvalid),
        (changed("kind", json!("god")), Denied::TokenInvalid),
        (changed("exp", json!("tomorrow")), Denied::TokenInvalid),
        (lacking("exp"), Denied::TokenInvalid),
        (lacking("aud"), Denied::TokenInvalid),
        (lacking("iss"), Denied::TokenInvalid),
        (lacking("sub"), Denied::TokenInvalid),
        (lacking("kind"), Denied::TokenInvalid),
    ] {
        assert_eq!(check(&key.sign(&claims)), Err(refusal), "{claims}");
    }
    assert_eq!(check(&stranger.sign(&claims())), Err(Denied::TokenKeyUnknown));
    let long = key.sign(&changed("pad", json!("x".repeat(TOKEN_MAX_BYTES))));
    assert_eq!(check(&long), Err(Denied::TokenTooLarge));
    for text in ["", ".", "..", "a.b.c", "x", &key.sign(&claims())[1..]] {
        assert_eq!(check(text), Err(Denied::TokenInvalid), "{text:?}");
    }
}

#[test]
fn a_header_cannot_choose_how_it_is_checked() {
    let (key, stranger) = (SigningKey::generate(), SigningKey::generate());
    let keys = KeySet::parse(key_set(&[&key]).as_bytes(), Algorithm::EdDSA).expect("a key set");
    let check = |token: &str| verify(token, &expected(Algorithm::EdDSA), &keys, NOW_S).map(|identity| identity.kind);
    let unsigned = |alg: &str| format!("{}.{}", part(&json!({ "alg": alg, "kid": key.kid })), part(&claims()));
    for alg in ["none", "None", "HS256", "RS256", "ES256"] {
        assert_eq!(check(&format!("{}.", unsigned(alg))), Err(Denied::TokenInvalid), "{alg}");
    }
    // The public key as the secret of a keyed hash: what a verifier that trusts `alg` would take.
    let public = URL_SAFE_NO_PAD.decode(key.jwk()["x"].as_str().expect("text")).expect("base64");
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
    let text = unsigned("HS256");
    let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, text.as_bytes()));
    assert_eq!(check(&format!("{text}.{tag}")), Err(Denied::TokenInvalid));
    // The name of a known key over another's signature; and another's key brought along.
    let foreign = stranger.sign(&claims());
    let signature = foreign.rsplit('.').next().expect("three parts");
    assert_eq!(check(&format!("{}.{signature}", unsigned("EdDSA"))), Err(Denied::TokenInvalid));
    let brought = json!({ "alg": "EdDSA", "jwk": stranger.jwk() });
    let mixed = format!("{}.{}.{signature}", part(&brought), part(&claims()));
    assert_eq!(check(&mixed), Err(Denied::TokenInvalid));
    let critical = format!("{}.{}.{signature}", part(&json!({ "alg": "EdDSA", "crit": ["x"] })), part(&claims()));
    assert_eq!(check(&critical), Err(Denied::TokenInvalid));
}

#[test]
fn keys_of_another_kind_or_use_are_passed_over() {
    let key = SigningKey::generate();
    let with = |name: &str, value: &str| {
        let mut jwk = key.jwk();
        jwk[name] = value.into();
        json!({ "keys": [{ "kty": "unheard of" }, jwk] }).to_string()
    };
    assert!(KeySet::parse(with("use", "sig").as_bytes(), Algorithm::EdDSA).is_ok());
    for (text, algorithm) in [
        (with("use", "enc"), Algorithm::EdDSA),
        (with("alg", "ES256"), Algorithm::EdDSA),
        (with("use", "sig"), Algorithm::RS256),
        (json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] }).to_string(), Algorithm::EdDSA),
        ("{}".into(), Algorithm::EdDSA),
    ] {
        assert!(KeySet::parse(text.as_bytes(), algorithm).is_err(), "{text}");
    }
}

#[test]
fn es256_is_checked_too() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": x, "y": y });
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), Algorithm::ES256).expect("a key set");
    let text = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": "ec" })), part(&claims()));
    let signature = pair.sign(&random, text.as_bytes()).expect("signs");
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert!(verify(&token, &expected(Algorithm::ES256), &keys, NOW_S).is_ok());
    assert_eq!(verify(&token, &expected(Algorithm::EdDSA), &keys, NOW_S), Err(Denied::TokenInvalid));
    let other = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": "ec" })), part(&changed("sub", json!("bob"))));
    let moved = format!("{other}.{}", token.rsplit('.').next().expect("three parts"));
    assert_eq!(verify(&moved, &expected(Algorithm::ES256), &keys, NOW_S), Err(Denied::TokenInvalid));
}

/// A token signed with `openssl dgst -sha256 -sign` by a key that is kept nowhere, and that key's modulus: ring makes no
/// RSA keys.
const RSA_TOKEN: &str = concat!(
    "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInJzYSJ9.eyJpc3MiOiAiaHR0cHM6Ly9pc3N1ZXIiLCAiYXVkIjogIndhbGxldCI",
    "sICJzdWIiOiAiYW5uIiwgImtpbmQiOiAiY3VzdG9tZXIiLCAiZXhwIjogMTgwMDAwMDA2MH0.V3oKE3iBh42FDoGYdO_M8UY",
    "ICyxtP5LfYS6Yzv1soUgs6ET-_82hV5OwP1JfeNKYI0tS9cd0lYvjHX1yas_dq2a2v04zRka5yFiPK5fYKOslG7P0WE--dVl",
    "rbmYeQrVhPp2eMcUipxQhnO94Ff9bkHp9qJvedrdmA4qKucIabA-9XtJ_owZkWGsV7aOnLuQ8YAQORDLKmb-ryAZ6V2E_AW2",
    "zpvbUumCzqTijg4xjUSjNLDwVmMaUS6Fb6bPTViibDldm6c6uV6BID_FGApV9eC5-hoIt-ZDibCzf9dyZgPDj3f0eRZkjruW",
    "Zo-VNG0PsGBphl1xGSpmnh-xQFas3IQ",
);
const RSA_MODULUS: &str = concat!(
    "qA-cpMGwN7kEAbt-BNDOLgcZMp7GYUzaFksf7sqRDUQeJ7Imvdwv99PuKg6fu4gtR4qDOHl9AoRxokzbUHLfRxkAQ32D3xKd",
    "8XITMcwOMaUyB2xYkOQ4bbX-egIARzRf0BtE3jKqksXGTgtMeBDe23pZUMez4xsT1M1Bw63cHzcWDrF69V3G3asgiL6FFmoi",
    "e2a3i0dn0_kHxE8fE6fFzti2aaGin3AmEUPk7RTfxy4IStmHN7VWPNG_mhmtGqqDDaI9p_RBj1KfOL3ww6le2-flg4mHeQIn",
    "-_EQrTcZR_0kilKeszns7fw4FBZQHGwRpPe7a1u3COB5-cul8ukRlw",
);

#[test]
fn rs256_is_checked_too() {
    let jwk = json!({ "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": RSA_MODULUS, "e": "AQAB" });
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), Algorithm::RS256).expect("a key set");
    let check = |token: &str| verify(token, &expected(Algorithm::RS256), &keys, NOW_S).map(|identity| identity.kind);
    assert_eq!(check(RSA_TOKEN), Ok(Kind::Customer));
    let (signed, signature) = RSA_TOKEN.rsplit_once('.').expect("three parts");
    let other = format!("{}.{}", part(&json!({ "alg": "RS256", "kid": "rsa" })), part(&changed("sub", json!("bob"))));
    assert_eq!(check(&format!("{other}.{signature}")), Err(Denied::TokenInvalid));
    assert_eq!(check(&format!("{signed}.")), Err(Denied::TokenInvalid));
}

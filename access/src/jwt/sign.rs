//! Makes tokens and the key set that goes with them: for a developer's own fleet and for tests. A real deployment's
//! tokens come from its identity provider.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::ring_provider;

#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 key in PKCS#8")]
pub struct BadKey;

/// An Ed25519 key with its name.
pub struct SigningKey {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
    pub kid: String,
}

impl SigningKey {
    pub fn generate() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system has randomness");
        Self::from_pkcs8(made.as_ref()).expect("it has just been made")
    }

    /// The name follows from the key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| BadKey)?;
        let public = pair.public_key().as_ref().to_vec();
        let kid = URL_SAFE_NO_PAD.encode(&public[..8]);
        Ok(Self { pkcs8: pkcs8.to_vec(), public, kid })
    }

    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// This key as an entry of a key set.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(&self.public);
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x })
    }

    pub fn sign(&self, claims: &Value) -> String {
        ring_provider::install();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ed_der(&self.pkcs8);
        encode(&header, claims, &key).expect("the key is sound and claims are JSON")
    }
}

/// The text of a key set.
pub fn key_set(keys: &[&SigningKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

//! An issuer's public keys (RFC 7517). Pure.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::limits::{KEY_SET_MAX_BYTES, KEYS_MAX};

#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("more than {KEY_SET_MAX_BYTES} bytes")]
    TooLarge,
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    #[error("no key set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no key in it that is meant for the signatures of this deployment")]
    NoneUsable,
}

#[derive(Default)]
pub struct KeySet {
    keys: Vec<(Option<String>, DecodingKey)>,
    /// What it was read from, to tell whether another is the same.
    text: Vec<u8>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Takes the keys that are for signatures of this algorithm; passes over those that are not, or not understood.
    pub fn parse(text: &[u8], algorithm: Algorithm) -> Result<Self, KeySetError> {
        if text.len() > KEY_SET_MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document: Document = serde_json::from_slice(text)?;
        if document.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let understood = document.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = understood
            .filter(|key| is_for(key, algorithm))
            .filter_map(|key| Some((key.common.key_id.clone(), DecodingKey::from_jwk(&key).ok()?)))
            .collect();
        if keys.is_empty() { Err(KeySetError::NoneUsable) } else { Ok(Self { keys, text: text.to_vec() }) }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// The key of this name. A token that names none is taken for one of the only key.
    pub fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match kid {
            Some(kid) => self.keys.iter().find(|(name, _)| name.as_deref() == Some(kid)).map(|(_, key)| key),
            None if self.keys.len() == 1 => self.keys.first().map(|(_, key)| key),
            None => None,
        }
    }
}

fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    if common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return false;
    }
    let (named, fits) = match (algorithm, &key.algorithm) {
        (Algorithm::EdDSA, AlgorithmParameters::OctetKeyPair(key)) => {
            (KeyAlgorithm::EdDSA, key.curve == EllipticCurve::Ed25519)
        }
        (Algorithm::ES256, AlgorithmParameters::EllipticCurve(key)) => {
            (KeyAlgorithm::ES256, key.curve == EllipticCurve::P256)
        }
        (Algorithm::RS256, AlgorithmParameters::RSA(_)) => (KeyAlgorithm::RS256, true),
        _ => return false,
    };
    fits && common.key_algorithm.is_none_or(|algorithm| algorithm == named)
}

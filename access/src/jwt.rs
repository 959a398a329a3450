//! A bearer token becomes an [`Identity`], or is refused. What the token says of itself decides nothing: issuer,
//! audience and algorithm are the configuration's, the key is one of the issuer's, and the time is the caller's.

pub mod keys;
mod ring_provider;
pub mod sign;
pub mod source;

use std::collections::HashSet;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use uuid::Uuid;

use crate::denied::Denied;
use crate::identity::{Claims, Identity};
use crate::limits::{LEEWAY_S, TOKEN_MAX_BYTES};
use keys::KeySet;

/// What a token has to be.
#[derive(Debug, Clone)]
pub struct Expected {
    pub issuer: String,
    pub audience: String,
    pub algorithm: Algorithm,
    /// Wallet ids derive from user ids in it.
    pub namespace: Uuid,
}

/// The algorithms on offer. Those with a shared secret are not: a process that can check such a
/// token can make one.
pub const ALGORITHMS: [(&str, Algorithm); 3] =
    [("EdDSA", Algorithm::EdDSA), ("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256)];

/// Whether the token may still be used at `now_s`, in seconds since 1970.
pub fn is_expired(expires_s: u64, now_s: u64) -> bool {
    now_s >= expires_s.saturating_add(LEEWAY_S)
}

/// Verifies a token with these keys at `now_s`, in seconds since 1970.
pub fn verify(token: &str, expected: &Expected, keys: &KeySet, now_s: u64) -> Result<Identity, Denied> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(Denied::TokenTooLarge);
    }
    ring_provider::install();
    let header = decode_header(token).map_err(|_| Denied::TokenInvalid)?;
    // Extensions that a token calls critical must be understood (RFC 7515, 4.1.11), and none is.
    if header.alg != expected.algorithm || header.crit.is_some() {
        return Err(Denied::TokenInvalid);
    }
    if keys.is_empty() {
        return Err(Denied::KeysUnavailable);
    }
    let key = keys.find(header.kid.as_deref()).ok_or(Denied::TokenKeyUnknown)?;
    let claims = decode::<Claims>(token, key, &validation(expected)).map_err(|error| refusal(error.kind()))?.claims;
    if claims.nbf.is_some_and(|nbf| !nbf.is_finite() || nbf > (now_s.saturating_add(LEEWAY_S)) as f64) {
        return Err(Denied::TokenNotYetValid);
    }
    let identity = Identity::new(claims, expected.namespace)?;
    if is_expired(identity.expires_s, now_s) { Err(Denied::TokenExpired) } else { Ok(identity) }
}

/// Times are checked above, with the caller's clock.
fn validation(expected: &Expected) -> Validation {
    let mut validation = Validation::new(expected.algorithm);
    validation.required_spec_claims = HashSet::from(["exp", "aud", "iss", "sub"].map(str::to_owned));
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_issuer(&[&expected.issuer]);
    validation.set_audience(&[&expected.audience]);
    validation
}

fn refusal(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::ExpiredSignature => Denied::TokenExpired,
        ErrorKind::ImmatureSignature => Denied::TokenNotYetValid,
        _ => Denied::TokenInvalid,
    }
}

#[cfg(test)]
mod tests;

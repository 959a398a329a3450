//! The door: tokens to callers, callers and questions to yes or no. A [`Gate`] is what a process
//! shares; each thread has a [`Guard`] of its own, which remembers the callers that it has let in.

use std::collections::HashMap;
use std::sync::Arc;

use ::http::HeaderValue;
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::denied::Denied;
use crate::identity::Identity;
use crate::jwt::keys::KeySet;
use crate::jwt::source::Keys;
use crate::jwt::{self, Expected};
use crate::limits::{TOKEN_MAX_BYTES, TOKENS_REMEMBERED_MAX};
use crate::policy::{Asker, Decider, Question, SharedPolicy};

#[derive(Clone)]
pub struct Gate {
    pub expected: Arc<Expected>,
    pub keys: Keys,
    pub policy: SharedPolicy,
}

/// The caller, with its name as it is passed on.
#[derive(Debug)]
pub struct Caller {
    pub identity: Identity,
    /// The value of `x-wallet-actor`.
    pub actor: HeaderValue,
}

type Seen = HashMap<[u8; 32], Arc<Caller>>;

pub struct Guard {
    gate: Gate,
    decider: Decider,
    /// Those that `young` and `old` were verified with.
    keys: Arc<KeySet>,
    /// By hash of the token: what is remembered must not be worth stealing. When `young` is full it becomes `old`, and
    /// what was used of the old since then has moved over.
    young: Seen,
    old: Seen,
}

impl Guard {
    pub fn new(gate: Gate) -> Self {
        let (decider, keys) = (Decider::new(Arc::clone(&gate.policy)), gate.keys.current.load_full());
        Self { gate, decider, keys, young: HashMap::new(), old: HashMap::new() }
    }

    /// The caller behind these `Authorization` lines, of which there has to be one. `now_s`: seconds since 1970.
    pub fn authenticate<'a>(
        &mut self,
        mut lines: impl Iterator<Item = &'a HeaderValue>,
        now_s: u64,
    ) -> Result<Arc<Caller>, Denied> {
        let line = lines.next().ok_or(Denied::Unauthenticated)?;
        if lines.next().is_some() {
            return Err(Denied::TokenInvalid);
        }
        let token = bearer(line)?;
        let keys: &ArcSwap<KeySet> = &self.gate.keys.current;
        if !Arc::ptr_eq(&keys.load(), &self.keys) {
            (self.young, self.old) = Default::default();
            self.keys = keys.load_full();
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(caller) = self.recall(&hash) {
            let is_expired = jwt::is_expired(caller.identity.expires_s, now_s);
            return if is_expired { Err(Denied::TokenExpired) } else { Ok(caller) };
        }
        let verified = jwt::verify(token, &self.gate.expected, &self.keys, now_s);
        if verified == Err(Denied::TokenKeyUnknown) {
            self.gate.keys.want_newer();
        }
        let identity = verified?;
        let actor = HeaderValue::from_str(&identity.actor()).map_err(|_| Denied::TokenInvalid)?;
        let caller = Arc::new(Caller { identity, actor });
        self.remember(hash, &caller);
        Ok(caller)
    }

    fn recall(&mut self, hash: &[u8; 32]) -> Option<Arc<Caller>> {
        if let Some(caller) = self.young.get(hash) {
            return Some(Arc::clone(caller));
        }
        let caller = self.old.remove(hash)?;
        self.remember(*hash, &caller);
        Some(caller)
    }

    fn remember(&mut self, hash: [u8; 32], caller: &Arc<Caller>) {
        if self.young.len() >= TOKENS_REMEMBERED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, Arc::clone(caller));
    }

    /// Whether the policy allows it.
    pub fn authorize(&mut self, asker: Asker<'_>, question: Question) -> Result<(), Denied> {
        if self.decider.allows(asker, question) { Ok(()) } else { Err(Denied::Forbidden) }
    }
}

/// The token of `Bearer <token>`.
fn bearer(line: &HeaderValue) -> Result<&str, Denied> {
    const SCHEME: &str = "bearer ";
    if line.len() > SCHEME.len() + TOKEN_MAX_BYTES {
        return Err(Denied::TokenTooLarge);
    }
    let text = line.to_str().map_err(|_| Denied::TokenInvalid)?;
    let (scheme, token) = text.split_at_checked(SCHEME.len()).ok_or(Denied::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case(SCHEME) { Ok(token) } else { Err(Denied::Unauthenticated) }
}

#[cfg(test)]
mod tests;

//! A visitor of the page, and the permitted actions.
//!
//! It must never permit what the policy of the HTTP API does not.

use std::sync::Arc;

use access::Denied;
use access::guard::Caller;
use axum::http::HeaderValue;

use super::actions::Action;
use super::paths::HOME;
use crate::api::authentication::Authenticator;

#[derive(Clone)]
pub struct Visitor {
    /// None on an open fleet.
    known: Option<Known>,
    /// Every form of the visitor carries it.
    pub seal: String,
}

#[derive(Clone)]
struct Known {
    authenticator: Authenticator,
    caller: Arc<Caller>,
    token: String,
}

impl Visitor {
    /// Of an open fleet.
    pub fn unauthenticated(seal: String) -> Self {
        Self { known: None, seal }
    }

    /// Of a secure fleet, with the caller that [`caller`] found.
    pub fn authenticated(authenticator: Authenticator, caller: Arc<Caller>, token: String, seal: String) -> Self {
        Self { known: Some(Known { authenticator, caller, token }), seal }
    }

    pub fn is_unauthenticated(&self) -> bool {
        self.known.is_none()
    }

    /// `operator:joe`, and the role.
    pub fn name(&self) -> Option<(String, &'static str)> {
        let identity = &self.known.as_ref()?.caller.identity;
        Some((identity.actor(), identity.role.unwrap_or("no role")))
    }

    /// Whether the policy would allow it; it is asked again when it is done.
    pub fn may(&self, action: &Action) -> bool {
        let Some(Known { authenticator, caller, .. }) = &self.known else { return true };
        authenticator.may(caller, "POST", action.route, action.force)
    }

    pub fn authorization(&self) -> Option<HeaderValue> {
        self.known.as_ref().map(|known| bearer(&known.token))
    }

    /// Seconds since 1970 from which on the visitor has to sign in again.
    pub fn expires_s(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.caller.identity.expires_s)
    }
}

fn bearer(token: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("Bearer {token}")).expect("a token's characters")
}

/// The caller with this token, if the policy lets it see the page.
pub fn caller(authenticator: &Authenticator, token: &str) -> Result<Arc<Caller>, Denied> {
    let caller = authenticator.caller(&bearer(token))?;
    if authenticator.may(&caller, "GET", HOME, false) { Ok(caller) } else { Err(Denied::Forbidden) }
}

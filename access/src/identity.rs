//! The identity of a caller, as a verified token says. Pure.

use std::sync::Arc;

use serde::Deserialize;
use topology::{UserId, WalletId};
use uuid::Uuid;

use crate::denied::Denied;
use crate::limits::{NAME_MAX_BYTES, SCOPES_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `sub` is the user id.
    Customer,
    /// A program; `scope` lists what it may do.
    Service,
    /// A person that runs the deployment; `role` is viewer, operator or admin.
    Operator,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Service => "service",
            Self::Operator => "operator",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    Viewer,
    Operator,
    Admin,
}

impl OperatorRole {
    fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// The claims that are read of a token; issuer and audience are checked before.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub kind: Kind,
    /// As in OAuth: words with one space between them.
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub role: Option<OperatorRole>,
    /// Seconds since 1970; a fraction is allowed by RFC 7519.
    pub exp: f64,
    #[serde(default)]
    pub nbf: Option<f64>,
}

#[derive(Debug, PartialEq)]
pub struct Identity {
    pub kind: Kind,
    pub subject: String,
    /// Sorted, each once.
    pub scopes: Vec<String>,
    pub role: Option<&'static str>,
    /// A customer's own wallet.
    pub own_wallet: Option<WalletId>,
    /// All that the policy sees of the identity, as one word: identities of one class get the same
    /// decision.
    pub class: Arc<str>,
    /// Seconds since 1970.
    pub expires_s: u64,
}

impl Identity {
    /// Wallet ids derive from user ids in `namespace`.
    pub fn new(claims: Claims, namespace: Uuid) -> Result<Self, Denied> {
        let own_wallet = match claims.kind {
            Kind::Customer => {
                let user = UserId::parse(claims.sub.as_str()).map_err(|_| Denied::TokenInvalid)?;
                Some(WalletId::for_user(namespace, &user))
            }
            Kind::Service | Kind::Operator if is_name(&claims.sub) => None,
            Kind::Service | Kind::Operator => return Err(Denied::TokenInvalid),
        };
        let mut scopes: Vec<String> = match claims.kind {
            Kind::Service => claims.scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
            Kind::Customer | Kind::Operator => vec![],
        };
        scopes.sort_unstable();
        scopes.dedup();
        let role = match (claims.kind, claims.role) {
            (Kind::Operator, Some(role)) => Some(role.name()),
            (Kind::Operator, None) => return Err(Denied::TokenInvalid),
            (Kind::Customer | Kind::Service, _) => None,
        };
        if scopes.len() > SCOPES_MAX || !claims.exp.is_finite() || claims.exp < 0.0 {
            return Err(Denied::TokenInvalid);
        }
        let class = format!("{} {} {}", claims.kind.name(), role.unwrap_or_default(), scopes.join(" "));
        // A float this large saturates: a token that never expires is the issuer's to give.
        let expires_s = claims.exp as u64;
        Ok(Self { kind: claims.kind, subject: claims.sub, scopes, role, own_wallet, class: class.into(), expires_s })
    }

    /// As it is passed on to the cells and recorded: `customer:ann`, `service:cards`, `operator:joe`. What is no visible
    /// ASCII, and `%`, is written as in a URL, since it travels in a header.
    pub fn actor(&self) -> String {
        let mut actor = format!("{}:", self.kind.name());
        for byte in self.subject.bytes() {
            match byte {
                b'%' => actor.push_str("%25"),
                0x21..=0x7e => actor.push(char::from(byte)),
                other => actor.push_str(&format!("%{other:02X}")),
            }
        }
        actor
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(json: &str) -> Result<Identity, Denied> {
        let claims = serde_json::from_str(json).map_err(|_| Denied::TokenInvalid)?;
        Identity::new(claims, Uuid::from_u128(7))
    }

    #[test]
    fn claims_become_an_identity_or_nothing() {
        let ann = identity(r#"{"sub":"ann","kind":"customer","scope":"deposit","exp":5}"#).expect("sound");
        let wallet = WalletId::for_user(Uuid::from_u128(7), &UserId::parse("ann").expect("sound"));
        assert_eq!((ann.own_wallet, ann.scopes.len(), ann.actor().as_str()), (Some(wallet), 0, "customer:ann"));
        let cards =
            identity(r#"{"sub":"cards","kind":"service","scope":"hold  deposit hold","exp":5}"#).expect("sound");
        assert_eq!((&*cards.class, cards.own_wallet), ("service  deposit hold", None));
        let odd = identity(r#"{"sub":"J\u00fcr gen%","kind":"customer","exp":5}"#).expect("sound");
        assert_eq!(odd.actor(), "customer:J%C3%BCr%20gen%25");
        for unsound in [
            r#"{"sub":"","kind":"customer","exp":5}"#,
            r#"{"sub":"joe","kind":"operator","exp":5}"#,
            r#"{"sub":"joe","kind":"operator","role":"root","exp":5}"#,
            r#"{"sub":"two words","kind":"service","exp":5}"#,
            r#"{"sub":"ann","exp":5}"#,
            r#"{"sub":"ann","kind":"customer"}"#,
            r#"{"sub":"ann","kind":"customer","exp":-1}"#,
        ] {
            assert_eq!(identity(unsound), Err(Denied::TokenInvalid), "{unsound}");
        }
    }
}

//! Why a caller is turned away. The codes are part of the public API; none tells which of several checks a forged token
//! would have passed.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    #[error("a bearer token is needed: Authorization: Bearer <token>")]
    Unauthenticated,
    #[error("the token has expired; get a new one")]
    TokenExpired,
    #[error("the token is not valid yet")]
    TokenNotYetValid,
    #[error("the token is not one that this deployment takes")]
    TokenInvalid,
    #[error("the token is larger than {max} bytes", max = crate::limits::TOKEN_MAX_BYTES)]
    TokenTooLarge,
    #[error("the token is signed with a key that is not known yet; if it is new, ask again in some seconds")]
    TokenKeyUnknown,
    #[error("the keys of the token's issuer have not been learnt yet; nothing was done")]
    KeysUnavailable,
    #[error("you may not do this")]
    Forbidden,
}

impl Denied {
    pub fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::KeysUnavailable => 503,
            _ => 401,
        }
    }

    pub fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenInvalid => "token_invalid",
            Self::TokenTooLarge => "token_too_large",
            Self::TokenKeyUnknown => "token_key_unknown",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Forbidden => "forbidden",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Authentication is required",
            Self::TokenExpired => "Token expired",
            Self::TokenNotYetValid => "Token not yet valid",
            Self::TokenInvalid => "Token invalid",
            Self::TokenTooLarge => "Token too large",
            Self::TokenKeyUnknown => "Key unknown",
            Self::KeysUnavailable => "Keys unavailable",
            Self::Forbidden => "Not allowed",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750), where the status asks for one.
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => Some("Bearer realm=\"wallet\""),
            Self::TokenExpired => {
                Some("Bearer realm=\"wallet\", error=\"invalid_token\", error_description=\"expired\"")
            }
            Self::Forbidden => Some("Bearer realm=\"wallet\", error=\"insufficient_scope\""),
            Self::KeysUnavailable => None,
            _ => Some("Bearer realm=\"wallet\", error=\"invalid_token\""),
        }
    }

    /// Counts the refusal, by code: they come from a closed set.
    pub fn count(self) {
        metrics::counter!("access_denied_total", "code" => self.code()).increment(1);
    }
}

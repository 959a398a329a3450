//! Reads the one field of a body that the request is routed by, and nothing else: the cell checks the rest.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use topology::{UserId, WalletId};

use crate::failure::Failure;

#[derive(Deserialize)]
struct Create<'a> {
    #[serde(borrow, rename = "userId")]
    user_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Transfer<'a> {
    #[serde(borrow, rename = "fromWalletId")]
    from_wallet_id: Option<&'a RawValue>,
}

/// A JSON string, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub fn user_of(body: &[u8]) -> Result<UserId, Failure> {
    const FIELD: &str = "userId";
    let create: Create<'_> = parse(body)?;
    let user = create.user_id.ok_or(Failure::MissingField(FIELD))?;
    let Text(user) = serde_json::from_str(user.get()).map_err(|_| Failure::WrongType(FIELD))?;
    UserId::parse(user).map_err(|_| Failure::InvalidUserId)
}

pub fn payer_of(body: &[u8]) -> Result<WalletId, Failure> {
    const FIELD: &str = "fromWalletId";
    let transfer: Transfer<'_> = parse(body)?;
    let from = transfer.from_wallet_id.ok_or(Failure::MissingField(FIELD))?;
    let Text(from) = serde_json::from_str(from.get()).map_err(|_| Failure::WrongType(FIELD))?;
    from.parse().map_err(|_| Failure::InvalidWalletId)
}

/// serde's derive reads arrays as structs too; an object is the only thing the API takes.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::MalformedJson("not an object".into()));
    }
    serde_json::from_slice(body).map_err(|error| Failure::MalformedJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_gives_its_route_or_says_what_is_wrong() {
        let malformed = |body: &str| matches!(payer_of(body.as_bytes()), Err(Failure::MalformedJson(_)));
        assert_eq!(user_of(br#"{"x":[1],"userId":"a\u0062"}"#).expect("sound").as_str(), "ab");
        assert_eq!(user_of(br#"{"userId":5}"#), Err(Failure::WrongType("userId")));
        assert_eq!(user_of(br#"{"userId":""}"#), Err(Failure::InvalidUserId));
        assert_eq!(user_of(b"{}"), Err(Failure::MissingField("userId")));
        assert_eq!(payer_of(b"{}"), Err(Failure::MissingField("fromWalletId")));
        assert_eq!(payer_of(br#"{"fromWalletId":7}"#), Err(Failure::WrongType("fromWalletId")));
        assert_eq!(payer_of(br#"{"fromWalletId":"7"}"#), Err(Failure::InvalidWalletId));
        for body in ["", "[]", "[\"x\"]", "{", "{}x", r#"{"fromWalletId":"a","fromWalletId":"b"}"#] {
            assert!(malformed(body), "{body}");
        }
    }
}

//! Request bodies: read within bounds of size and time, and parsed field by field, so that what is wrong can be said.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ledger::Money;
use serde::Deserialize;
use serde_json::value::RawValue;
use topology::{UserId, WalletId};

use super::problem::Fault;
use super::{BODY_TIMEOUT, MAX_BODY_BYTES};

pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let json = match headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(kind) => kind.to_str().is_ok_and(|kind| {
            let media = kind.split(';').next().unwrap_or("").trim();
            media.eq_ignore_ascii_case("application/json")
        }),
    };
    if !json {
        return Err(Fault::UnsupportedMediaType);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Err(_) => Err(Fault::BodyTimeout),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::BodyTooLarge),
        Ok(Err(error)) => Err(Fault::MalformedJson(error.to_string())),
    }
}

/// Every field that some request has; what a request needs of them is asked for one by one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    from_wallet_id: Option<&'a RawValue>,
    #[serde(borrow)]
    to_wallet_id: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        let trimmed = bytes.trim_ascii_start();
        if !trimmed.is_empty() && trimmed[0] != b'{' && serde_json::from_slice::<&RawValue>(bytes).is_ok() {
            return Err(Fault::WrongType("the body", "a JSON object"));
        }
        serde_json::from_slice(bytes).map_err(|error| Fault::MalformedJson(error.to_string()))
    }

    pub fn user_id(&self) -> Result<UserId, Fault> {
        let text = string("userId", self.user_id)?;
        UserId::parse(text).map_err(Fault::UserId)
    }

    pub fn payer(&self) -> Result<WalletId, Fault> {
        string("fromWalletId", self.from_wallet_id)?.parse().map_err(Fault::WalletId)
    }

    pub fn payee(&self) -> Result<WalletId, Fault> {
        string("toWalletId", self.to_wallet_id)?.parse().map_err(Fault::WalletId)
    }

    /// A JSON number or string. The number's own text is read: it never passes through a float.
    pub fn amount(&self) -> Result<Money, Fault> {
        let raw = present("amount", self.amount)?;
        match raw.as_bytes().first() {
            Some(b'"') => Money::parse_amount(&string("amount", self.amount)?),
            Some(b'-' | b'0'..=b'9') => Money::parse_amount(raw),
            _ => return Err(Fault::WrongType("amount", "a number or a string")),
        }
        .map_err(Fault::Amount)
    }
}

/// An explicit `null` is a missing field.
fn present<'a>(name: &'static str, value: Option<&'a RawValue>) -> Result<&'a str, Fault> {
    value.map(RawValue::get).filter(|raw| *raw != "null").ok_or(Fault::MissingField(name))
}

fn string(name: &'static str, value: Option<&RawValue>) -> Result<String, Fault> {
    let raw = present(name, value)?;
    serde_json::from_str(raw).map_err(|_| Fault::WrongType(name, "a string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_told_apart() {
        let amount = |body: &str| Fields::parse(body.as_bytes()).and_then(|fields| fields.amount());
        assert_eq!(amount(r#"{"amount": 12.345}"#).ok(), Some(Money::from_minor(1235)));
        assert_eq!(amount(r#"{"amount": "12.345"}"#).ok(), Some(Money::from_minor(1235)));
        assert!(matches!(amount(r"{}"), Err(Fault::MissingField("amount"))));
        assert!(matches!(amount(r#"{"amount": null}"#), Err(Fault::MissingField("amount"))));
        assert!(matches!(amount(r#"{"amount": [1]}"#), Err(Fault::WrongType("amount", _))));
        assert!(matches!(amount(r#"{"amount": true}"#), Err(Fault::WrongType("amount", _))));
        assert!(matches!(amount(r#"{"amount": NaN}"#), Err(Fault::MalformedJson(_))));
        assert!(matches!(amount(r#"{"amount": 1e400}"#), Err(Fault::Amount(_))));
        assert!(matches!(amount(r#"{"amount": 1, "amount": 2}"#), Err(Fault::MalformedJson(_))));
        assert!(matches!(amount("[1]"), Err(Fault::WrongType("the body", _))));
        assert!(matches!(amount(""), Err(Fault::MalformedJson(_))));
        assert!(matches!(amount(r#"{"amount": 1} x"#), Err(Fault::MalformedJson(_))));
    }
}

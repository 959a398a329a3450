//! Request bodies: read within bounds of size and time, and parsed field by field, so that what is wrong can be said.

use std::borrow::Cow;
use std::fmt;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ledger::Money;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use topology::{UserId, WalletId};
use uuid::Uuid;

use super::problem::Fault;
use super::{BODY_TIMEOUT, MAX_BODY_BYTES};

pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    read_up_to(MAX_BODY_BYTES, headers, body).await
}

/// A body without content is an empty object, where nothing in it is required.
pub async fn read_optional(headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
    let bytes = read(headers, body).await?;
    Ok(if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes })
}

pub async fn read_up_to(most: usize, headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
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
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Err(_) => Err(Fault::BodyTimeout),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::BodyTooLarge),
        Ok(Err(error)) => Err(Fault::MalformedJson(error.to_string())),
    }
}

/// The fields of an object, each once, as they were sent. What a request needs of them is asked for one by one, after
/// [`Fields::only`] has refused what it does not know: a field that is dropped may have been meant.
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// More than any request has.
const FIELDS_MAX: usize = 32;
/// The most that an answer repeats of an unknown name.
pub(super) const NAME_SHOWN_CHARS: usize = 64;

/// A name, borrowed where it holds no escape.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Self::Value = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("duplicate field `{}`", shown(&name))));
                    }
                    if fields.len() == FIELDS_MAX {
                        return Err(A::Error::custom(format!("more than {FIELDS_MAX} fields")));
                    }
                    fields.push((name, value));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Pairs).map(Self)
    }
}

fn shown(name: &str) -> String {
    name.chars().take(NAME_SHOWN_CHARS).collect()
}

impl<'a> Fields<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        let trimmed = bytes.trim_ascii_start();
        if !trimmed.is_empty() && trimmed[0] != b'{' && serde_json::from_slice::<&RawValue>(bytes).is_ok() {
            return Err(Fault::WrongType("the body", "a JSON object"));
        }
        serde_json::from_slice(bytes).map_err(|error| Fault::MalformedJson(error.to_string()))
    }

    /// Refuses every field but these.
    pub fn only(self, names: &[&str]) -> Result<Self, Fault> {
        self.check_only(names).map(|()| self)
    }

    pub fn check_only(&self, names: &[&str]) -> Result<(), Fault> {
        let unknown = self.0.iter().find(|(name, _)| !names.contains(&name.as_ref()));
        unknown.map_or(Ok(()), |(name, _)| Err(Fault::UnknownField(shown(name))))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// A text that need not be there.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, Fault> {
        optional(self.get(name), |raw| string(name, raw))
    }

    /// An object that need not be there.
    pub fn object(&self, name: &'static str) -> Result<Option<Fields<'a>>, Fault> {
        optional(self.get(name), |raw| {
            let raw = present(name, raw)?;
            if !raw.starts_with('{') {
                return Err(Fault::WrongType(name, "an object of strings"));
            }
            serde_json::from_str(raw).map_err(|error| Fault::MalformedJson(format!("{name}: {error}")))
        })
    }

    /// All fields of an object that is called `name`, which are strings.
    pub fn texts(&self, name: &'static str) -> Result<Vec<(String, String)>, Fault> {
        let text = |(field, raw): &(Cow<'_, str>, &RawValue)| {
            let text = serde_json::from_str(raw.get());
            text.map(|text| (field.clone().into_owned(), text))
                .map_err(|_| Fault::WrongType(name, "an object of strings"))
        };
        self.0.iter().map(text).collect()
    }

    pub fn user_id(&self) -> Result<UserId, Fault> {
        let text = string("userId", self.get("userId"))?;
        UserId::parse(text).map_err(Fault::UserId)
    }

    pub fn payer(&self) -> Result<WalletId, Fault> {
        string("fromWalletId", self.get("fromWalletId"))?.parse().map_err(Fault::WalletId)
    }

    pub fn payee(&self) -> Result<WalletId, Fault> {
        string("toWalletId", self.get("toWalletId"))?.parse().map_err(Fault::WalletId)
    }

    pub fn kind(&self) -> Result<String, Fault> {
        string("type", self.get("type"))
    }

    pub fn mode(&self) -> Result<Option<String>, Fault> {
        self.text("mode")
    }

    pub fn operations(&self) -> Result<Vec<Fields<'a>>, Fault> {
        list("operations", self.get("operations"))
    }

    pub fn payments(&self) -> Result<Vec<Fields<'a>>, Fault> {
        list("payments", self.get("payments"))
    }

    pub fn hold(&self) -> Result<Uuid, Fault> {
        Uuid::try_parse(&string("holdId", self.get("holdId"))?).map_err(|_| Fault::HoldId)
    }

    /// Seconds, a whole number.
    pub fn expires_in_seconds(&self) -> Result<Option<u32>, Fault> {
        optional(self.get("expiresInSeconds"), |raw| {
            present("expiresInSeconds", raw)?.parse().map_err(|_| Fault::HoldLifetime)
        })
    }

    pub fn idempotency_key(&self) -> Result<Option<String>, Fault> {
        self.text("idempotencyKey")
    }

    pub fn amount_if_any(&self) -> Result<Option<Money>, Fault> {
        optional(self.get("amount"), |_| self.amount())
    }

    /// A JSON number or string. The number's own text is read: it never passes through a float.
    pub fn amount(&self) -> Result<Money, Fault> {
        let raw = present("amount", self.get("amount"))?;
        match raw.as_bytes().first() {
            Some(b'"') => Money::parse_amount(&string("amount", self.get("amount"))?),
            Some(b'-' | b'0'..=b'9') => Money::parse_amount(raw),
            _ => return Err(Fault::WrongType("amount", "a number or a string")),
        }
        .map_err(Fault::Amount)
    }
}

/// Without the field, or with an explicit `null`, nothing.
fn optional<'a, T>(
    value: Option<&'a RawValue>,
    read: impl FnOnce(Option<&'a RawValue>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    match value {
        Some(raw) if raw.get() != "null" => read(value).map(Some),
        _ => Ok(None),
    }
}

/// An array of objects.
fn list<'a>(name: &'static str, value: Option<&'a RawValue>) -> Result<Vec<Fields<'a>>, Fault> {
    let raw = present(name, value)?;
    serde_json::from_str(raw).map_err(|error| match error.classify() {
        serde_json::error::Category::Data if !raw.starts_with('[') => Fault::WrongType(name, "an array of objects"),
        _ => Fault::MalformedJson(format!("{name}: {error}")),
    })
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
        let only = |body: &str| Fields::parse(body.as_bytes()).and_then(|fields| fields.check_only(&["amount"]));
        assert!(only(r#"{"amount": 1}"#).is_ok() && only("{}").is_ok());
        assert!(matches!(only(r#"{"amount": 1, "amuont": null}"#), Err(Fault::UnknownField(name)) if name == "amuont"));
        assert!(matches!(only(r#"{"userId": "ann"}"#), Err(Fault::UnknownField(_))), "another request's field");
        assert!(only(r#"{"\u0061mount": 1}"#).is_ok(), "a name may be written with escapes");
    }
}

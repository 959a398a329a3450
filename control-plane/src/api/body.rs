//! Reads the JSON body and the query of a request. They are taken whole or refused: no field is dropped, and no text can
//! write to an operator's terminal.

use axum::extract::rejection::QueryRejection;
use axum::extract::{self, FromRequestParts};
use axum::http::request::Parts;
use control_api::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::because::REASON_MAX_BYTES;
use crate::error::{Error, Result, refused};

/// The parameters of a query, all of them understood.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = extract::Query::try_from_uri(&parts.uri);
        let bad = |error: QueryRejection| refused(Refusal::BadQuery, error.body_text());
        query.map(|extract::Query(taken)| Self(taken)).map_err(bad)
    }
}

/// Longest text in a body that is an operator's request.
pub const TEXT_MAX_BYTES: usize = REASON_MAX_BYTES;
/// Fields that are looked at one by one because they are not written again.
const MISSING_MAX: usize = 256;

/// A body of which everything is understood.
pub fn parse<T: DeserializeOwned + Serialize>(body: &[u8]) -> Result<T> {
    let bad = |error: serde_json::Error| refused(Refusal::BadBody, error.to_string());
    let asked: T = serde_json::from_slice(body).map_err(bad)?;
    let given: Value = serde_json::from_slice(body).map_err(bad)?;
    match unknown::<T>(&given, &serde_json::to_value(&asked).map_err(bad)?) {
        None => Ok(asked),
        Some(field) => {
            let detail = format!("{field} is not a field of this body: remove it, or correct its name");
            Err(refused(Refusal::UnknownField, detail))
        }
    }
}

/// A body with texts that are kept and shown to operators later.
pub fn parse_shown<T: DeserializeOwned + Serialize>(body: &[u8]) -> Result<T> {
    let asked = parse(body)?;
    let given: Value = serde_json::from_slice(body).expect("it was just read");
    if !is_unsound(&given) {
        return Ok(asked);
    }
    let detail = format!("each text has at most {TEXT_MAX_BYTES} bytes and no control characters");
    Err(refused(Refusal::BadText, detail))
}

/// The JSON pointer of the first field of `given` that `T` does not know. (serde's own `deny_unknown_fields` does not
/// go with `flatten`.) A field that is not in `taken`, which is `given` written again, is unknown or has a default
/// that is not written: a value of the wrong type tells which.
fn unknown<T: DeserializeOwned>(given: &Value, taken: &Value) -> Option<String> {
    let mut missing = Vec::new();
    collect_missing(given, taken, "", &mut missing);
    if missing.len() > MISSING_MAX {
        return missing.pop();
    }
    missing.into_iter().find(|pointer| {
        let mut probe = given.clone();
        *probe.pointer_mut(pointer).expect("it was found there") = json!([[[]]]);
        serde_json::from_value::<T>(probe).is_ok()
    })
}

fn collect_missing(given: &Value, taken: &Value, at: &str, into: &mut Vec<String>) {
    match (given, taken) {
        (Value::Object(given), Value::Object(taken)) => {
            for (name, value) in given {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match taken.get(name) {
                    Some(taken) => collect_missing(value, taken, &at, into),
                    None => into.push(at),
                }
            }
        }
        (Value::Array(given), Value::Array(taken)) => {
            for (index, (given, taken)) in given.iter().zip(taken).enumerate() {
                collect_missing(given, taken, &format!("{at}/{index}"), into);
            }
        }
        _ => {}
    }
}

/// Whether a text in it is not fit to be shown.
fn is_unsound(given: &Value) -> bool {
    match given {
        Value::String(text) => text.len() > TEXT_MAX_BYTES || text.chars().any(char::is_control),
        Value::Array(items) => items.iter().any(is_unsound),
        Value::Object(fields) => fields.values().any(is_unsound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{AddCell, Because, StartOperation};

    fn refusal<T: DeserializeOwned + Serialize>(body: &str) -> String {
        crate::tests::fixture::code(parse_shown::<T>(body.as_bytes()))
    }

    #[test]
    fn a_body_with_an_unknown_field_is_refused() {
        let start = |more: &str| {
            let scope = r#""scope":{"buckets":{"first":"0000","last":"00ff"}}"#;
            refusal::<StartOperation>(&format!(
                r#"{{"kind":"migrate",{scope},"to":"cell-2","actor":"a","reason":"r"{more}}}"#
            ))
        };
        assert_eq!(start(""), "done");
        assert_eq!(start(r#","planHash":null"#), "done");
        assert_eq!(start(r#","unheard-of":null"#), "unknown_field");
        assert_eq!(start(r#","plan":{"placementVersion":1,"steps":[]}"#), "unknown_field");
        assert_eq!(start(r#","limits":{"maxConcurent":3}"#), "unknown_field");
        let cell = |role: &str| {
            let instance = format!(r#"{{"id":"c-a","address":"127.0.0.1:1","{role}":"all"}}"#);
            refusal::<AddCell>(&format!(
                r#"{{"id":"c","maxTps":1,"maxCustomers":1,"instances":[{instance}],
                    "dynamodb":{{"region":"r","tablePrefix":"c-"}},"actor":"a","reason":"r"}}"#
            ))
        };
        assert_eq!((cell("role"), cell("rol")), ("done".to_owned(), "unknown_field".to_owned()));
    }

    #[test]
    fn a_text_that_writes_to_a_terminal_is_refused() {
        let because =
            |reason: &str| refusal::<Because>(&serde_json::json!({ "actor": "a", "reason": reason }).to_string());
        assert_eq!(because("ask Jürgen"), "done");
        for bad in ["\u{1b}[2J", "two\nlines", "\u{9b}2J", &"x".repeat(TEXT_MAX_BYTES + 1)] {
            assert_eq!(because(bad), "bad_text", "{bad:?}");
        }
        let instance = r#"{"id":"c-a","address":"\u001b[2J"}"#;
        let cell = format!(
            r#"{{"id":"c","maxTps":1,"maxCustomers":1,"instances":[{instance}],
                "dynamodb":{{"region":"r","tablePrefix":"c-"}},"actor":"a","reason":"r"}}"#
        );
        assert_eq!(refusal::<AddCell>(&cell), "bad_text");
    }
}

//! What a client says of a transaction in words of its own: a reference, a description, metadata. Each is optional.

use ledger::personal::{MAX_DESCRIPTION_BYTES, MAX_METADATA_BYTES, MAX_METADATA_NAME_BYTES, MAX_METADATA_PAIRS};
use ledger::personal::{MAX_REFERENCE_BYTES, Note};
use ledger::{Personal, ShortText};
use serde_json::{Map, Value};

use super::body::Fields;
use super::problem::Fault;

/// Its fields in a body.
const FIELDS: [&str; 3] = ["reference", "description", "metadata"];

/// Refuses every field but these and those of a note.
pub fn only<'a>(fields: Fields<'a>, names: &[&str]) -> Result<Fields<'a>, Fault> {
    check_only(&fields, names).map(|()| fields)
}

pub fn check_only(fields: &Fields<'_>, names: &[&str]) -> Result<(), Fault> {
    fields.check_only(&[names, FIELDS.as_slice()].concat())
}

pub fn of(fields: &Fields<'_>) -> Result<Note, Fault> {
    let reference = fields.text("reference")?.unwrap_or_default();
    let description = fields.text("description")?.unwrap_or_default();
    if !reference.is_empty() && !is_reference(&reference) {
        return Err(Fault::Reference);
    }
    if !is_plain(&description, MAX_DESCRIPTION_BYTES) {
        return Err(Fault::Description);
    }
    let metadata = fields.object("metadata")?.map_or(Ok(Vec::new()), |pairs| self::metadata(&pairs))?;
    Ok(Note { reference: short(&reference), description: short(&description), metadata })
}

/// The meaning of a request with this note, for telling requests apart. What of a note may be personal is not a part of
/// it: the chain keeps a hash of the meaning, and a hash of a short text is as good as the text.
pub fn meaning(meaning: String, note: &Note) -> String {
    if note.reference.as_str().is_empty() {
        return meaning;
    }
    format!("{meaning} reference={}", note.reference.as_str())
}

/// Metadata as a client sees it; `None` if there is none.
pub fn shown(personal: &Personal) -> Option<Map<String, Value>> {
    let pair = |(name, value): &(ShortText, ShortText)| (name.as_str().to_owned(), Value::from(value.as_str()));
    (!personal.metadata.is_empty()).then(|| personal.metadata.iter().map(pair).collect())
}

fn metadata(pairs: &Fields<'_>) -> Result<Vec<(ShortText, ShortText)>, Fault> {
    let mut bytes = 0;
    let mut metadata = Vec::new();
    for (name, value) in pairs.texts("metadata")? {
        bytes += name.len() + value.len();
        let is_name = (1..=MAX_METADATA_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_name_byte);
        let fits = metadata.len() < MAX_METADATA_PAIRS && bytes <= MAX_METADATA_BYTES;
        if !(is_name && fits && is_plain(&value, ShortText::MAX_BYTES)) {
            return Err(Fault::Metadata);
        }
        metadata.push((short(&name), short(&value)));
    }
    Ok(metadata)
}

/// So that it needs no quoting where a statement is a table, and is no formula there.
fn is_reference(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:#".contains(&byte);
    text.len() <= MAX_REFERENCE_BYTES && text.bytes().all(is_allowed) && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

fn is_plain(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

fn short(text: &str) -> ShortText {
    ShortText::cut(text, ShortText::MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(body: &str) -> Result<Note, Fault> {
        let fields = Fields::parse(body.as_bytes())?;
        check_only(&fields, &[])?;
        of(&fields)
    }

    #[test]
    fn a_note_is_taken_as_it_was_written() {
        let full = r#"{"reference": "inv-7/24", "description": "für den Tee", "metadata": {"shop": "7", "a.b": ""}}"#;
        let full = note(full).expect("sound");
        assert_eq!((full.reference.as_str(), full.description.as_str()), ("inv-7/24", "für den Tee"));
        let pairs: Vec<_> = full.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("shop", "7"), ("a.b", "")]);
        assert_eq!(meaning("deposit 1.00".into(), &full), "deposit 1.00 reference=inv-7/24");
        for empty in ["{}", r#"{"reference": null, "description": "", "metadata": null}"#, r#"{"metadata": {}}"#] {
            assert_eq!(note(empty).expect("sound"), Note::default());
        }
        assert_eq!(meaning("deposit 1.00".into(), &Note::default()), "deposit 1.00");
    }

    #[test]
    fn every_part_of_a_note_is_bounded() {
        let long = |length: usize| "x".repeat(length);
        for reference in ["=1+1", "-7", "a b", "a,b", "é", &long(MAX_REFERENCE_BYTES + 1)] {
            assert!(
                matches!(note(&format!(r#"{{"reference": "{reference}"}}"#)), Err(Fault::Reference)),
                "{reference}"
            );
        }
        assert!(note(&format!(r#"{{"reference": "{}"}}"#, long(MAX_REFERENCE_BYTES))).is_ok());
        for description in ["\\u0007", "a\\nb", &long(MAX_DESCRIPTION_BYTES + 1)] {
            let body = format!(r#"{{"description": "{description}"}}"#);
            assert!(matches!(note(&body), Err(Fault::Description)), "{description}");
        }
        let pairs = |count: usize, value: &str| {
            let pairs: Vec<_> = (0..count).map(|at| format!(r#""name{at}": "{value}""#)).collect();
            note(&format!(r#"{{"metadata": {{{}}}}}"#, pairs.join(",")))
        };
        assert!(pairs(MAX_METADATA_PAIRS, "").is_ok());
        assert!(matches!(pairs(MAX_METADATA_PAIRS + 1, ""), Err(Fault::Metadata)));
        assert!(pairs(2, &long((MAX_METADATA_BYTES - 10) / 2)).is_ok());
        assert!(matches!(pairs(2, &long(MAX_METADATA_BYTES / 2)), Err(Fault::Metadata)));
        for body in [r#"{"metadata": {"": "x"}}"#, r#"{"metadata": {"a b": "x"}}"#] {
            assert!(matches!(note(body), Err(Fault::Metadata)), "{body}");
        }
        for body in [r#"{"metadata": []}"#, r#"{"metadata": {"a": 1}}"#, r#"{"reference": 7}"#] {
            assert!(matches!(note(body), Err(Fault::WrongType(..))), "{body}");
        }
        assert!(matches!(note(r#"{"metadata": {"a": "1", "a": "2"}}"#), Err(Fault::MalformedJson(_))));
    }
}

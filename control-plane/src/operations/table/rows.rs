//! The attributes of each kind of row, written and read in one place. It must never know its
//! readers, or their reasons.

use control_api::AuditEntry;
use uuid::Uuid;

use super::Register;
use crate::dynamo::{Item, n, number, s, text};
use crate::error::{Error, Result};
use crate::operations::claims::Claim;
use crate::operations::record::Operation;

/// State and steps stand beside the document, for the conditions of others.
pub fn operation_item(partition: &str, operation: &Operation, write: Uuid) -> Item {
    let json = serde_json::to_string(operation).expect("an operation is plain data");
    let attributes = [
        ("k", s(partition)),
        ("v", n(operation.number)),
        ("version", n(operation.version)),
        ("write", s(write.to_string())),
        ("state", s(operation.state.as_str())),
        ("steps_done", n(operation.progress.steps_done)),
        ("operation", s(json)),
    ];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub fn operation(item: &Item) -> Result<Operation> {
    let row = number(item, "v")?;
    let read: Operation = serde_json::from_str(&text(item, "operation")?)
        .map_err(|error| Error::Unsound(format!("operation {row}: {error}")))?;
    Ok(Operation { number: row, version: number(item, "version")?, ..read })
}

/// Entries sort by time; the last digits keep those of one microsecond apart.
pub fn audit_item(partition: &str, entry: &AuditEntry) -> Item {
    let json = serde_json::to_string(entry).expect("an entry is plain data");
    let micros = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    let sort = u64::try_from(micros).expect("the clock is after 1970") * 1_000 + fastrand::u64(0..1_000);
    let attributes = [("k", s(partition)), ("v", n(sort)), ("entry", s(json))];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub fn audit(item: &Item) -> Result<AuditEntry> {
    serde_json::from_str(&text(item, "entry")?).map_err(|error| Error::Unsound(format!("an audit entry: {error}")))
}

/// The register's attribute that holds an operation's claim.
pub fn claim_name(number: u64) -> String {
    format!("b{number}")
}

pub fn register(item: &Item) -> Result<Register> {
    let unsound = |name: &str| Error::Unsound(format!("the register of operations: {name}"));
    let mut claims = std::collections::BTreeMap::new();
    for (name, value) in item {
        let Some(digits) = name.strip_prefix('b') else { continue };
        let number = digits.parse().map_err(|_| unsound(name))?;
        let bytes = value.as_b().map_err(|_| unsound(name))?;
        claims.insert(number, Claim::read(bytes.as_ref()).ok_or_else(|| unsound(name))?);
    }
    Ok(Register { version: number(item, "version")?, claims })
}

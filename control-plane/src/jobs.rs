//! What operations and deploys have in common. Each is a job: a row in the control plane's own tables, which a worker
//! carries on with under a lease, and which leaves an audit entry at each change of its state.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at
//! once. Nothing here knows what a step does.

pub mod asked;
pub mod lease;
pub mod table;
pub mod worker;

#[cfg(test)]
mod tests;

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use control_api::{Because, Refusal, now_rfc3339};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use lease::Lease;

/// A job as it is stored: everything that is needed to carry on with it after a crash.
pub trait Job: Clone + Serialize + DeserializeOwned {
    /// What happens to it: requested by an operator, or found out by its worker.
    type Event: Copy + Into<&'static str>;
    type Audit: Serialize + DeserializeOwned;

    const NAMES: Names;
    const UNKNOWN: Refusal;
    const NOT_NOW: Refusal;

    fn key(&self) -> Key;
    fn with_key(self, key: Key) -> Self;
    fn lease(&self) -> Option<Lease>;
    fn leased(self, lease: Lease, at: String) -> Self;
    fn state(&self) -> &'static str;
    fn is_over(&self) -> bool;

    /// The id that an operator uses.
    fn id_of(number: u64) -> String;
    /// The job after `event`; `None`: it cannot happen now.
    fn after(&self, event: Self::Event, because: &Because, at: String) -> Option<Self>;
    /// Whether the state is one that `event` leads to, so that asking for it again changes nothing.
    fn is_after(&self, event: Self::Event) -> bool;
    /// The entry of the change that made this of `before`.
    fn audited(&self, what: &str, because: &Because, before: Option<&Self>) -> Self::Audit;

    /// Attributes of the row beside the document, for the conditions of others.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![]
    }
    /// Refuses a document that makes its row too large.
    fn check_size(_bytes: usize) -> Result<()> {
        Ok(())
    }
    /// The change of the row of `table` that says which jobs are under way.
    fn claim(&self, table: &str, claim: Claim) -> Option<Update>;
}

/// What a kind of job is called where it is stored, and in errors. What is stored must never be renamed.
pub struct Names {
    /// The table, after the prefix of all tables.
    pub table: &'static str,
    /// The partition of the rows.
    pub rows: &'static str,
    pub version: &'static str,
    pub document: &'static str,
    pub writing: &'static str,
    pub reading: &'static str,
    pub reading_audit: &'static str,
    pub listed_by: &'static str,
}

/// Attributes of the row itself: jobs are numbered from 1, and each write makes the next version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub number: u64,
    pub version: u64,
}

/// What a change does to the row that says which jobs are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Keep,
    /// Only if nothing is in the way.
    Take,
    Release,
}

/// What is to be written when something happens.
pub struct Change<J: Job> {
    pub after: J,
    pub entry: J::Audit,
    pub claim: Claim,
}

/// `None`: it cannot happen now. Pure but for the clock.
pub fn transition<J: Job>(before: &J, event: J::Event, because: &Because) -> Option<Change<J>> {
    let after = before.after(event, because, now_rfc3339())?;
    let entry = after.audited(event.into(), because, Some(before));
    let claim = match (before.is_over(), after.is_over()) {
        (false, true) => Claim::Release,
        (true, false) => Claim::Take,
        (true, true) | (false, false) => Claim::Keep,
    };
    Some(Change { after, entry, claim })
}

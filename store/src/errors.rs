//! How reads and writes of the store fail, and what is certain then.

use ledger::Conflict;

/// A failed read, or a failed write of something that may be written again at will.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Throttled, timed out, not reachable: may be tried again.
    #[error("the store did not answer: {0}")]
    Unavailable(String),
    /// Not taken, and repeating it now would bring the same: credentials, rights, a missing table, a quota.
    #[error("the store refuses: {0}")]
    Rejected(String),
    /// What is stored cannot be what was written. Never retried, never passed over.
    #[error("the store holds something that cannot be: {0}")]
    Corrupt(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A condition failed: nothing was written, and at this place never will be by this append.
    #[error("a condition failed: {0:?}")]
    Conflict(Conflict),
    /// Surely nothing was written; the same append may be tried again.
    #[error("not written: {0}")]
    NotApplied(String),
    /// Surely nothing was written, and repeating it now would bring the same.
    #[error("refused by the store: {0}")]
    Rejected(String),
    /// Unknown. It may be written already, or be written later.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

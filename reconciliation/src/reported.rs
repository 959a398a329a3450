//! What a client knows of a request that it sent under a key of its own, and so what the chains may hold of it.
//!
//! The client of the load generator, that of the tests and that of the simulator all end up with one
//! of these, and their books are held against it by the same rule.

use std::ops::RangeInclusive;

use ledger::TransactionId;
use serde::Serialize;
use topology::wire::code;

/// The outcome that a client was given in the end. Errors are named by their code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "what")]
pub enum Reported {
    /// Done; a transfer, which is named, may still be on its way.
    Done(Option<TransactionId>),
    /// A transfer left and came back.
    Returned,
    /// Not possible, and nothing was done: the answer of a healthy service.
    Refused(Box<str>),
    /// An error whose code promises that nothing was done.
    Failed(Box<str>),
    /// It is unknown whether it was done: no answer, or one that leaves it open.
    Unknown(Box<str>),
}

impl Reported {
    /// How many entries with the request's key the chains may hold.
    pub fn entries(&self) -> RangeInclusive<usize> {
        match self {
            Self::Done(_) | Self::Returned => 1..=1,
            Self::Refused(_) | Self::Failed(_) => 0..=0,
            Self::Unknown(_) => 0..=1,
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Whether the customer would say that the service was broken.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unknown(_))
    }

    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Done(_) => None,
            Self::Returned => Some(code::TRANSFER_RETURNED),
            Self::Refused(code) | Self::Failed(code) | Self::Unknown(code) => Some(code),
        }
    }

    /// What is known after one more attempt under the same key: an error says nothing of the attempts before it.
    pub fn after(self, earlier: &Self) -> Self {
        match (earlier, self) {
            (Self::Unknown(_), Self::Failed(code)) => Self::Unknown(code),
            (_, last) => last,
        }
    }
}

//! One request of the load and what became of it: everything that an auditor needs to hold the chains against it.

use ledger::Money;
use serde::Serialize;
use sha2::{Digest, Sha256};
use topology::wire::code;
use topology::{CellId, WalletId};
use uuid::Uuid;

use crate::mix::Kind;

/// The answer that a client got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "what")]
pub enum Told {
    /// Done; a transfer may still be on its way.
    Done(Option<Uuid>),
    /// A transfer left and came back.
    Returned,
    /// Not possible, and nothing was done: the answer of a healthy service.
    Refused(Box<str>),
    /// An error whose code promises that nothing was done.
    Failed(Box<str>),
    /// An error after which it is unknown whether it was done.
    Unknown(Box<str>),
}

/// Codes of problems that promise that nothing was done. What is not listed counts as unknown.
const NOTHING_DONE: [&str; 11] = [
    code::OVERLOADED,
    code::DRAINING,
    code::RATE_LIMITED,
    code::CONTENDED,
    code::STORAGE_UNAVAILABLE,
    code::RECEIVER_UNAVAILABLE,
    code::NO_PLACEMENT,
    code::WALLET_MOVING,
    code::UPSTREAM_UNAVAILABLE,
    code::DEADLINE_UNSENT,
    code::MISDIRECTED,
];

impl Told {
    /// What an answer other than success means.
    pub fn problem(status: u16, code: &str) -> Self {
        let code = Box::from(code);
        match status {
            _ if &*code == code::TRANSFER_RETURNED => Self::Returned,
            _ if NOTHING_DONE.contains(&&*code) => Self::Failed(code),
            400..=499 if !matches!(status, 408 | 425 | 429) => Self::Refused(code),
            _ => Self::Unknown(code),
        }
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
    pub fn after(self, earlier: &Told) -> Self {
        match (earlier, self) {
            (Self::Unknown(_), Self::Failed(code)) => Self::Unknown(code),
            (_, last) => last,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Operation {
    /// Unique in its run; the idempotency key follows from it.
    pub number: u64,
    pub kind: Kind,
    /// Positions in the run's list of customers: the caller, and the payee.
    pub customer: usize,
    pub payee: Option<usize>,
    pub amount: Money,
    /// Microseconds since the load began: when it was due, and when its last answer was there.
    pub due_us: u64,
    pub answered_us: u64,
    pub attempts: u32,
    /// After the first attempt, and in the end.
    pub first: Told,
    pub last: Told,
}

impl Operation {
    /// From the moment it was due, however late it was sent.
    pub fn latency_us(&self) -> u64 {
        self.answered_us.saturating_sub(self.due_us)
    }

    pub fn writes(&self) -> bool {
        self.kind != Kind::Reads
    }
}

/// One customer of the load.
#[derive(Debug, Clone)]
pub struct Customer {
    pub user: String,
    /// Unknown as long as a creation was not answered.
    pub wallet: Option<WalletId>,
    /// Where the wallet was when the load began, if the placement is known.
    pub cell: Option<CellId>,
}

/// The idempotency key of an operation of a run.
pub fn key(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

/// A key as entries hold it: half of its SHA-256.
pub fn key_hash(key: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_promises_nothing_says_nothing_of_an_earlier_attempt() {
        let lost = Told::problem(502, "upstream_unknown_outcome");
        assert_eq!(lost, Told::Unknown("upstream_unknown_outcome".into()));
        let shed = Told::problem(503, "overloaded");
        assert_eq!(shed, Told::Failed("overloaded".into()));
        assert_eq!(shed.clone().after(&lost), Told::Unknown("overloaded".into()));
        assert_eq!(Told::Done(None).after(&lost), Told::Done(None));
        assert_eq!(shed.clone().after(&shed), shed);
        assert!(!Told::problem(400, "insufficient_balance").is_error());
        assert!(Told::problem(500, "ledger_corrupt").is_error());
    }
}

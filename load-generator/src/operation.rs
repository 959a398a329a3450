//! One request of the load and what became of it: everything that an auditor needs to hold the chains against it.

use ledger::Money;
use reconciliation::Reported;
use sha2::{Digest, Sha256};
use topology::wire::code;
use topology::{CellId, WalletId};

use crate::mix::Kind;

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

/// What an answer other than success means.
pub fn reported(status: u16, code: &str) -> Reported {
    match status {
        _ if code == code::TRANSFER_RETURNED => Reported::Returned,
        _ if NOTHING_DONE.contains(&code) => Reported::Failed(code.into()),
        400..=499 if !matches!(status, 408 | 425 | 429) => Reported::Refused(code.into()),
        _ => Reported::Unknown(code.into()),
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
    pub first: Reported,
    pub last: Reported,
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
    fn an_error_without_a_promise_leaves_earlier_attempts_open() {
        let lost = reported(502, "upstream_unknown_outcome");
        assert_eq!(lost, Reported::Unknown("upstream_unknown_outcome".into()));
        let shed = reported(503, "overloaded");
        assert_eq!(shed, Reported::Failed("overloaded".into()));
        assert_eq!(shed.clone().after(&lost), Reported::Unknown("overloaded".into()));
        assert_eq!(Reported::Done(None).after(&lost), Reported::Done(None));
        assert_eq!(shed.clone().after(&shed), shed);
        assert!(!reported(400, "insufficient_balance").is_error());
        assert!(reported(500, "ledger_corrupt").is_error());
    }
}

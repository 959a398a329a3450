//! What travels under `/v1/ledger`: chains, what was verified of them, checkpoints.

use serde::{Deserialize, Serialize};
use topology::{CellId, UserId, WalletId};

/// One page of a chain: each line is one block, as `cell ledger export` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportPage {
    pub cell: CellId,
    pub lines: Vec<serde_json::Value>,
    /// The number of the first block of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The owner of a wallet, as a file that a cell is restored from holds it: enough to read all personal data of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedOwner {
    pub user: UserId,
    /// 32 bytes as hexadecimal digits.
    pub key: String,
}

/// Body of `POST /v1/ledger/verify` and `/v1/ledger/checkpoints/verify`: a cell, after one of its wallets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyCell {
    pub cell: CellId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<WalletId>,
}

/// One page of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedPage {
    pub wallets: u64,
    pub blocks: u64,
    pub rows: u64,
    /// Of the log, where that is what is verified.
    #[serde(default)]
    pub checkpoints: u64,
    #[serde(default)]
    pub leaves: u64,
    pub breaks: Vec<BreakView>,
    /// The last wallet of this page, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WalletId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakView {
    pub cell: CellId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    pub place: String,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView {
    pub cell: CellId,
    pub number: u64,
    pub leaves: u64,
    pub root_hash: String,
    pub at: String,
    /// Whether one of the cell's keys has signed it; absent where no key is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

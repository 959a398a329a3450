//! What an integrity job found, as the cell keeps it and operators are shown it.

use serde::{Deserialize, Serialize};

use crate::{CellId, WalletId};

/// The list of a cell's rows that holds its findings, as JSON.
pub const FINDINGS: &str = "findings";

/// One place in a cell's tables that was not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub cell: CellId,
    /// Absent where it is about the cell's log of checkpoints as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    /// Which item: `block 7`, `snapshots marks#…`, `checkpoint 3`.
    pub place: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    pub what: String,
    pub first_seen: String,
    pub last_seen: String,
    /// In how many passes.
    pub times: u64,
    /// What was done about it.
    pub response: String,
}

//! What travels when a cell changes its Region, and when the Region that it left comes back.

use serde::{Deserialize, Serialize};
use topology::WalletId;
use uuid::Uuid;

use crate::Because;

/// Body of `POST /v1/cells/{id}/failover`. It is asked again until the step is not [`Step::Waiting`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failover {
    /// The Region of the cell's standby.
    pub to: String,
    #[serde(flatten)]
    pub because: Because,
}

/// How far a failover has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedOver {
    /// How often the cell has changed its Region, with this change.
    pub epoch: u64,
    pub step: Step,
    /// Whether the tables of the former Region say by now that the cell has left. If not, its processes go on, for callers
    /// that still reach them, until the control plane reaches the tables.
    pub fenced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum Step {
    /// The former Region answers. It stops first, so that nothing is lost: what is waited for.
    Waiting { why: String },
    /// The placement names the processes of the new Region. They wait until the cell is restored from its archive, by the
    /// same steps as any cell.
    Restore,
    /// The new Region serves.
    Serving,
}

/// A page of `GET /v1/cells/{id}/reconcile?after=W`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconciledPage {
    /// The Region that the cell has left.
    pub region: String,
    /// Wallets that were compared.
    pub wallets: u64,
    pub lost: Vec<LostBlock>,
    /// The last wallet, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WalletId>,
}

/// A block that only the Region has that the cell has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostBlock {
    pub wallet: WalletId,
    pub number: u64,
    pub hash: String,
    /// RFC 3339.
    pub at: String,
    /// After it, in that Region.
    pub balance: String,
    pub entries: Vec<LostEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LostEntry {
    pub id: Uuid,
    pub kind: String,
    pub amount: String,
    /// What it did to the balance, in the smallest unit of money.
    pub minor: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

//! The bodies of the control plane's HTTP API, and a client for it.
//!
//! Fields are added, never renamed: an older `ctl` talks to a newer control plane. Nothing here
//! knows how the control plane stores what it shows.

pub mod capacity;
pub mod client;
mod deploys;
mod drift;
pub mod flows;
pub mod ledgers;
pub mod logs;
mod operations;
mod refusal;
pub mod regions;
pub mod restore;
pub mod zones;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use topology::config::Replication;
use topology::placement::{CellState, InstanceEntry};
use topology::{CellId, WalletId};

pub use client::Client;
pub use deploys::*;
pub use drift::Difference;
pub use operations::*;
pub use refusal::{Refusal, Refused};

/// The actor and the reason of a change; kept with it for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    pub actor: String,
    pub reason: String,
}

/// Where a cell's tables are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellTables {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub region: String,
    pub table_prefix: String,
    /// ARN of the role of the cell's account that the control plane becomes to reach them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A cell as it is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellSpec {
    pub id: CellId,
    #[serde(default = "one")]
    pub weight: u32,
    pub max_tps: u32,
    pub max_customers: u64,
    pub instances: Vec<InstanceEntry>,
    pub dynamodb: CellTables,
    /// Where the cell goes when its Region is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
    /// How often the cell has changed its Region.
    #[serde(default)]
    pub region_epoch: u64,
}

impl CellSpec {
    /// The Region that the cell's customers belong to: the one where the cell was before it ever changed its Region.
    pub fn first_region(&self) -> &str {
        self.home().map_or(&self.dynamodb.region, |home| &home.dynamodb.region)
    }

    /// The other one, where it goes when that one is lost.
    pub fn second_region(&self) -> Option<String> {
        let standby = self.standby.as_ref().map(|standby| standby.dynamodb.region.clone());
        if self.home().is_some() { Some(self.dynamodb.region.clone()) } else { standby }
    }

    /// The processes of its first Region.
    pub fn first_instances(&self) -> &[InstanceEntry] {
        self.home().map_or(&self.instances, |home| &home.instances)
    }

    /// Where it came from, while it is away.
    fn home(&self) -> Option<&Standby> {
        self.standby.as_ref().filter(|_| !self.region_epoch.is_multiple_of(2))
    }
}

/// The tables and processes of a cell in its second Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standby {
    pub dynamodb: CellTables,
    pub instances: Vec<InstanceEntry>,
    #[serde(default)]
    pub replication: Replication,
}

fn one() -> u32 {
    1
}

/// Body of `POST /v1/cells`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddCell {
    #[serde(flatten)]
    pub cell: CellSpec,
    #[serde(flatten)]
    pub because: Because,
}

/// Body of `PUT /v1/cells/{id}/addresses`: the cell is the same, its processes or tables are found elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetAddresses {
    pub instances: Vec<InstanceEntry>,
    pub dynamodb: CellTables,
    #[serde(flatten)]
    pub because: Because,
}

/// Body of `POST /v1/bootstrap`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bootstrap {
    pub cells: Vec<CellSpec>,
    #[serde(flatten)]
    pub because: Because,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrapped {
    pub version: u64,
    /// False when a placement existed already: then nothing was changed.
    pub created: bool,
    /// Asked for, but not registered: they own no bucket until an operator adds them.
    pub not_registered: Vec<CellId>,
}

/// `GET /v1/cells`: registry and placement together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellView {
    pub id: CellId,
    pub index: u16,
    pub state: CellState,
    pub weight: u32,
    pub max_tps: u32,
    pub max_customers: u64,
    pub buckets: usize,
    pub pins: usize,
    /// Absent until first counted.
    #[serde(default)]
    pub customers: Option<u64>,
    pub instances: Vec<InstanceEntry>,
    pub dynamodb: CellTables,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
    #[serde(default)]
    pub region_epoch: u64,
    pub created_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Where {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    pub wallet_id: WalletId,
    pub bucket: String,
    pub cell: CellId,
    pub pinned: bool,
    pub placement_version: u64,
    pub instances: Vec<InstanceEntry>,
}

/// Body of `POST /v1/customers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Onboard {
    pub user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellId>,
    /// A cell of this Region. Operations that choose cells by themselves keep the customer in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(flatten)]
    pub because: Because,
}

/// A customer's cell, and the wallet as the cell shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    #[serde(flatten)]
    pub place: Where,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletView>,
}

/// A wallet as its cell shows it. The balance is the cell's own text: money never passes through a float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletView {
    pub balance: String,
    pub created_at: String,
    pub updated_at: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub version: u64,
    pub at: String,
    pub kind: String,
    pub actor: String,
    pub reason: String,
    /// Buckets named by the change.
    pub buckets: usize,
    pub pins: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// 0: no placement yet.
    pub placement_version: u64,
    pub cells: Vec<CellStatus>,
    /// In the configuration but not in the registry: `ctl cell add` registers them.
    pub not_registered: Vec<CellId>,
    /// What cells.toml and the registry say differently of cells that both have.
    #[serde(default)]
    pub drift: Vec<Difference>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellStatus {
    #[serde(flatten)]
    pub cell: CellView,
    /// Of all buckets.
    pub share_percent: f64,
    pub health: Vec<InstanceHealth>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceHealth {
    pub id: String,
    pub ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The wall clock, as bodies of this API show it: RFC 3339 in UTC, with milliseconds.
pub fn now_rfc3339() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000).expect("fewer nanoseconds than before");
    now.format(&Rfc3339).expect("a date of this age has a form")
}

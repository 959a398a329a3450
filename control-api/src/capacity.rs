//! What travels when capacity is asked for, or declared.

use serde::{Deserialize, Serialize};
use topology::wire::HotWallet;
use topology::{CellId, CellState};

use crate::{Because, CellSpec};

/// `GET /v1/capacity`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    pub cells: Vec<CellCapacity>,
    /// Of the cells that serve, writes a second and customers: what they take, and what they are asked for, where known.
    pub max_tps: u64,
    pub writes_per_second: Option<f64>,
    pub max_customers: u64,
    pub customers: Option<u64>,
    /// What an operator should do now, most urgent first; empty: nothing.
    pub advice: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellCapacity {
    pub cell: CellId,
    pub state: CellState,
    /// Writes a second; 0: no limit is declared.
    pub max_tps: u32,
    /// Absent where some process of the cell does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    pub max_customers: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customers: Option<u64>,
    /// Of its three tables, as DynamoDB tells it: up to six hours old on AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Hottest first; of a wallet that several processes write, their sum.
    pub hot: Vec<HotWallet>,
}

/// Body of `PUT /v1/cells/{id}/capacity`: what the cell declares from now on. What is absent stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetCapacity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tps: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_customers: Option<u64>,
    #[serde(flatten)]
    pub because: Because,
}

impl SetCapacity {
    pub fn is_empty(&self) -> bool {
        self.weight.is_none() && self.max_tps.is_none() && self.max_customers.is_none()
    }

    pub fn applied_to(&self, before: &CellSpec) -> CellSpec {
        CellSpec {
            weight: self.weight.unwrap_or(before.weight),
            max_tps: self.max_tps.unwrap_or(before.max_tps),
            max_customers: self.max_customers.unwrap_or(before.max_customers),
            ..before.clone()
        }
    }
}

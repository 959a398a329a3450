//! What travels when capacity is asked for.

use serde::{Deserialize, Serialize};
use topology::wire::HotWallet;
use topology::{CellId, CellState};

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

//! What travels when the books are added up: what came into each wallet and left it up to a moment, read page by page.

use ledger::TransactionId;
use serde::{Deserialize, Serialize};
use topology::{CellId, WalletId};

/// Body of `POST /v1/ledger/flows`: the chains of a cell, from a place in them on, up to a moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFlows {
    pub cell: CellId,
    /// Microseconds since 1970: only what was written until then counts.
    pub until_micros: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Place>,
}

/// A block of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub wallet: WalletId,
    pub block: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FlowsPage {
    pub wallets: Vec<Flows>,
    /// Where the next page starts, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Place>,
}

/// A part of one chain, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    pub wallet: WalletId,
    /// Whether the chain is served in the cell that was read; else only the wallet's name counts.
    pub is_home: bool,
    /// After the last block of this part that counts; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<u64>,
    pub blocks: u64,
    /// From outside, and to outside.
    pub came_in: u64,
    pub went_out: u64,
    pub legs: Vec<Leg>,
}

/// One entry about a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Move {
    Out,
    In,
    /// The money came back to the payer.
    Returned,
    /// The payer has the answer that it arrived.
    Settled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub transfer: TransactionId,
    pub leg: Move,
    pub amount: u64,
    /// The other wallet; of a return, the wallet itself.
    pub other: WalletId,
    /// Where the wallet lived then.
    pub cell: CellId,
    /// Whether it was written by the moment that counts. What came after it is listed too, so that
    /// its other half is found.
    pub counts: bool,
}

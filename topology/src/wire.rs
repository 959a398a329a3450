//! What travels between cell, router and control plane beside the public API: header names and internal bodies.

use serde::{Deserialize, Serialize};

use crate::ids::{CellId, WalletId};

/// Correlates one request through router, cell and logs; made by the router when the client sends none.
pub const REQUEST_ID: &str = "x-request-id";
/// The client's key for safe repetition of a POST.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer that repeats the result of an earlier request with the same key.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// Names the wallet a request is routed by, so that the router need not read a transfer's body.
pub const WALLET_ID: &str = "x-wallet-id";
/// Milliseconds the sender is still willing to wait.
pub const DEADLINE_MS: &str = "x-deadline-ms";
/// On a 421: the id of the cell that the answering cell believes to own the wallet.
pub const WALLET_CELL: &str = "x-wallet-cell";
/// On a 421: the block by which the wallet left the answering cell, as hexadecimal digits of its canonical bytes. The
/// router carries it to the cell it names, which may be missing just that block.
pub const MOVED_BLOCK: &str = "x-moved-block";
/// How many 421 hints the router has followed for this request.
pub const HOPS: &str = "x-hops";
/// Original client address, set by the router.
pub const FORWARDED_FOR: &str = "x-forwarded-for";
/// The caller, as the router authenticated it: `customer:<user id>`, `service:<name>` or
/// `operator:<name>`; absent without authentication. Set by the router (and by the control plane)
/// only; a client's is dropped.
pub const ACTOR: &str = "x-wallet-actor";
/// W3C trace context: carried along from client to cell.
pub const TRACE_PARENT: &str = "traceparent";
/// On a problem from a process that did nothing with the request: repeating it elsewhere is safe.
pub const NOT_PROCESSED: &str = "x-not-processed";
/// Value of [`NOT_PROCESSED`] where repeating it *elsewhere in this cell* would only carry the overload along: the process
/// is sound, and at its limits. Later is better.
pub const AT_LIMIT: &str = "at-limit";

/// Largest request body, in bytes: of one operation, and of a request for many. The router refuses what is larger, so that
/// no cell reads it.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
pub const BATCH_BODY_MAX_BYTES: usize = 256 * 1024;

/// The page of each process of a cell with what it logs, as text: `GET` and `PUT`. For operators, through the control plane.
pub const LOG_PAGE: &str = "/internal/v1/log";

/// Codes of problems that another program of ours acts on, as the answering process writes them.
pub mod code {
    pub const CONTENDED: &str = "contended";
    pub const DEADLINE_UNSENT: &str = "deadline_unsent";
    pub const DRAINING: &str = "draining";
    pub const INSUFFICIENT_BALANCE: &str = "insufficient_balance";
    pub const MISDIRECTED: &str = "misdirected";
    pub const NO_PLACEMENT: &str = "no_placement";
    pub const OVERLOADED: &str = "overloaded";
    pub const RATE_LIMITED: &str = "rate_limited";
    pub const RECEIVER_UNAVAILABLE: &str = "receiver_unavailable";
    pub const STORAGE_UNAVAILABLE: &str = "storage_unavailable";
    pub const TRANSFER_RETURNED: &str = "transfer_returned";
    pub const UPSTREAM_UNAVAILABLE: &str = "upstream_unavailable";
    pub const WALLET_CLOSED: &str = "wallet_closed";
    pub const WALLET_ERASED: &str = "wallet_erased";
    pub const WALLET_FROZEN: &str = "wallet_frozen";
    pub const WALLET_MOVING: &str = "wallet_moving";
    pub const WALLET_NOT_FOUND: &str = "wallet_not_found";
    pub const WALLET_NOT_FROZEN: &str = "wallet_not_frozen";
}

/// Why a wallet cannot receive money (or take part in an operation at all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CreditRefusal {
    WalletFrozen,
    WalletClosed,
    /// The balance would exceed the largest one a wallet may hold.
    BalanceLimit,
}

/// Asked by the paying cell before money leaves: can this wallet receive? An unknown wallet is a 404, not an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receivable {
    pub wallet_id: WalletId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<CreditRefusal>,
}

/// One delivery of money that has left `from`. Repeating it is safe: the transfer id decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credit {
    pub transfer_id: uuid::Uuid,
    pub from_wallet_id: WalletId,
    pub to_wallet_id: WalletId,
    /// Minor units.
    pub amount_minor: u64,
    /// When the money left, by the clock of the payer's cell: microseconds since 1970.
    pub left_at_micros: i64,
    pub request_id: String,
    pub actor: String,
    /// The payer's name for it; may be empty.
    pub reference: String,
}

/// The destination's final word on a [`Credit`], recorded in its chain before it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CreditOutcome {
    Received,
    Refused { reason: CreditRefusal },
}

/// A wallet that is written to much, as one process of its cell counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HotWallet {
    pub wallet: WalletId,
    /// Entries a second over the last whole window of ten seconds.
    pub writes_per_second: f64,
}

/// Body extension of a 421: where the answering cell believes the wallet to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Misdirected {
    pub cell: Option<CellId>,
}

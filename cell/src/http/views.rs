//! The JSON that clients see. Money is written as a number with exactly two decimals, from its own text.

use ledger::{Money, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use topology::{UserId, WalletId};
use uuid::Uuid;

use crate::history::Line;
use crate::wallets::{Transfer, TransferStatus, Wallet};

fn number(money: Money) -> Box<RawValue> {
    RawValue::from_string(money.to_string()).expect("money prints as a JSON number")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletView {
    wallet_id: WalletId,
    user_id: UserId,
    balance: Box<RawValue>,
    created_at: String,
    updated_at: String,
}

impl From<Wallet> for WalletView {
    fn from(wallet: Wallet) -> Self {
        Self {
            wallet_id: wallet.id,
            user_id: wallet.user,
            balance: number(wallet.balance),
            created_at: wallet.created_at.to_string(),
            updated_at: wallet.updated_at.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferView {
    transfer_id: Uuid,
    status: &'static str,
    from_wallet_id: WalletId,
    to_wallet_id: WalletId,
    amount: Box<RawValue>,
    balance_after: Box<RawValue>,
    created_at: String,
    updated_at: String,
}

impl From<&Transfer> for TransferView {
    fn from(transfer: &Transfer) -> Self {
        Self {
            transfer_id: transfer.id,
            status: match transfer.status {
                TransferStatus::InFlight => "IN_FLIGHT",
                TransferStatus::Settled => "SETTLED",
                TransferStatus::Returned(_) => "RETURNED",
            },
            from_wallet_id: transfer.from,
            to_wallet_id: transfer.to,
            amount: number(transfer.amount),
            balance_after: number(transfer.balance_after),
            created_at: transfer.created_at.to_string(),
            updated_at: transfer.updated_at.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionView {
    transaction_id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    amount: Box<RawValue>,
    balance_after: Box<RawValue>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    related_wallet_id: Option<WalletId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_id: Option<Uuid>,
    request_id: String,
    /// The hash of the block that holds the transaction.
    transaction_hash: String,
    block_number: u64,
}

impl From<Line> for TransactionView {
    fn from(line: Line) -> Self {
        let entry = line.entry;
        Self {
            transaction_id: entry.id,
            kind: entry.kind.name(),
            amount: number(entry.amount),
            balance_after: number(entry.balance_after),
            timestamp: line.at.to_string(),
            related_wallet_id: entry.kind.related_wallet(),
            transfer_id: entry.transfer(),
            request_id: entry.audit.request_id.as_str().to_owned(),
            transaction_hash: line.hash.to_string(),
            block_number: line.block,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionsView {
    pub transactions: Vec<TransactionView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Before every wallet: where a listing without `from` ends.
pub const BEGINNING: Timestamp = Timestamp::from_micros(i64::MIN);

//! The JSON that clients see. Money is written as a number with exactly two decimals, from its own text.

use ledger::{ItemOutcome, Money, ShortText, Status, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use topology::wire::code;
use topology::{UserId, WalletId};
use uuid::Uuid;

use crate::failure::Failure;
use crate::reads::history::Line;
use crate::wallets::{
    BatchResult, HoldChange, HoldStatus, ItemResult, OpenHolds, Payments, Reversal, Transfer, TransferStatus, Wallet,
};

use super::note;
use super::problem::code_of;

pub(super) fn number(money: Money) -> Box<RawValue> {
    RawValue::from_string(money.to_string()).expect("money prints as a JSON number")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletView {
    wallet_id: WalletId,
    /// Absent once the owner is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    balance: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_balance: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_balance: Option<Box<RawValue>>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<Uuid>,
    created_at: String,
    updated_at: String,
}

impl From<Wallet> for WalletView {
    fn from(wallet: Wallet) -> Self {
        Self {
            wallet_id: wallet.id,
            user_id: wallet.user,
            balance: number(wallet.balance),
            available_balance: wallet.available.map(number),
            held_balance: wallet.available.and_then(|available| wallet.balance.checked_sub(available)).map(number),
            status: status_name(wallet.status),
            transaction_id: wallet.transaction,
            created_at: wallet.created_at.to_string(),
            updated_at: wallet.updated_at.to_string(),
        }
    }
}

pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Active => "ACTIVE",
        Status::Frozen => "FROZEN",
        Status::Closed => "CLOSED",
        Status::Erased => "ERASED",
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    balance_after: Box<RawValue>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
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
            reference: given(&transfer.reference),
            balance_after: number(transfer.balance_after),
            created_at: transfer.created_at.to_string(),
            updated_at: transfer.updated_at.as_ref().map(ToString::to_string),
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
    /// The earlier transaction that this one undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
    request_id: String,
    /// The hash of the block that holds the transaction.
    transaction_hash: String,
    block_number: u64,
    /// The actor: for operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditView {
    actor: String,
    source_ip: String,
    user_agent: String,
    trace_id: String,
}

/// A text that may not have been given.
fn given(text: &ShortText) -> Option<String> {
    (!text.as_str().is_empty()).then(|| text.as_str().to_owned())
}

impl TransactionView {
    pub fn new(line: Line, with_audit: bool) -> Self {
        let Line { entry, personal, .. } = line;
        let audit = with_audit.then(|| AuditView {
            actor: personal.actor.as_str().to_owned(),
            source_ip: personal.source_ip.as_str().to_owned(),
            user_agent: personal.user_agent.as_str().to_owned(),
            trace_id: entry.trace.trace_id.as_str().to_owned(),
        });
        Self {
            transaction_id: entry.id,
            kind: entry.kind.name(),
            amount: number(entry.amount),
            balance_after: number(entry.balance_after),
            timestamp: line.at.to_string(),
            related_wallet_id: entry.related_wallet(),
            transfer_id: entry.transfer(),
            reverses: entry.kind.reverses(),
            hold_id: entry.kind.hold(entry.id),
            reference: given(&entry.reference),
            description: given(&personal.description),
            metadata: note::shown(&personal),
            request_id: entry.trace.request_id.as_str().to_owned(),
            transaction_hash: line.hash.to_string(),
            block_number: line.block,
            audit,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldChangeView {
    hold_id: Uuid,
    wallet_id: WalletId,
    transaction_id: Uuid,
    status: &'static str,
    amount: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    balance_after: Box<RawValue>,
    timestamp: String,
}

impl From<HoldChange> for HoldChangeView {
    fn from(change: HoldChange) -> Self {
        Self {
            hold_id: change.hold,
            wallet_id: change.wallet,
            transaction_id: change.transaction,
            status: match change.status {
                HoldStatus::Open => "OPEN",
                HoldStatus::Captured => "CAPTURED",
                HoldStatus::Voided => "VOIDED",
            },
            amount: number(change.amount),
            expires_at: change.expires_at.map(|at| at.to_string()),
            balance_after: number(change.balance_after),
            timestamp: change.at.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenHoldsView {
    holds: Vec<OpenHoldView>,
    balance: Box<RawValue>,
    held_balance: Box<RawValue>,
    available_balance: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenHoldView {
    hold_id: Uuid,
    amount: Box<RawValue>,
    expires_at: String,
}

impl From<OpenHolds> for OpenHoldsView {
    fn from(open: OpenHolds) -> Self {
        let view = |hold: ledger::Hold| OpenHoldView {
            hold_id: hold.id,
            amount: number(hold.amount),
            expires_at: hold.expires_at.to_string(),
        };
        Self {
            holds: open.holds.into_iter().map(view).collect(),
            balance: number(open.balance),
            held_balance: number(open.held),
            available_balance: number(open.available),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReversalView {
    wallet_id: WalletId,
    transaction_id: Uuid,
    reverses: Uuid,
    amount: Box<RawValue>,
    balance_after: Box<RawValue>,
    timestamp: String,
}

impl From<Reversal> for ReversalView {
    fn from(reversal: Reversal) -> Self {
        Self {
            wallet_id: reversal.wallet,
            transaction_id: reversal.transaction,
            reverses: reversal.reverses,
            amount: number(reversal.amount),
            balance_after: number(reversal.balance_after),
            timestamp: reversal.at.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    batch_id: Uuid,
    wallet_id: WalletId,
    block_number: u64,
    timestamp: String,
    /// After the last operation.
    balance: Box<RawValue>,
    results: Vec<ItemView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemView {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_after: Option<Box<RawValue>>,
    /// As a single request's problem has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl From<BatchResult> for BatchView {
    fn from(batch: BatchResult) -> Self {
        Self {
            batch_id: batch.id,
            wallet_id: batch.wallet,
            block_number: batch.block,
            timestamp: batch.at.to_string(),
            balance: number(batch.balance),
            results: batch.items.into_iter().map(item_view).collect(),
        }
    }
}

fn item_view(item: ItemResult) -> ItemView {
    let (status, code) = match item.outcome {
        ItemOutcome::Done => ("DONE", None),
        ItemOutcome::DoneBefore => ("DONE_BEFORE", None),
        ItemOutcome::InsufficientBalance => ("REFUSED", Some(code::INSUFFICIENT_BALANCE)),
        ItemOutcome::BalanceLimit => ("REFUSED", Some("balance_limit")),
        ItemOutcome::NoOpenHold => ("REFUSED", Some("hold_not_open")),
        ItemOutcome::AboveHold => ("REFUSED", Some("amount_above_hold")),
        ItemOutcome::TooManyHolds => ("REFUSED", Some("too_many_holds")),
        ItemOutcome::ExpiryPassed => ("REFUSED", Some("hold_expired")),
        ItemOutcome::KeyReused => ("REFUSED", Some("idempotency_key_reused")),
    };
    let (transaction_id, balance_after) = item.done.map(|(id, after)| (id, number(after))).unzip();
    ItemView { status, transaction_id, balance_after, code }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentsView {
    batch_id: Uuid,
    results: Vec<PaymentView>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PaymentView {
    Transfer(TransferView),
    Refused(RefusedView),
}

#[derive(Serialize)]
struct RefusedView {
    status: &'static str,
    code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl From<Payments> for PaymentsView {
    fn from(payments: Payments) -> Self {
        let view = |result: Result<crate::wallets::Answer<Transfer>, Failure>| match result {
            Ok(answer) => PaymentView::Transfer(TransferView::from(&answer.value)),
            Err(failure) => {
                let (code, detail) = code_of(&failure);
                PaymentView::Refused(RefusedView { status: payment_status(&failure), code, detail })
            }
        };
        Self { batch_id: payments.id, results: payments.results.into_iter().map(view).collect() }
    }
}

fn payment_status(failure: &Failure) -> &'static str {
    match failure {
        Failure::OutcomeUnknown(_) => "UNKNOWN",
        Failure::Returned { .. } => "RETURNED",
        Failure::Overloaded
        | Failure::Expired
        | Failure::Contended
        | Failure::Unavailable(_)
        | Failure::ReceiverUnavailable(_)
        | Failure::Moving
        | Failure::Misdirected { .. }
        | Failure::Corrupt(_) => "FAILED",
        _ => "REFUSED",
    }
}

/// Before every wallet: where a listing without `from` ends.
pub const BEGINNING: Timestamp = Timestamp::from_micros(i64::MIN);

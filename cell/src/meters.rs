//! What a cell counts of its business: operations by outcome, and what was appended to the chains.
//! Amounts are sums over all wallets; nothing here identifies a user.

use ledger::{Block, EntryKind, Intent};
use metrics::counter;

use crate::failure::Failure;
use crate::sequencer::Work;

/// How an operation is called in the metrics.
pub fn operation(work: &Work) -> &'static str {
    match work {
        Work::Refuse(_) => "transfer",
        Work::Batch(_) => "batch",
        Work::Alone(intent) => match intent {
            Intent::Deposit { .. } => "deposit",
            Intent::Withdraw { .. } => "withdrawal",
            Intent::Send { .. } => "transfer",
            Intent::Receive { .. } => "credit",
            Intent::Settle { .. } | Intent::TakeBack { .. } => "settlement",
            Intent::Freeze | Intent::Unfreeze | Intent::Close | Intent::Erase => "state",
            Intent::Hold { .. } => "hold",
            Intent::Capture { .. } => "capture",
            Intent::Void { .. } => "void",
            Intent::ReverseDeposit { .. } | Intent::ReverseWithdrawal { .. } => "reversal",
        },
    }
}

/// One operation is over; `replayed` of those that succeeded.
pub fn performed(operation: &'static str, outcome: Result<bool, &Failure>) {
    let outcome = match outcome {
        Ok(false) => "done",
        Ok(true) => "replayed",
        Err(Failure::Refused { .. } | Failure::ItemRefused { .. } | Failure::KeyReused) => "refused",
        Err(Failure::WalletNotFound(_) | Failure::Misdirected { .. } | Failure::Moving) => "elsewhere",
        Err(_) => "failed",
    };
    counter!("cell_operations_total", "operation" => operation, "outcome" => outcome).increment(1);
}

/// These blocks are in the chains now.
pub fn appended(blocks: &[Block]) {
    counter!("cell_blocks_appended_total").increment(blocks.len() as u64);
    for entry in blocks.iter().flat_map(|block| &block.entries) {
        let kind = kind(&entry.kind);
        counter!("cell_entries_total", "kind" => kind).increment(1);
        counter!("cell_amount_minor_units_total", "kind" => kind).increment(entry.amount.minor());
        if entry.kind == EntryKind::Opened {
            counter!("cell_wallets_created_total").increment(1);
        }
    }
}

fn kind(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Opened => "opened",
        EntryKind::Deposit => "deposit",
        EntryKind::Withdrawal => "withdrawal",
        EntryKind::TransferOut { .. } => "transfer_out",
        EntryKind::TransferIn { .. } => "transfer_in",
        EntryKind::TransferSettled { .. } => "transfer_settled",
        EntryKind::TransferReturned { .. } => "transfer_returned",
        EntryKind::TransferRefused { .. } => "transfer_refused",
        EntryKind::Frozen => "frozen",
        EntryKind::Unfrozen => "unfrozen",
        EntryKind::Closed => "closed",
        EntryKind::Erased => "erased",
        EntryKind::Moved { .. } => "moved",
        EntryKind::HoldPlaced { .. } => "hold_placed",
        EntryKind::HoldCaptured { .. } => "hold_captured",
        EntryKind::HoldVoided { .. } => "hold_voided",
        EntryKind::HoldExpired { .. } => "hold_expired",
        EntryKind::DepositReversed { .. } => "deposit_reversed",
        EntryKind::WithdrawalReversed { .. } => "withdrawal_reversed",
        EntryKind::Batch { .. } => "batch",
    }
}

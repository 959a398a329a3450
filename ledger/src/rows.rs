//! The rows of the `transfers` table: an index into the chains that follows from the blocks alone. Replaying a chain
//! in order rebuilds them exactly, which is why a commit and a move can both derive them here.

use topology::WalletId;
use topology::wire::CreditOutcome;

use crate::block::{Block, Entry, EntryKind, Route, TransactionId};
use crate::money::Money;
use crate::time::Timestamp;

/// A transfer out of `wallet` that is still in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutRow {
    pub wallet: WalletId,
    pub transfer: TransactionId,
    pub to: WalletId,
    pub amount: Money,
    /// When the money left.
    pub at: Timestamp,
    pub block: u64,
}

/// That a transaction of `wallet` has been reversed, and in which block. Never deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReversedRow {
    pub wallet: WalletId,
    pub of: TransactionId,
    pub block: u64,
}

/// The final word of `wallet` on a transfer sent to it. Never deleted while the paying side may still ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InRow {
    pub wallet: WalletId,
    pub transfer: TransactionId,
    pub outcome: CreditOutcome,
    pub block: u64,
}

/// What a block does to the rows. Each is conditional, and fails the whole commit when its condition does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowChange {
    /// If the row does not exist.
    PutOut(OutRow),
    /// If the row exists.
    DeleteOut { wallet: WalletId, transfer: TransactionId },
    /// If the row does not exist.
    PutIn(InRow),
    /// If the row does not exist: a transaction is reversed once.
    PutReversed(ReversedRow),
}

impl RowChange {
    /// The transaction that the row is about.
    pub fn transfer(&self) -> TransactionId {
        match self {
            RowChange::PutOut(row) => row.transfer,
            RowChange::PutIn(row) => row.transfer,
            RowChange::PutReversed(row) => row.of,
            RowChange::DeleteOut { transfer, .. } => *transfer,
        }
    }
}

/// The row changes that follow from `block`, in entry order.
pub fn rows_of(block: &Block) -> Vec<RowChange> {
    let wallet = block.wallet;
    let row_in = |transfer, outcome| RowChange::PutIn(InRow { wallet, transfer, outcome, block: block.number });
    let transfer = |entry: &Entry| match entry.kind {
        EntryKind::TransferOut { to, route: Route::Across, .. } => Some(RowChange::PutOut(OutRow {
            wallet,
            transfer: entry.id,
            to,
            amount: entry.amount,
            at: block.at,
            block: block.number,
        })),
        EntryKind::TransferSettled { transfer } | EntryKind::TransferReturned { transfer, .. } => {
            Some(RowChange::DeleteOut { wallet, transfer })
        }
        EntryKind::TransferIn { route: Route::Across, .. } => Some(row_in(entry.id, CreditOutcome::Received)),
        EntryKind::TransferRefused { transfer, reason, .. } => {
            Some(row_in(transfer, CreditOutcome::Refused { reason }))
        }
        EntryKind::TransferOut { route: Route::Inside, .. }
        | EntryKind::TransferIn { route: Route::Inside, .. }
        | EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed
        | EntryKind::Moved { .. }
        | EntryKind::HoldPlaced { .. }
        | EntryKind::HoldCaptured { .. }
        | EntryKind::HoldVoided { .. }
        | EntryKind::HoldExpired { .. }
        | EntryKind::DepositReversed { .. }
        | EntryKind::WithdrawalReversed { .. }
        | EntryKind::Batch { .. } => None,
    };
    let reversal = |entry: &Entry| {
        let row = |of| RowChange::PutReversed(ReversedRow { wallet, of, block: block.number });
        entry.kind.reverses().map(row)
    };
    block.entries.iter().flat_map(|entry| transfer(entry).into_iter().chain(reversal(entry))).collect()
}

/// How many rows an entry of this kind brings with it: items of a transaction beside the block's own.
pub fn rows_with(kind: &EntryKind) -> usize {
    let of_transfer = match kind {
        EntryKind::TransferOut { route, .. } | EntryKind::TransferIn { route, .. } => *route == Route::Across,
        EntryKind::TransferSettled { .. } | EntryKind::TransferReturned { .. } | EntryKind::TransferRefused { .. } => {
            true
        }
        EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed
        | EntryKind::Moved { .. }
        | EntryKind::HoldPlaced { .. }
        | EntryKind::HoldCaptured { .. }
        | EntryKind::HoldVoided { .. }
        | EntryKind::HoldExpired { .. }
        | EntryKind::DepositReversed { .. }
        | EntryKind::WithdrawalReversed { .. }
        | EntryKind::Batch { .. } => false,
    };
    usize::from(of_transfer).saturating_add(usize::from(kind.reverses().is_some()))
}

//! What the sequencer is asked, and what it answers.

use std::sync::Arc;

use ledger::{Audit, Block, Intent, Key, Money, Refusal, Route, Timestamp, TransactionId};
use topology::wire::CreditRefusal;
use topology::{CellId, WalletId};

/// One thing to be done, named by its transaction id from the moment it is admitted: a write that was given up for
/// lost and lands after all is recognised by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub id: TransactionId,
    pub wallet: WalletId,
    pub work: Work,
    pub key: Option<Key>,
    pub audit: Audit,
    /// Not started after this time.
    pub expires_at: Timestamp,
    /// A block that was found to hold this command's key, but more than 24 hours ago.
    pub expired_key: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Deposit {
        amount: Money,
    },
    Withdraw {
        amount: Money,
    },
    /// Both wallets in this cell, in one commit.
    TransferInside {
        to: WalletId,
        amount: Money,
    },
    /// The paying half of a transfer to another cell.
    SendAcross {
        to: WalletId,
        amount: Money,
    },
    /// The receiving half; the command's id is the transfer's. A refusal is recorded as an entry.
    ReceiveAcross {
        from: WalletId,
        amount: Money,
    },
    Settle {
        transfer: TransactionId,
    },
    TakeBack {
        transfer: TransactionId,
        amount: Money,
        reason: CreditRefusal,
    },
    Freeze,
    Unfreeze,
}

impl Command {
    /// The wallet whose chain holds the command's own entry.
    pub fn primary(&self) -> WalletId {
        self.wallet
    }

    /// Every wallet that gets an entry.
    pub fn wallets(&self) -> impl Iterator<Item = WalletId> + use<> {
        let other = match self.work {
            Work::TransferInside { to, .. } => Some(to),
            _ => None,
        };
        std::iter::once(self.wallet).chain(other)
    }

    /// The transfer whose row this command creates or deletes.
    pub fn transfer_row(&self) -> Option<TransactionId> {
        match self.work {
            Work::SendAcross { .. } | Work::ReceiveAcross { .. } => Some(self.id),
            Work::Settle { transfer } | Work::TakeBack { transfer, .. } => Some(transfer),
            _ => None,
        }
    }

    /// What it means for its primary wallet.
    pub fn intent(&self) -> Intent {
        match self.work {
            Work::Deposit { amount } => Intent::Deposit { amount },
            Work::Withdraw { amount } => Intent::Withdraw { amount },
            Work::TransferInside { to, amount } => Intent::Send { to, amount, route: Route::Inside },
            Work::SendAcross { to, amount } => Intent::Send { to, amount, route: Route::Across },
            Work::ReceiveAcross { from, amount } => Intent::Receive { from, amount, route: Route::Across },
            Work::Settle { transfer } => Intent::Settle { transfer },
            Work::TakeBack { transfer, amount, reason } => Intent::TakeBack { transfer, amount, reason },
            Work::Freeze => Intent::Freeze,
            Work::Unfreeze => Intent::Unfreeze,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Committed: `block.entries[entry]` is the command's own entry.
    Done { block: Arc<Block>, entry: usize },
    /// The idempotency key was used in this block: the first result is there.
    SeenKey { block: u64 },
    /// Not possible, judged on a head of `wallet` that was confirmed after the command arrived.
    Refused { wallet: WalletId, refusal: Refusal },
    /// This cell holds no chain for the wallet.
    NoChain(WalletId),
    /// The chain says that the wallet lives in another cell.
    Elsewhere { wallet: WalletId, home: CellId },
    /// The transfer's row says that this was done already.
    RowConflict,
    /// Too much is waiting. Nothing was done.
    Overloaded,
    /// The deadline passed while it waited. Nothing was done.
    Expired,
    /// Other instances kept winning. Nothing was done.
    Contended,
    /// The store did not answer. Nothing was done.
    Unavailable(String),
    /// The store did not answer after the write was sent. It may have been done.
    Unknown(String),
    /// The chain cannot be what was written: the wallet stands still until a human has looked.
    Corrupt(String),
}

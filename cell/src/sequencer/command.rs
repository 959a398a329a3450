//! What the sequencer is asked, and what it answers.

use std::sync::Arc;

use ledger::{Audit, Block, Intent, ItemOutcome, Key, Money, Refusal, Route, Timestamp, TransactionId};
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
    /// What gives this wallet alone an entry; also either half of a transfer between cells.
    Alone(Intent),
    /// Both wallets in this cell, in one commit.
    TransferInside { to: WalletId, amount: Money, reverses: Option<TransactionId> },
    /// Several operations on this wallet, in one block.
    Batch(Batch),
    /// Nothing: this is the answer, unless the key was used before.
    Refuse(Box<Reply>),
}

/// Operations on one wallet that make one block together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// All of them, or nothing; else each for itself.
    pub is_atomic: bool,
    pub items: Vec<BatchItem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// One that brings no rows with it.
    pub intent: Intent,
    /// The operation's own idempotency key.
    pub key: Option<Key>,
    /// Its own key was used before, which is what becomes of it: it is not decided.
    pub before: Option<ItemOutcome>,
    /// A block that was found to hold this key, but more than 24 hours ago.
    pub expired_key: Option<u64>,
}

impl Command {
    /// The wallet with the command's own entry in its chain.
    pub fn primary(&self) -> WalletId {
        self.wallet
    }

    /// Every wallet that gets an entry.
    pub fn wallets(&self) -> impl Iterator<Item = WalletId> + use<> {
        let other = match &self.work {
            Work::TransferInside { to, .. } => Some(*to),
            _ => None,
        };
        std::iter::once(self.wallet).chain(other)
    }

    /// The transactions with rows that this command creates or deletes.
    pub fn rows(&self) -> impl Iterator<Item = TransactionId> + use<> {
        let (own, other) = match &self.work {
            Work::Alone(Intent::Send { route: Route::Across, reverses, .. }) => (Some(self.id), *reverses),
            Work::Alone(Intent::Receive { route: Route::Across, .. }) => (Some(self.id), None),
            Work::Alone(Intent::Settle { transfer } | Intent::TakeBack { transfer, .. }) => (Some(*transfer), None),
            Work::Alone(Intent::ReverseDeposit { of, .. } | Intent::ReverseWithdrawal { of, .. }) => (Some(*of), None),
            Work::TransferInside { reverses, .. } => (None, *reverses),
            Work::Alone(_) | Work::Batch(_) | Work::Refuse(_) => (None, None),
        };
        own.into_iter().chain(other)
    }

    /// How many entries its own wallet gets.
    pub fn entries(&self) -> usize {
        match &self.work {
            Work::Batch(batch) => batch.items.len() + 1,
            _ => 1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Committed: `block.entries[entry]` is the command's own entry; of a batch, the one that says what became of it.
    Done { block: Arc<Block>, entry: usize },
    /// Of a batch: its own idempotency key was used in `block`, and those of the operations at these places in these.
    SeenKeys { block: Option<u64>, items: Vec<(usize, u64)> },
    /// Of a batch that is all or nothing: the operation at this place is not possible.
    ItemRefused { item: usize, refusal: Refusal },
    /// The idempotency key was used in this block: the first result is there.
    SeenKey { block: u64 },
    /// More idempotency keys were used in the last 24 hours than are remembered, and this one may be among the others.
    /// Nothing was done.
    WindowFull,
    /// Not possible, judged on a head of `wallet` that was confirmed after the command arrived.
    Refused { wallet: WalletId, refusal: Refusal },
    /// Of a transfer to another cell: the payee's cell says that it cannot receive.
    CannotReceive(CreditRefusal),
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
    /// The chain cannot be what was written: the wallet takes no writes until an operator has
    /// looked.
    Corrupt(String),
}

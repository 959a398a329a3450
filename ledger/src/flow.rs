//! What each kind of entry does with money, said once. All code that adds up books, follows
//! transfers or counts uses it, so that a new kind of entry cannot be left out of any of them.

use topology::WalletId;

use crate::block::{Entry, EntryKind, TransactionId};

/// Where the amount of an entry comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Nowhere: no money enters or leaves the wallet.
    None,
    /// Into the wallet from outside this ledger.
    In,
    /// Out of the wallet and out of this ledger.
    Out,
    /// Part of a transfer between two wallets.
    Transfer { id: TransactionId, leg: Leg },
}

/// One chain's part in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// In the payer's chain: the money left.
    Sent { to: WalletId },
    /// In the payee's chain: the money arrived.
    Received { from: WalletId },
    /// In the payee's chain: the money cannot arrive any more.
    Refused { from: WalletId },
    /// In the payer's chain: the money arrived. The entry has no amount.
    Settled,
    /// In the payer's chain: the money is back.
    Returned,
}

impl Entry {
    pub fn flow(&self) -> Flow {
        let transfer = |id, leg| Flow::Transfer { id, leg };
        match self.kind {
            EntryKind::Deposit | EntryKind::WithdrawalReversed { .. } => Flow::In,
            EntryKind::Withdrawal | EntryKind::HoldCaptured { .. } | EntryKind::DepositReversed { .. } => Flow::Out,
            EntryKind::TransferOut { to, .. } => transfer(self.id, Leg::Sent { to }),
            EntryKind::TransferIn { from } => transfer(self.id, Leg::Received { from }),
            EntryKind::TransferRefused { transfer: id, from, .. } => transfer(id, Leg::Refused { from }),
            EntryKind::TransferSettled { transfer: id } => transfer(id, Leg::Settled),
            EntryKind::TransferReturned { transfer: id, .. } => transfer(id, Leg::Returned),
            EntryKind::Opened
            | EntryKind::Frozen
            | EntryKind::Unfrozen
            | EntryKind::Closed
            | EntryKind::Erased
            | EntryKind::Moved { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::Batch { .. } => Flow::None,
        }
    }

    /// The transfer that this entry is part of.
    pub fn transfer(&self) -> Option<TransactionId> {
        match self.flow() {
            Flow::Transfer { id, .. } => Some(id),
            Flow::None | Flow::In | Flow::Out => None,
        }
    }

    /// The other wallet of the transfer that this entry is part of, where the entry names it.
    pub fn related_wallet(&self) -> Option<WalletId> {
        match self.flow() {
            Flow::Transfer { leg: Leg::Sent { to: other }, .. }
            | Flow::Transfer { leg: Leg::Received { from: other } | Leg::Refused { from: other }, .. } => Some(other),
            Flow::Transfer { leg: Leg::Settled | Leg::Returned, .. } | Flow::None | Flow::In | Flow::Out => None,
        }
    }
}

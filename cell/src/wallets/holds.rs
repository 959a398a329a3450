//! Two-phase payments: an amount is authorized (a hold), and later captured, in whole or in part,
//! or voided. One that is not ended expires at its time. Open holds are in the wallet's head, so
//! that they move with it.

use ledger::{EntryKind, Hold, Intent, Money, Timestamp, TransactionId};
use store::Store;
use topology::WalletId;

use super::{Answer, Context, Wallets, Written};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::sequencer::Work;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStatus {
    Open,
    Captured,
    Voided,
}

/// What happened to a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldChange {
    pub hold: TransactionId,
    pub wallet: WalletId,
    /// The entry that did it.
    pub transaction: TransactionId,
    pub status: HoldStatus,
    /// Authorized or captured; zero where it was voided.
    pub amount: Money,
    pub expires_at: Option<Timestamp>,
    pub at: Timestamp,
    pub balance_after: Money,
}

/// The open holds of a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenHolds {
    pub holds: Vec<Hold>,
    pub balance: Money,
    pub held: Money,
    pub available: Money,
}

impl<S: Store, P: Peers> Wallets<S, P> {
    /// Sets `amount` aside for `lifetime_micros`.
    pub async fn place_hold(
        &self,
        wallet: WalletId,
        amount: Money,
        lifetime_micros: i64,
        context: Context,
    ) -> Result<Answer<HoldChange>, Failure> {
        let expires_at = self.now().plus_micros(lifetime_micros);
        self.change_hold(wallet, Intent::Hold { amount, expires_at }, &context).await
    }

    /// Takes the amount, or all of it, and frees the rest.
    pub async fn capture_hold(
        &self,
        wallet: WalletId,
        hold: TransactionId,
        amount: Option<Money>,
        context: Context,
    ) -> Result<Answer<HoldChange>, Failure> {
        self.change_hold(wallet, Intent::Capture { hold, amount }, &context).await
    }

    pub async fn void_hold(
        &self,
        wallet: WalletId,
        hold: TransactionId,
        context: Context,
    ) -> Result<Answer<HoldChange>, Failure> {
        self.change_hold(wallet, Intent::Void { hold }, &context).await
    }

    pub async fn open_holds(&self, wallet: WalletId) -> Result<OpenHolds, Failure> {
        let (now, head) = (self.now(), self.head(wallet).await?);
        let state = head.state;
        Ok(OpenHolds {
            balance: state.balance,
            held: state.held_at(now),
            available: state.available_at(now),
            holds: state.holds.into_iter().filter(|hold| hold.expires_at > now).collect(),
        })
    }

    async fn change_hold(
        &self,
        wallet: WalletId,
        intent: Intent,
        context: &Context,
    ) -> Result<Answer<HoldChange>, Failure> {
        let written = self.perform(wallet, Work::Alone(intent), None, context).await?;
        let replayed = written.replayed;
        Ok(Answer { value: change_of(written)?, replayed })
    }
}

fn change_of(written: Written) -> Result<HoldChange, Failure> {
    let Written { wallet, entry, at, .. } = written;
    let (status, expires_at) = match entry.kind {
        EntryKind::HoldPlaced { expires_at } => (HoldStatus::Open, Some(expires_at)),
        EntryKind::HoldCaptured { .. } => (HoldStatus::Captured, None),
        EntryKind::HoldVoided { .. } => (HoldStatus::Voided, None),
        // The key belongs to something else.
        EntryKind::Opened
        | EntryKind::Deposit
        | EntryKind::Withdrawal
        | EntryKind::TransferOut { .. }
        | EntryKind::TransferIn { .. }
        | EntryKind::TransferSettled { .. }
        | EntryKind::TransferReturned { .. }
        | EntryKind::TransferRefused { .. }
        | EntryKind::Frozen
        | EntryKind::Unfrozen
        | EntryKind::Closed
        | EntryKind::Erased
        | EntryKind::Moved { .. }
        | EntryKind::HoldExpired { .. }
        | EntryKind::DepositReversed { .. }
        | EntryKind::WithdrawalReversed { .. }
        | EntryKind::Batch { .. } => return Err(Failure::KeyReused),
    };
    Ok(HoldChange {
        hold: entry.kind.hold(entry.id).ok_or(Failure::KeyReused)?,
        wallet,
        transaction: entry.id,
        status,
        amount: entry.amount,
        expires_at,
        at,
        balance_after: entry.balance_after,
    })
}

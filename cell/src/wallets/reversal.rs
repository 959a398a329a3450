//! Undoing a transaction by a compensating entry that names it. The reversed one stays as it is, and is reversed once
//! only; a transfer that was sent back and refused counts as not reversed.

use ledger::marks::Mark;
use ledger::{EntryKind, Intent, Money, Timestamp, TransactionId};
use store::{BlockRange, Store};
use topology::WalletId;

use super::transfers::{Payment, Reversed};
use super::{Answer, Context, TransferStatus, Wallets};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::reads::history::{self, Found, Outcome};
use crate::sequencer::{Once, Work};

/// How often a reversal is tried again because an earlier one came back.
const MAX_ROUNDS: usize = 4;

/// The entry that undid a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversal {
    pub wallet: WalletId,
    pub transaction: TransactionId,
    pub reverses: TransactionId,
    pub amount: Money,
    pub balance_after: Money,
    pub at: Timestamp,
    /// Of a transfer that is sent back: false while it is under way.
    pub is_settled: bool,
}

impl<S: Store, P: Peers> Wallets<S, P> {
    /// Reverses a deposit, a withdrawal, a captured hold, or a transfer into this wallet, which is sent back.
    pub async fn reverse(
        &self,
        wallet: WalletId,
        transaction: TransactionId,
        context: Context,
    ) -> Result<Answer<Reversal>, Failure> {
        let head = self.head(wallet).await?;
        let found = history::entry(&self.store, &head, transaction).await?;
        let found = found.ok_or(Failure::TransactionNotFound(transaction))?;
        let mut once = Once::new(Mark::of_reversal(transaction), found.at);
        for _ in 0..MAX_ROUNDS {
            match self.reverse_once(wallet, &found, once, &context).await {
                Err(Failure::DoneOnce { block }) if self.came_back(wallet, block, transaction).await? => {
                    once.known.discount(block);
                }
                Err(Failure::DoneOnce { .. }) => return Err(Failure::AlreadyReversed),
                done => return done,
            }
        }
        Err(Failure::Contended)
    }

    async fn reverse_once(
        &self,
        wallet: WalletId,
        found: &Found,
        once: Once,
        context: &Context,
    ) -> Result<Answer<Reversal>, Failure> {
        let (of, amount) = (found.entry.id, found.entry.amount);
        let intent = match found.entry.kind {
            EntryKind::Deposit => Intent::ReverseDeposit { of, amount },
            EntryKind::Withdrawal | EntryKind::HoldCaptured { .. } => Intent::ReverseWithdrawal { of, amount },
            EntryKind::TransferIn { from: payer, .. } => {
                let payment = Payment { from: wallet, to: payer, amount, reverses: Some(Reversed { of, once }) };
                return self.send_back(payment, of, context).await;
            }
            EntryKind::Opened
            | EntryKind::TransferOut { .. }
            | EntryKind::TransferSettled { .. }
            | EntryKind::TransferReturned { .. }
            | EntryKind::TransferRefused { .. }
            | EntryKind::Frozen
            | EntryKind::Unfrozen
            | EntryKind::Closed
            | EntryKind::Erased
            | EntryKind::Moved { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::DepositReversed { .. }
            | EntryKind::WithdrawalReversed { .. }
            | EntryKind::Batch { .. } => return Err(Failure::NotReversible(of)),
        };
        let written = self.perform(wallet, Work::Alone(intent), Some(once), context).await?;
        let value = Reversal {
            wallet,
            transaction: written.entry.id,
            reverses: of,
            amount,
            balance_after: written.entry.balance_after,
            at: written.at,
            is_settled: true,
        };
        Ok(Answer { value, replayed: written.replayed })
    }

    /// Whether the transfer by which `block` sent a transaction back was refused, and its money is here again.
    async fn came_back(&self, wallet: WalletId, block: u64, of: TransactionId) -> Result<bool, Failure> {
        let range = BlockRange { first: block, last: block, newest_first: false };
        let block = self.store.blocks(wallet, range, 1).await?.pop();
        let entries = block.iter().flat_map(|block| &block.entries);
        let Some(sent) = entries.into_iter().find(|entry| entry.kind.reverses() == Some(of)) else { return Ok(false) };
        let head = self.head(wallet).await?;
        let record = history::transfer(&self.store, &head, sent.id).await?;
        Ok(record.is_some_and(|record| matches!(record.outcome, Outcome::Returned { .. })))
    }

    async fn send_back(
        &self,
        payment: Payment,
        of: TransactionId,
        context: &Context,
    ) -> Result<Answer<Reversal>, Failure> {
        let sent = self.send(payment, context).await?;
        let transfer = sent.value;
        let value = Reversal {
            wallet: payment.from,
            transaction: transfer.id,
            reverses: of,
            amount: transfer.amount,
            balance_after: transfer.balance_after,
            at: transfer.created_at,
            is_settled: transfer.status == TransferStatus::Settled,
        };
        Ok(Answer { value, replayed: sent.replayed })
    }
}

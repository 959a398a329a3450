//! Undoing a transaction by a compensating entry that names it. The reversed one stays as it is; that it is reversed
//! once only is kept by a row, written in the same transaction.

use ledger::{EntryKind, Intent, Money, Timestamp, TransactionId};
use store::{BlockRange, Store};
use topology::WalletId;

use super::transfers::Payment;
use super::{Answer, Context, TransferStatus, Wallets};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::reads::history;
use crate::sequencer::Work;

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
        let (of, amount) = (transaction, found.entry.amount);
        let intent = match found.entry.kind {
            EntryKind::Deposit => Intent::ReverseDeposit { of, amount },
            EntryKind::Withdrawal | EntryKind::HoldCaptured { .. } => Intent::ReverseWithdrawal { of, amount },
            EntryKind::TransferIn { from: payer, .. } => {
                let payment = Payment { from: wallet, to: payer, amount, reverses: Some(of) };
                return self.send_back(payment, &context).await;
            }
            EntryKind::Opened
            | EntryKind::TransferOut { .. }
            | EntryKind::TransferSettled { .. }
            | EntryKind::TransferReturned { .. }
            | EntryKind::TransferRefused { .. }
            | EntryKind::Frozen
            | EntryKind::Unfrozen
            | EntryKind::Closed
            | EntryKind::Moved { .. }
            | EntryKind::HoldPlaced { .. }
            | EntryKind::HoldVoided { .. }
            | EntryKind::HoldExpired { .. }
            | EntryKind::DepositReversed { .. }
            | EntryKind::WithdrawalReversed { .. }
            | EntryKind::Batch { .. } => return Err(Failure::NotReversible(transaction)),
        };
        let written = self.perform(wallet, Work::Alone(intent), &context).await?;
        let value = Reversal {
            wallet,
            transaction: written.entry.id,
            reverses: transaction,
            amount,
            balance_after: written.entry.balance_after,
            at: written.at,
            is_settled: true,
        };
        Ok(Answer { value, replayed: written.replayed })
    }

    /// Says of a transfer that was sent back before whether the money arrived there.
    async fn why_reversed(&self, payment: Payment) -> Result<Failure, Failure> {
        let (wallet, of) = (payment.from, payment.reverses.expect("only reversals are sent back"));
        let Some(row) = self.store.reversed_row(wallet, of).await? else { return Ok(Failure::AlreadyReversed) };
        let range = BlockRange { first: row.block, last: row.block, newest_first: false };
        let block = self.store.blocks(wallet, range, 1).await?.pop();
        let entries = block.into_iter().flat_map(|block| block.entries);
        let Some(entry) = entries.into_iter().find(|entry| entry.kind.reverses() == Some(of)) else {
            return Ok(Failure::AlreadyReversed);
        };
        Ok(match self.transfer_status(wallet, entry.id).await?.status {
            TransferStatus::Returned(_) => Failure::ReversalReturned { transfer: entry.id },
            TransferStatus::InFlight | TransferStatus::Settled => Failure::AlreadyReversed,
        })
    }

    async fn send_back(&self, payment: Payment, context: &Context) -> Result<Answer<Reversal>, Failure> {
        let sent = match self.send(payment, context).await {
            Err(Failure::AlreadyReversed) => return Err(self.why_reversed(payment).await?),
            sent => sent?,
        };
        let transfer = sent.value;
        let value = Reversal {
            wallet: payment.from,
            transaction: transfer.id,
            reverses: payment.reverses.expect("only reversals are sent back"),
            amount: transfer.amount,
            balance_after: transfer.balance_after,
            at: transfer.created_at,
            is_settled: transfer.status == TransferStatus::Settled,
        };
        Ok(Answer { value, replayed: sent.replayed })
    }
}

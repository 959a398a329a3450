//! Transfers: inside the cell in one commit, to another cell through the courier; and the receiving side of both.

use std::time::Duration;

use ledger::decide::can_receive;
use ledger::rows::OutRow;
use ledger::{EntryKind, Intent, Money, Route, Timestamp, TransactionId};
use store::Store;
use tokio::time::Instant;
use topology::WalletId;
use topology::wire::{Credit, CreditOutcome, CreditRefusal, Receivable};

use super::{Answer, Context, Wallets, Written};
use crate::failure::Failure;
use crate::meters;
use crate::peers::{PeerError, Peers};
use crate::reads::history::{self, Outcome};
use crate::sequencer::{Reply, Work};

/// How often a credit looks for its row again after another process recorded it at the same moment.
const MAX_ROW_RACES: usize = 8;
/// How long the status of a transfer waits for the payee's word.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferStatus {
    InFlight,
    Settled,
    Returned(CreditRefusal),
}

/// A transfer as its paying side sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransactionId,
    pub from: WalletId,
    pub to: WalletId,
    pub amount: Money,
    pub status: TransferStatus,
    pub created_at: Timestamp,
    /// When it left, or ended; unknown where it ended far from where it left in the chain.
    pub updated_at: Option<Timestamp>,
    /// The payer's balance right after the money left.
    pub balance_after: Money,
}

/// Money on its way from one wallet to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payment {
    pub from: WalletId,
    pub to: WalletId,
    pub amount: Money,
    /// The transfer into `from` that is sent back.
    pub reverses: Option<TransactionId>,
}

impl<S: Store, P: Peers> Wallets<S, P> {
    /// Moves money. Returns when the outcome is known, or in flight at the deadline; a refusal after the money had
    /// left is [`Failure::Returned`].
    pub async fn transfer(
        &self,
        from: WalletId,
        to: WalletId,
        amount: Money,
        context: Context,
    ) -> Result<Answer<Transfer>, Failure> {
        if from == to {
            return Err(Failure::SameWallet);
        }
        self.send(Payment { from, to, amount, reverses: None }, &context).await
    }

    pub(super) async fn send(&self, payment: Payment, context: &Context) -> Result<Answer<Transfer>, Failure> {
        let Payment { from, to, amount, reverses } = payment;
        let written = match self.perform(from, Work::TransferInside { to, amount, reverses }, context).await {
            // The payer is here (else the refusal would have named it); the payee is not.
            Err(Failure::WalletNotFound(wallet)) if wallet == to => self.send_across(payment, context).await?,
            // One of the two has moved away. If it is the payer, a look at its wallet says so, and
            // where to.
            Err(Failure::Misdirected { .. }) => {
                self.head(from).await?;
                self.send_across(payment, context).await?
            }
            other => other?,
        };
        self.outcome_of(written, context).await
    }

    /// Asks first whether the payee can receive; then the money leaves. A refusal goes through the
    /// payer's queue: the same request may have been carried out by another instance, whatever has
    /// become of the payee since.
    async fn send_across(&self, payment: Payment, context: &Context) -> Result<Written, Failure> {
        let Payment { from, to, amount, reverses } = payment;
        let work = match self.peers.receivable(to, context.deadline).await {
            Ok(Receivable { refusal: None, .. }) => {
                Work::Alone(Intent::Send { to, amount, route: Route::Across, reverses })
            }
            Ok(Receivable { refusal: Some(reason), .. }) => Work::Refuse(Box::new(Reply::CannotReceive(reason))),
            Err(PeerError::UnknownWallet) => Work::Refuse(Box::new(Reply::NoChain(to))),
            Err(PeerError::Unreachable(why)) => return Err(Failure::ReceiverUnavailable(why)),
        };
        self.perform(from, work, context).await
    }

    /// The outcome of a transfer, with its paying entry in the chain, waiting for it up to the
    /// deadline.
    async fn outcome_of(&self, written: Written, context: &Context) -> Result<Answer<Transfer>, Failure> {
        let EntryKind::TransferOut { to, route, .. } = written.entry.kind else {
            // The key belongs to something else: its request differs, and was refused before.
            return Err(Failure::KeyReused);
        };
        let outcome = match route {
            Route::Inside => Outcome::Settled { at: Some(written.at) },
            Route::Across => {
                let row = OutRow {
                    wallet: written.wallet,
                    transfer: written.entry.id,
                    to,
                    amount: written.entry.amount,
                    at: written.at,
                    block: written.block,
                };
                self.across_outcome(row, written.replayed, context).await?
            }
        };
        let transfer = transfer_view(&written, to, outcome);
        match transfer.status {
            TransferStatus::Returned(reason) => Err(Failure::Returned { transfer: transfer.id, reason }),
            _ => Ok(Answer { value: transfer, replayed: written.replayed }),
        }
    }

    async fn across_outcome(&self, row: OutRow, replayed: bool, context: &Context) -> Result<Outcome, Failure> {
        if replayed {
            let head = self.head(row.wallet).await?;
            match history::transfer(&self.store, &head, row.transfer).await? {
                Some(record) if !matches!(record.outcome, Outcome::InFlight | Outcome::Ended) => {
                    return Ok(record.outcome);
                }
                _ => {}
            }
        }
        Ok(self.courier.deliver(row, context.deadline).await)
    }

    /// A transfer out of `wallet`, as it is now.
    pub async fn transfer_status(&self, wallet: WalletId, transfer: TransactionId) -> Result<Transfer, Failure> {
        let head = self.head(wallet).await?;
        let record = history::transfer(&self.store, &head, transfer).await?;
        let record = record.ok_or(Failure::TransferNotFound(transfer))?;
        let EntryKind::TransferOut { to, .. } = record.out.kind else {
            return Err(Failure::TransferNotFound(transfer));
        };
        let outcome = match record.outcome {
            // The credit is repeated, which changes nothing, and the payee says again what it said first.
            Outcome::Ended => {
                let (amount, at) = (record.out.amount, record.at);
                let row = OutRow { wallet, transfer, to, amount, at, block: record.block };
                match self.courier.deliver(row, Instant::now() + OUTCOME_PATIENCE).await {
                    Outcome::InFlight => {
                        return Err(Failure::Unavailable("the payee did not say how the transfer ended".into()));
                    }
                    ended => ended,
                }
            }
            outcome => outcome,
        };
        let written =
            Written { wallet, entry: record.out, at: record.at, block: 0, state: head.state, replayed: false };
        Ok(transfer_view(&written, to, outcome))
    }

    /// Tries at once to deliver a transfer that is in flight; the transfer as it is afterwards, or
    /// at the deadline.
    pub async fn deliver(
        &self,
        wallet: WalletId,
        transfer: TransactionId,
        deadline: Instant,
    ) -> Result<Transfer, Failure> {
        self.head(wallet).await?;
        if let Some(row) = self.store.out_row(wallet, transfer).await? {
            self.courier.deliver(row, deadline).await;
        }
        self.transfer_status(wallet, transfer).await
    }

    /// Whether `wallet` could receive money now: asked by the paying cell before anything leaves.
    pub async fn receivable(&self, wallet: WalletId) -> Result<Receivable, Failure> {
        let head = self.head(wallet).await?;
        let refusal = can_receive(&head.state, Money::MIN_AMOUNT).err().map(ledger::decide::credit_refusal);
        Ok(Receivable { wallet_id: wallet, refusal })
    }

    /// Takes delivery of money from another cell, or records that it is refused. A repetition gets the same answer.
    pub async fn credit(&self, credit: &Credit, context: Context) -> Result<CreditOutcome, Failure> {
        let outcome = self.credit_now(credit, context).await;
        meters::performed("credit", outcome.as_ref().map(|_| false));
        outcome
    }

    async fn credit_now(&self, credit: &Credit, context: Context) -> Result<CreditOutcome, Failure> {
        let (wallet, id) = (credit.to_wallet_id, credit.transfer_id);
        let (from, amount) = (credit.from_wallet_id, Money::from_minor(credit.amount_minor));
        let work = Work::Alone(Intent::Receive { from, amount, route: Route::Across });
        for _ in 0..MAX_ROW_RACES {
            // A row may have come along with a chain that is served elsewhere by now: only its home answers.
            self.head(wallet).await?;
            if let Some(row) = self.store.in_row(wallet, id).await? {
                return Ok(row.outcome);
            }
            let command = self.command(id, wallet, work.clone(), &context);
            match self.submitter.submit(command).await {
                Reply::Done { block, entry } => return Ok(outcome_of_entry(&block.entries[entry].kind)),
                // Another delivery was faster, or the wallet has just left or arrived: looking again tells.
                Reply::RowConflict | Reply::Elsewhere { .. } | Reply::NoChain(_) => {}
                reply => return Err(Failure::of_reply(reply)),
            }
        }
        Err(Failure::Contended)
    }
}

fn outcome_of_entry(kind: &EntryKind) -> CreditOutcome {
    match kind {
        EntryKind::TransferRefused { reason, .. } => CreditOutcome::Refused { reason: *reason },
        EntryKind::TransferIn { .. } => CreditOutcome::Received,
        other => unreachable!("{other:?} does not answer a credit"),
    }
}

fn transfer_view(written: &Written, to: WalletId, outcome: Outcome) -> Transfer {
    let (status, updated_at) = match outcome {
        Outcome::InFlight | Outcome::Ended => (TransferStatus::InFlight, Some(written.at)),
        Outcome::Settled { at } => (TransferStatus::Settled, at),
        Outcome::Returned { at, reason } => (TransferStatus::Returned(reason), at),
    };
    Transfer {
        id: written.entry.id,
        from: written.wallet,
        to,
        amount: written.entry.amount,
        status,
        created_at: written.at,
        updated_at,
        balance_after: written.entry.balance_after,
    }
}

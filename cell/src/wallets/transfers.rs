//! Transfers: the money leaves the payer's chain, and the courier carries it to the payee, wherever that is.

use std::time::Duration;

use ledger::decide::{can_receive, credit_refusal};
use ledger::{EntryKind, Intent, Money, OpenTransfer, ShortText, Timestamp, TransactionId, WalletState};
use store::Store;
use tokio::time::Instant;
use topology::WalletId;
use topology::wire::{Credit, CreditOutcome, CreditRefusal, Receivable};

use super::{Answer, Context, Wallets, Written};
use crate::failure::Failure;
use crate::meters;
use crate::peers::{PeerError, Peers};
use crate::reads::history::{self, Outcome};
use crate::receiving::Received;
use crate::sequencer::{Once, Reply, Work};

/// How often a credit looks again for a wallet that has just left or arrived.
const MAX_LOOKS: usize = 4;
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
    /// The payer's name for it; may be empty.
    pub reference: ShortText,
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
    pub reverses: Option<Reversed>,
}

/// A transfer that is to be sent back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reversed {
    pub of: TransactionId,
    /// What says that it was sent back before.
    pub once: Once,
}

/// What is known of a payee before any money leaves.
enum Payee {
    /// It can receive; and whether it is in this cell.
    Ready {
        is_here: bool,
    },
    Not(Reply),
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

    /// Asks first whether the payee can receive; then the money leaves. A refusal goes through the payer's queue: the
    /// same request may have been carried out before, whatever has become of the payee since.
    pub(super) async fn send(&self, payment: Payment, context: &Context) -> Result<Answer<Transfer>, Failure> {
        let Payment { from, to, amount, reverses } = payment;
        let (work, is_here) = match self.payee(to, context.deadline).await? {
            Payee::Ready { is_here } => {
                (Work::Alone(Intent::Send { to, amount, reverses: reverses.map(|reversed| reversed.of) }), is_here)
            }
            Payee::Not(reply) => (Work::Refuse(Box::new(reply)), false),
        };
        let written = self.perform(from, work, reverses.map(|reversed| reversed.once), context).await?;
        self.outcome_of(written, Some(is_here), context).await
    }

    async fn payee(&self, payee: WalletId, deadline: Instant) -> Result<Payee, Failure> {
        if let Some(state) = self.remembered(payee).await {
            return Ok(payee_here(&state));
        }
        if let Some(head) = self.store.head(payee).await?.filter(|head| head.home == self.cell) {
            return Ok(payee_here(&head.state));
        }
        Ok(match self.peers.receivable(payee, deadline).await {
            Ok(Receivable { refusal: None, .. }) => Payee::Ready { is_here: false },
            Ok(Receivable { refusal: Some(reason), .. }) => Payee::Not(Reply::CannotReceive(reason)),
            Err(PeerError::UnknownWallet) => Payee::Not(Reply::NoChain(payee)),
            Err(PeerError::Unreachable(why)) => Payee::Not(Reply::ReceiverUnavailable(why)),
        })
    }

    /// The state of a wallet that this instance remembers as one of this cell.
    async fn remembered(&self, wallet: WalletId) -> Option<WalletState> {
        self.submitter.peek(wallet).await.filter(|head| head.home == self.cell).map(|head| head.state)
    }

    /// The outcome of a transfer, with its paying entry in the chain, waiting for it up to the
    /// deadline.
    async fn outcome_of(
        &self,
        written: Written,
        is_here: Option<bool>,
        context: &Context,
    ) -> Result<Answer<Transfer>, Failure> {
        let EntryKind::TransferOut { to, .. } = written.entry.kind else {
            // The key belongs to something else: its request differs, and was refused before.
            return Err(Failure::KeyReused);
        };
        let open = OpenTransfer {
            payer: written.wallet,
            transfer: written.entry.id,
            payee: to,
            amount: written.entry.amount,
            reverses: written.entry.kind.reverses(),
            reference: written.entry.reference.clone(),
            left_at: written.at,
            block: written.block,
        };
        let is_here = is_here.filter(|_| !written.replayed);
        let recorded = if written.replayed { self.recorded_outcome(&open).await? } else { None };
        let outcome = match recorded {
            Some(outcome) => outcome,
            None => self.courier.deliver(open, is_here, context.deadline).await,
        };
        // When it was settled is not known yet when the first answer is given, and every repetition gets the same.
        let outcome = match outcome {
            Outcome::Settled { .. } => Outcome::Settled { at: None },
            outcome => outcome,
        };
        let transfer = transfer_view(&written, to, outcome);
        match transfer.status {
            TransferStatus::Returned(reason) => Err(Failure::Returned { transfer: transfer.id, reason }),
            _ => Ok(Answer { value: transfer, replayed: written.replayed }),
        }
    }

    /// How the transfer ended, if the chain says so.
    async fn recorded_outcome(&self, open: &OpenTransfer) -> Result<Option<Outcome>, Failure> {
        let head = self.head(open.payer).await?;
        let record = history::transfer(&self.store, &head, open.transfer).await?;
        let outcome = record.map(|record| record.outcome);
        Ok(outcome.filter(|outcome| !matches!(outcome, Outcome::InFlight | Outcome::Ended)))
    }

    /// A transfer out of `wallet`, as it is now. One that is open is delivered first, so that this never says less than
    /// the answer to the payer did.
    pub async fn transfer_status(&self, wallet: WalletId, transfer: TransactionId) -> Result<Transfer, Failure> {
        self.deliver(wallet, transfer, Instant::now() + OUTCOME_PATIENCE).await
    }

    /// Tries at once to deliver a transfer that is open; the transfer as it is afterwards, or at the deadline.
    pub async fn deliver(
        &self,
        wallet: WalletId,
        transfer: TransactionId,
        deadline: Instant,
    ) -> Result<Transfer, Failure> {
        let head = self.head(wallet).await?;
        let record = history::transfer(&self.store, &head, transfer).await?;
        let record = record.ok_or(Failure::TransferNotFound(transfer))?;
        let (to, at, block) = (record.open.payee, record.open.left_at, record.open.block);
        let outcome = match record.outcome {
            // The credit is repeated, which changes nothing, and the payee says again what it said first.
            Outcome::InFlight => self.courier.deliver(record.open, None, deadline).await,
            Outcome::Ended => match self.courier.deliver(record.open, None, deadline).await {
                Outcome::InFlight => {
                    return Err(Failure::Unavailable("the payee did not say how the transfer ended".into()));
                }
                ended => ended,
            },
            outcome => outcome,
        };
        let written = Written { wallet, entry: record.out, at, block, state: head.state, user: None, replayed: false };
        Ok(transfer_view(&written, to, outcome))
    }

    /// Whether `wallet` could receive money now: asked by the paying cell before anything leaves.
    pub async fn receivable(&self, wallet: WalletId) -> Result<Receivable, Failure> {
        let state = match self.remembered(wallet).await {
            Some(state) => state,
            None => self.head(wallet).await?.state,
        };
        Ok(Receivable { wallet_id: wallet, refusal: refusal_of(&state) })
    }

    /// Takes delivery of money from another cell, or records that it is refused. A repetition gets the same answer.
    pub async fn credit(&self, credit: &Credit, context: Context) -> Result<CreditOutcome, Failure> {
        let outcome = self.credit_now(credit, context).await;
        meters::performed("credit", outcome.as_ref().map(|_| false));
        outcome
    }

    async fn credit_now(&self, credit: &Credit, context: Context) -> Result<CreditOutcome, Failure> {
        for _ in 0..MAX_LOOKS {
            match self.receiver.receive(credit, context.audit.clone(), context.deadline).await? {
                Received::Outcome(outcome) => return Ok(outcome),
                // Looking at the chain says where it lives; if it has just arrived, here is where it goes on.
                Received::NotHere => drop(self.head(credit.to_wallet_id).await?),
            }
        }
        Err(Failure::Contended)
    }
}

/// Of a payee in this cell.
fn payee_here(state: &WalletState) -> Payee {
    match refusal_of(state) {
        None => Payee::Ready { is_here: true },
        Some(reason) => Payee::Not(Reply::CannotReceive(reason)),
    }
}

fn refusal_of(state: &WalletState) -> Option<CreditRefusal> {
    can_receive(state, Money::MIN_AMOUNT).err().map(credit_refusal)
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
        reference: written.entry.reference.clone(),
        status,
        created_at: written.at,
        updated_at,
        balance_after: written.entry.balance_after,
    }
}

//! One attempt at a delivery: asks the payee's cell, and records its word in the paying chain.

use std::time::Duration;

use ledger::{Audit, Intent, Note, OpenTransfer, ShortText, Timestamp};
use store::Store;
use tokio::time::{Instant, timeout_at};
use topology::wire::{Credit, CreditOutcome};
use topology::{CellId, WalletId};
use tracing::warn;

use super::lanes::Met;
use super::{End, Waiting};
use crate::clock::Clock;
use crate::driver::Submitter;
use crate::peers::{Credited, PeerError, Peers};
use crate::receiving::{Received, Receiver};
use crate::sequencer::{Command, Known, Reply, Work};

/// One question to the payee's cell.
const CREDIT_TIMEOUT: Duration = Duration::from_secs(3);
/// The actor in the entries that the courier causes.
const ACTOR: &str = "courier";

/// What became of recording the payee's word.
pub enum Recorded {
    /// It is in the chain; the time of its block, where that is known.
    At(Option<Timestamp>),
    /// The wallet has moved: the courier of its new cell carries on.
    NotHere,
    NotYet,
}

#[derive(Clone)]
pub struct Delivery<S, P> {
    pub cell: CellId,
    pub store: S,
    pub peers: P,
    pub receiver: Receiver<S>,
    pub submitter: Submitter,
    pub clock: Clock,
}

impl<S: Store, P: Peers> Delivery<S, P> {
    /// Asks the payee's cell once, unless it has answered before.
    pub async fn attempt(&self, mut transfer: Waiting) -> (Waiting, End, Met) {
        let answered = Met { cell: None, answered: true };
        if let Some(outcome) = transfer.known {
            return (transfer, End::Answered(outcome), answered);
        }
        if transfer.carried_on && !self.may_be_open(&transfer.open).await {
            return (transfer, End::Over, answered);
        }
        let is_here = match transfer.is_here {
            Some(is_here) => is_here,
            None => self.is_here(transfer.open.payee).await,
        };
        let Credited { cell, outcome } = self.ask(&transfer.open, is_here).await;
        // Where this instance got no further, another one of the cell may.
        transfer.is_here = is_here.then_some(false);
        let met = Met { cell, answered: !matches!(outcome, Err(PeerError::Unreachable(_))) };
        // Also "unknown wallet": wallets never vanish, so it is a routing fault.
        let end = match outcome {
            Ok(outcome) => End::Answered(outcome),
            Err(error) => {
                warn!(transfer = %transfer.open.transfer, %error, "a credit was not answered");
                End::NotYet
            }
        };
        (transfer, end, met)
    }

    /// Whether the transfer's own cell is this one, and its chain does not say that it is concluded. Where the store does
    /// not answer, asking the payee again does no harm.
    async fn may_be_open(&self, open: &OpenTransfer) -> bool {
        match self.store.head(open.payer).await {
            Ok(Some(head)) => {
                head.home == self.cell && head.state.open_count > 0 && head.state.open_since <= open.block
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    async fn ask(&self, open: &OpenTransfer, is_here: bool) -> Credited {
        let &OpenTransfer { payer, transfer: id, payee, amount, left_at, ref reference, .. } = open;
        let credit = Credit {
            transfer_id: id,
            from_wallet_id: payer,
            to_wallet_id: payee,
            amount_minor: amount.minor(),
            left_at_micros: left_at.micros(),
            request_id: id.to_string(),
            actor: ACTOR.into(),
            reference: reference.as_str().to_owned(),
        };
        let deadline = Instant::now() + CREDIT_TIMEOUT;
        if is_here {
            let received = timeout_at(deadline, self.receiver.receive(&credit, audit(open), deadline)).await;
            let unreachable = |why: String| Some(Err(PeerError::Unreachable(why)));
            let outcome = match received {
                Ok(Ok(Received::Outcome(outcome))) => Some(Ok(outcome)),
                Ok(Ok(Received::NotHere)) => None,
                Ok(Err(failure)) => unreachable(failure.to_string()),
                Err(_) => unreachable("deadline".into()),
            };
            if let Some(outcome) = outcome {
                return Credited { cell: Some(self.cell.clone()), outcome };
            }
        }
        self.peers.credit(&credit, deadline).await
    }

    async fn is_here(&self, payee: WalletId) -> bool {
        matches!(self.store.head(payee).await, Ok(Some(head)) if head.home == self.cell)
    }

    /// Records the payee's word in the paying chain.
    pub async fn record(&self, open: &OpenTransfer, outcome: CreditOutcome) -> Recorded {
        let transfer = open.transfer;
        let intent = match outcome {
            CreditOutcome::Received => Intent::Settle { transfer },
            CreditOutcome::Refused { reason } => Intent::TakeBack { transfer, amount: open.amount, reason },
        };
        let command = Command {
            id: self.clock.transaction_id(),
            wallet: open.payer,
            work: Work::Alone(intent),
            once: None,
            key: None,
            audit: audit(open),
            note: Note::default(),
            expires_at: Timestamp::from_micros(i64::MAX),
            known: Known::default(),
        };
        match self.submitter.submit(command).await {
            Reply::Done { block, .. } => Recorded::At(Some(block.at)),
            // Another courier was faster; the payee's word is the same for both.
            Reply::NotOpen => Recorded::At(None),
            Reply::Elsewhere { .. } | Reply::NoChain(_) => Recorded::NotHere,
            _ => Recorded::NotYet,
        }
    }
}

fn audit(open: &OpenTransfer) -> Audit {
    let short = |text: &str| ShortText::cut(text, ShortText::MAX_BYTES);
    Audit { request_id: short(&open.transfer.to_string()), actor: short(ACTOR), ..Audit::default() }
}

//! The receiving side of a transfer: takes delivery of a credit, or records that it is refused. A repetition gets the
//! same answer, however late it comes.

use ledger::flow::{Flow, Leg};
use ledger::marks::Mark;
use ledger::{Audit, Block, EntryKind, Intent, Money, Note, ShortText, Timestamp, TransactionId};
use store::{BlockRange, Store};
use tokio::time::Instant;
use topology::wire::{Credit, CreditOutcome};
use topology::{CellId, WalletId};

use crate::clock::Clock;
use crate::driver::{LookedUp, Submitter, look_up, look_up_doubts};
use crate::failure::Failure;
use crate::sequencer::{Command, Known, Once, Reply, Work};

/// How often a credit is decided again after it was looked up.
const MAX_ROUNDS: usize = 6;
/// How far the times of two blocks of different cells may be from their true order: each clock is trusted to 5 s.
const CLOCK_SLACK_MICROS: i64 = 10_000_000;

/// What became of a credit.
#[derive(Debug)]
pub enum Received {
    Outcome(CreditOutcome),
    /// The payee's wallet is not in this cell.
    NotHere,
}

/// What a receiving cell needs.
#[derive(Clone)]
pub struct Receiver<S> {
    cell: CellId,
    store: S,
    submitter: Submitter,
    clock: Clock,
}

impl<S: Store> Receiver<S> {
    pub fn new(cell: CellId, store: S, submitter: Submitter, clock: Clock) -> Self {
        Self { cell, store, submitter, clock }
    }

    pub async fn receive(&self, credit: &Credit, audit: Audit, deadline: Instant) -> Result<Received, Failure> {
        let mut command = self.command(credit, audit, deadline);
        let (wallet, transfer) = (command.wallet, command.id);
        for _ in 0..MAX_ROUNDS {
            match self.submitter.submit(command.clone()).await {
                Reply::Done { block, entry, .. } => {
                    let outcome = outcome_of(&block.entries[entry].kind);
                    return Ok(Received::Outcome(outcome.expect("the entry of a credit says what became of it")));
                }
                Reply::SeenOnce { block } => return self.recorded(wallet, block, transfer).await,
                Reply::Perhaps(doubts) => {
                    look_up_doubts(&self.store, &mut command, doubts, &mut self.clock.random()).await?;
                }
                Reply::NotRemembered => {
                    let once = command.once.as_mut().expect("a credit is taken once");
                    let (mark, since, now, random) = (once.mark, once.since, self.clock.now(), self.clock.random());
                    match look_up(&self.store, &self.cell, wallet, mark, since, random).await? {
                        LookedUp::Here { latest: Some(block), .. } => {
                            return self.recorded(wallet, block, transfer).await;
                        }
                        LookedUp::Here { latest: None, through, at } => *once = once.looked_up(through, at, now),
                        LookedUp::Elsewhere => return Ok(Received::NotHere),
                    }
                }
                Reply::Elsewhere { .. } | Reply::NoChain(_) => return Ok(Received::NotHere),
                reply => return Err(Failure::of_reply(reply)),
            }
        }
        Err(Failure::Contended)
    }

    /// The word that a block holds. A wallet that leaves and is purged meanwhile has no such block any more.
    async fn recorded(&self, wallet: WalletId, block: u64, transfer: TransactionId) -> Result<Received, Failure> {
        let range = BlockRange { first: block, last: block, newest_first: false };
        let recorded = self.store.blocks(wallet, range, 1).await?.pop();
        let outcome = recorded.as_ref().and_then(|block| recorded_outcome(block, transfer));
        outcome.map(Received::Outcome).ok_or(Failure::Contended)
    }

    fn command(&self, credit: &Credit, audit: Audit, deadline: Instant) -> Command {
        let patience = deadline.saturating_duration_since(Instant::now());
        let left_at = Timestamp::from_micros(credit.left_at_micros);
        let (from, amount) = (credit.from_wallet_id, Money::from_minor(credit.amount_minor));
        let mark = Mark::of_credit(credit.transfer_id);
        Command {
            id: credit.transfer_id,
            wallet: credit.to_wallet_id,
            work: Work::Alone(Intent::Receive { from, amount }),
            once: Some(Once::new(mark, left_at.plus_micros(-CLOCK_SLACK_MICROS))),
            key: None,
            audit,
            note: Note { reference: ShortText::cut(&credit.reference, ShortText::MAX_BYTES), ..Note::default() },
            expires_at: self.clock.now().plus_micros(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX)),
            known: Known::default(),
        }
    }
}

/// What a block says of a transfer into its wallet.
fn recorded_outcome(block: &Block, transfer: TransactionId) -> Option<CreditOutcome> {
    block.entries.iter().find_map(|entry| match entry.flow() {
        Flow::Transfer { id, leg: Leg::Received { .. } | Leg::Refused { .. } } if id == transfer => {
            outcome_of(&entry.kind)
        }
        _ => None,
    })
}

fn outcome_of(kind: &EntryKind) -> Option<CreditOutcome> {
    match kind {
        EntryKind::TransferRefused { reason, .. } => Some(CreditOutcome::Refused { reason: *reason }),
        EntryKind::TransferIn { .. } => Some(CreditOutcome::Received),
        _ => None,
    }
}

//! What the sequencer is asked, and what it answers.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ledger::fence::PURGE_AFTER;
use ledger::marks::Mark;
use ledger::{Audit, Block, Intent, ItemOutcome, Key, Note, Refusal, Timestamp, TransactionId};
use topology::wire::CreditRefusal;
use topology::{CellId, UserId, WalletId};

use super::seen::Known;

/// One thing to be done to one wallet, named by its transaction id from the moment it is admitted: a write that was
/// given up for lost and lands after all is recognised by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub id: TransactionId,
    pub wallet: WalletId,
    pub work: Work,
    /// Of work that the chain may do only once.
    pub once: Option<Once>,
    pub key: Option<Key>,
    pub audit: Audit,
    pub note: Note,
    /// Not started after this time.
    pub expires_at: Timestamp,
    /// What was looked up of its key.
    pub known: Known,
}

/// What no entry of the chain may bear for the work to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    pub mark: Mark,
    /// No block before this time bears it.
    pub since: Timestamp,
    /// What was looked up of it. What was undone does not count.
    pub known: Known,
}

impl Once {
    pub fn new(mark: Mark, since: Timestamp) -> Self {
        Self { mark, since, known: Known::default() }
    }

    /// No block up to `through`, which bears the time `at` and was the head at `now`, bears it. What came after that has to
    /// be remembered: it is no older than a write that was decided before and lands as late as one can.
    pub fn looked_up(self, through: u64, at: Timestamp, now: Timestamp) -> Self {
        let oldest = i64::try_from(PURGE_AFTER.as_micros()).unwrap_or(i64::MAX);
        let mut known = self.known;
        known.extend(Known::found(through, None));
        Self { since: self.since.max(at).max(now.plus_micros(oldest.saturating_neg())), known, ..self }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Alone(Intent),
    /// Several operations, in one block.
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
    pub intent: Intent,
    /// The operation's own idempotency key.
    pub key: Option<Key>,
    pub note: Note,
    /// Its own key was used before, which is what becomes of it: it is not decided.
    pub before: Option<ItemOutcome>,
    /// What was looked up of it.
    pub known: Known,
}

impl Command {
    /// How many entries it makes at most.
    pub fn entries(&self) -> usize {
        match &self.work {
            Work::Batch(batch) => batch.items.len() + 1,
            Work::Alone(_) | Work::Refuse(_) => 1,
        }
    }

    /// The marks that its entries would bear.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let items = match &self.work {
            Work::Batch(batch) => batch.items.as_slice(),
            Work::Alone(_) | Work::Refuse(_) => &[],
        };
        let keys = self.key.iter().chain(items.iter().filter_map(|item| item.key.as_ref()));
        keys.map(Key::mark).chain(self.once.map(|once| once.mark))
    }

    /// Notes what was looked up of a mark of its own.
    pub fn learn(&mut self, mark: Mark, known: Known) {
        if let Work::Batch(batch) = &mut self.work {
            let of_mark = |item: &&mut BatchItem| item.key.as_ref().is_some_and(|key| key.mark() == mark);
            batch.items.iter_mut().filter(of_mark).for_each(|item| item.known.extend(known));
        }
        if self.key.as_ref().is_some_and(|key| key.mark() == mark) {
            self.known.extend(known);
        }
        if let Some(once) = self.once.as_mut().filter(|once| once.mark == mark) {
            once.known.extend(known);
        }
    }

    pub fn is_credit(&self) -> bool {
        matches!(self.work, Work::Alone(Intent::Receive { .. }))
    }

    /// Bookkeeping that no caller waits for: it goes along with the wallet's next block.
    pub fn is_patient(&self) -> bool {
        matches!(self.work, Work::Alone(Intent::Settle { .. }))
    }
}

/// A mark that blocks in these parts of the chain, oldest first, may bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub mark: Mark,
    pub parts: Vec<RangeInclusive<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Committed: `block.entries[entry]` is the command's own entry; of a batch, the one that says what became of it.
    /// `user` owns the wallet; `None` if that is erased.
    Done { block: Arc<Block>, entry: usize, user: Option<UserId> },
    /// Of a batch: its own idempotency key was used in `block`, and those of the operations at these places in these.
    SeenKeys { block: Option<u64>, items: Vec<(usize, u64)> },
    /// Of a batch that is all or nothing: the operation at this place is not possible.
    ItemRefused { item: usize, refusal: Refusal },
    /// The idempotency key was used in this block: the first result is there.
    SeenKey { block: u64 },
    /// What may be done only once was done in this block.
    SeenOnce { block: u64 },
    /// Some of its marks may have been made: they have to be looked up in these parts of the chain, and the command
    /// submitted again with what was found ([`Command::learn`]). Nothing was done.
    Perhaps(Vec<Doubt>),
    /// Whether it was done before is not in memory: it has to be looked up from [`Once::since`] on. Nothing was done.
    NotRemembered,
    /// More idempotency keys were used in the last 24 hours than are remembered, and this one may be among the others.
    /// Nothing was done.
    WindowFull,
    /// Not possible, judged on a head of `wallet` that was confirmed after the command arrived.
    Refused { wallet: WalletId, refusal: Refusal },
    /// The transfer to be settled or taken back is not open, judged in the same way.
    NotOpen,
    /// Of a transfer: the payee's cell says that it cannot receive.
    CannotReceive(CreditRefusal),
    /// Of a transfer: the payee's cell did not say whether it can receive.
    ReceiverUnavailable(String),
    /// This cell holds no chain for the wallet.
    NoChain(WalletId),
    /// The chain says that the wallet lives in another cell.
    Elsewhere { wallet: WalletId, home: CellId },
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

//! Builds the next block of one wallet: takes what waits in its queue and decides each command on the running state.

use std::collections::{BTreeSet, HashSet};

use ledger::block::{ItemOutcome, item_id};
use ledger::decide::{can_batch, expiry, item_outcome, record_refusal};
use ledger::marks::{KEY_LIFETIME_MICROS, Mark};
use ledger::open::OpenTransfers;
use ledger::{
    Block, Entry, EntryKind, Head, Intent, Key, Money, Note, Owner, Personal, PersonalPart, Timestamp, TransactionId,
    WalletState, chain, decide,
};
use topology::WalletId;

use super::command::{Batch, Command, Doubt, Reply, Work};
use super::seen::{Known, Seen, Use};
use super::slot::Slot;
use super::{CommandId, Mutation, Sequencer};

/// The block as far as it is decided.
pub struct Draft {
    pub state: WalletState,
    pub entries: Vec<Entry>,
    /// What of each is about a person.
    personal: Vec<Personal>,
    /// The number and the time that it will bear.
    place: (u64, Timestamp),
    /// How many of its entries are the end of a hold.
    expired: usize,
    /// Transfers that it ends.
    ended: BTreeSet<TransactionId>,
}

/// What is to be done next for a wallet.
pub struct Plan {
    pub wallet: WalletId,
    pub draft: Draft,
    /// Each with the position of its own entry.
    pub accepted: Vec<(CommandId, usize)>,
    /// Refusals that are right if the commit succeeds, because it proves the head they rest on.
    pub refused: Vec<(CommandId, Reply)>,
    /// Answers that need no commit.
    pub replies: Vec<(CommandId, Reply)>,
    /// A refusal rests on a head that has to be read again.
    pub needs_load: bool,
    now: Timestamp,
    marks: HashSet<Mark>,
    /// Refusals, until it is known whether the wallet gets a block.
    doubtful: Vec<(CommandId, Reply)>,
}

impl Plan {
    /// Of a wallet with a head that may be decided on.
    pub fn build(sequencer: &Sequencer, wallet: WalletId, now: Timestamp) -> Plan {
        let slot = &sequencer.slots[&wallet];
        let head = slot.head.as_ref().expect("the wallet is loaded");
        let mut plan = Plan {
            wallet,
            draft: Draft::after(head, now),
            accepted: Vec::new(),
            refused: Vec::new(),
            replies: Vec::new(),
            needs_load: false,
            now,
            marks: HashSet::new(),
            doubtful: Vec::new(),
        };
        for id in &slot.queue {
            if plan.draft.length() >= sequencer.limits.entries_per_block {
                break;
            }
            plan.consider(sequencer, slot, *id);
        }
        plan.draft.close(&slot.open);
        plan.settle_refusals(sequencer, slot);
        plan
    }

    /// Decides a command, or leaves it in the queue.
    fn consider(&mut self, sequencer: &Sequencer, slot: &Slot, id: CommandId) {
        let command = sequencer.pending[&id].command.clone();
        if command.expires_at < self.now {
            return self.replies.push((id, Reply::Expired));
        }
        if let Some(reply) = self.seen_before(sequencer, &slot.seen, &command) {
            return self.replies.push((id, reply));
        }
        // The same at once: the second waits for the first one's block.
        let is_repeated = command.marks().any(|mark| self.marks.contains(&mark));
        // A batch that is larger than what else makes a block has one for itself.
        let length = self.draft.length();
        let is_too_long = length > 0 && length + command.entries() > sequencer.limits.entries_per_block;
        if !is_repeated && !is_too_long {
            self.take(sequencer, slot, id, &command);
        }
    }

    /// Where the command's marks were made, if they may have been.
    fn seen_before(&self, sequencer: &Sequencer, seen: &Seen, command: &Command) -> Option<Reply> {
        let since = self.now.plus_micros(-KEY_LIFETIME_MICROS);
        let is_full = seen.marks() >= sequencer.limits.marks_per_wallet;
        let (mut is_unknown, mut doubts) = (false, Vec::new());
        let mut key = |key: &Option<Key>, known: Known| {
            let mark = key.as_ref()?.mark();
            match seen.use_of(mark, since, known) {
                Use::Block(block) => return Some(block),
                Use::Perhaps(parts) => doubts.push(Doubt { mark, parts }),
                Use::Never if !is_full => {}
                Use::Never | Use::Unknown => is_unknown = true,
            }
            None
        };
        let block = key(&command.key, command.known);
        let found = match &command.work {
            Work::Batch(batch) => {
                let undone = batch.items.iter().enumerate().filter(|(_, item)| item.before.is_none());
                let items: Vec<_> =
                    undone.filter_map(|(place, item)| Some((place, key(&item.key, item.known)?))).collect();
                (block.is_some() || !items.is_empty()).then_some(Reply::SeenKeys { block, items })
            }
            Work::Alone(_) | Work::Refuse(_) => block.map(|block| Reply::SeenKey { block }),
        };
        let once = || {
            let once = command.once?;
            match seen.use_of(once.mark, once.since, once.known) {
                Use::Block(block) => Some(Reply::SeenOnce { block }),
                Use::Perhaps(parts) => Some(Reply::Perhaps(vec![Doubt { mark: once.mark, parts }])),
                Use::Never => None,
                Use::Unknown => Some(Reply::NotRemembered),
            }
        };
        let in_doubt = (!doubts.is_empty()).then_some(Reply::Perhaps(doubts));
        in_doubt.or(found).or(is_unknown.then_some(Reply::WindowFull)).or_else(once)
    }

    /// Decides the command on the running state and takes its entries in, or notes its refusal.
    fn take(&mut self, sequencer: &Sequencer, slot: &Slot, id: CommandId, command: &Command) {
        let intent = match &command.work {
            Work::Batch(batch) => return self.take_batch(id, command, batch),
            Work::Refuse(reply) => return self.doubtful.push((id, Reply::clone(reply))),
            Work::Alone(intent) => intent,
        };
        if let Intent::Settle { transfer } | Intent::TakeBack { transfer, .. } = intent {
            let is_open = slot.open.get(*transfer).is_some() && self.draft.ended.insert(*transfer);
            if !is_open && !sequencer.limits.mutation.makes(Mutation::SettledTwice) {
                return self.doubtful.push((id, Reply::NotOpen));
            }
        }
        let decided = match (decide(&self.draft.state, intent, self.draft.place.1), intent) {
            // Money that has left its payer must get a recorded answer.
            (Err(refusal), Intent::Receive { from, .. }) => {
                Ok((record_refusal(refusal, command.id, *from), Money::ZERO))
            }
            (decided, _) => decided,
        };
        match decided {
            Ok((kind, amount)) => {
                self.accept(id, command);
                let made = Entry { key: command.key, ..entry(command, kind, amount, &command.note) };
                self.draft.push(made, Personal::of(&command.audit, &command.note));
            }
            Err(refusal) => self.doubtful.push((id, Reply::Refused { wallet: self.wallet, refusal })),
        }
    }

    /// One entry that says what became of each operation, and one for each that is done.
    fn take_batch(&mut self, id: CommandId, command: &Command, batch: &Batch) {
        let wallet = self.wallet;
        let (mut state, place) = (self.draft.state.clone(), self.draft.place);
        if let Err(refusal) = can_batch(&state) {
            return self.doubtful.push((id, Reply::Refused { wallet, refusal }));
        }
        let (mut outcomes, mut done) = (Vec::new(), Vec::new());
        for (number, item) in batch.items.iter().enumerate() {
            if let Some(before) = item.before {
                outcomes.push(before);
                continue;
            }
            match decide(&state, &item.intent, place.1) {
                Ok((kind, amount)) => {
                    let id = item_id(command.id, number);
                    state.apply(id, &kind, amount, place).expect("decide and the chain rules agree");
                    outcomes.push(ItemOutcome::Done);
                    let made = Entry { id, key: item.key, ..entry(command, kind, amount, &item.note) };
                    done.push((made, Personal::of(&command.audit, &item.note)));
                }
                Err(refusal) if batch.is_atomic => {
                    return self.doubtful.push((id, Reply::ItemRefused { item: number, refusal }));
                }
                Err(refusal) => outcomes.push(item_outcome(refusal)),
            }
        }
        self.accept(id, command);
        let own = entry(command, EntryKind::Batch { outcomes }, Money::ZERO, &command.note);
        self.draft.push(Entry { key: command.key, ..own }, Personal::of(&command.audit, &command.note));
        for (entry, personal) in done {
            self.draft.push(entry, personal);
        }
    }

    /// The command's own entry is the next one.
    fn accept(&mut self, id: CommandId, command: &Command) {
        self.accepted.push((id, self.draft.entries.len()));
        self.marks.extend(command.marks());
    }

    /// A refusal counts only against a head that was the head after the command arrived: this commit's condition
    /// proves it, or a load begun since. Otherwise the head is read again and the command decided again.
    fn settle_refusals(&mut self, sequencer: &Sequencer, slot: &Slot) {
        for (id, reply) in std::mem::take(&mut self.doubtful) {
            if !self.draft.entries.is_empty() {
                self.refused.push((id, reply));
            } else if slot.confirmed > sequencer.pending[&id].arrived {
                self.replies.push((id, reply));
            } else {
                self.needs_load = true;
            }
        }
    }
}

impl Draft {
    /// Begins with the end of the holds that are over.
    fn after(head: &Head, now: Timestamp) -> Self {
        let place = (head.number.saturating_add(1), now.max(head.at));
        let mut draft = Self {
            state: head.state.clone(),
            entries: Vec::new(),
            personal: Vec::new(),
            place,
            expired: 0,
            ended: BTreeSet::new(),
        };
        while let Some((kind, amount)) = expiry(&draft.state, place.1) {
            let id = kind.hold(TransactionId::nil()).map(|hold| TransactionId::new_v5(&hold, b"expired"));
            let id = id.expect("the entry names its hold");
            draft.push(Entry::new(id, kind, amount, Money::ZERO), Personal::default());
            draft.expired += 1;
        }
        draft
    }

    /// Entries that commands have made.
    fn length(&self) -> usize {
        self.entries.len() - self.expired
    }

    fn push(&mut self, mut entry: Entry, personal: Personal) {
        let applied = self.state.apply(entry.id, &entry.kind, entry.amount, self.place);
        applied.expect("decide and the chain rules agree");
        entry.balance_after = self.state.balance;
        self.entries.push(entry);
        self.personal.push(personal);
    }

    /// The block that it makes after `head`. Once the owner is erased, it holds nothing personal.
    pub fn into_block(self, head: &Head, owner: Option<&Owner>, now: Timestamp) -> Block {
        let part = PersonalPart { user: None, entries: self.personal };
        let sealed = owner.and_then(|owner| owner.key.seal(head.wallet, head.next_number(), &part));
        chain::next_sealed(head, self.state, self.entries, sealed, now)
    }

    /// Says from which block on transfers are open now. `open`: before this block.
    fn close(&mut self, open: &OpenTransfers) {
        self.state.open_since = open.since_after(self.place.0, &self.entries);
    }
}

/// An entry of this command; what the balance is after it follows when it is pushed.
fn entry(command: &Command, kind: EntryKind, amount: Money, note: &Note) -> Entry {
    let (reference, trace) = (note.reference.clone(), command.audit.trace());
    Entry { reference, trace, ..Entry::new(entry_id(command, &kind), kind, amount, Money::ZERO) }
}

/// A refusal recorded for a transfer gets an id of its own, so that ids stay unique within the chain even if the
/// transfer's id comes back from this very wallet. Derived, not drawn: a repetition makes the same block.
fn entry_id(command: &Command, kind: &EntryKind) -> TransactionId {
    match kind {
        EntryKind::TransferRefused { transfer, .. } => TransactionId::new_v5(transfer, b"refused"),
        _ => command.id,
    }
}

//! Builds the next commit around one wallet: takes what waits in its queue and in the queues of the wallets drawn in,
//! decides each command on the running state, within the limits of one transaction.

use std::collections::{BTreeSet, HashSet};

use ledger::block::{ItemOutcome, item_id};
use ledger::decide::{can_batch, expiry, item_outcome, record_refusal};
use ledger::keys::KeyHash;
use ledger::limits::MAX_APPEND_ITEMS;
use ledger::rows::rows_with;
use ledger::{Audit, Entry, EntryKind, Intent, Money, Route, Timestamp, TransactionId, WalletState, decide};
use topology::WalletId;

use super::command::{Batch, Command, Reply, Work};
use super::slot::{Busy, KeyUse};
use super::{CommandId, Sequencer};

/// Most entries in one commit, all its blocks together: keeps the largest below DynamoDB's 4 MB.
const MAX_COMMIT_ENTRIES: usize = 5_000;

/// A wallet in the commit: the state after the entries decided so far.
pub struct Member {
    pub wallet: WalletId,
    pub state: WalletState,
    pub entries: Vec<Entry>,
    /// The time that its block will bear.
    at: Timestamp,
}

/// What is to be done next. Empty members and no replies: the wallet waits for another.
#[derive(Default)]
pub struct Plan {
    pub members: Vec<Member>,
    /// (command, the wallet and the position of its own entry).
    pub accepted: Vec<(CommandId, WalletId, usize)>,
    /// Refusals that stand if the commit succeeds, because it proves the head they rest on.
    pub refused: Vec<(CommandId, Reply)>,
    /// Answers that need no commit.
    pub replies: Vec<(CommandId, Reply)>,
    pub loads: BTreeSet<WalletId>,
    now: Timestamp,
    items: usize,
    entries: usize,
    keys: HashSet<(WalletId, KeyHash)>,
    rows: HashSet<TransactionId>,
    seen: HashSet<CommandId>,
    /// Refusals by the wallet that refused, until it is known whether that wallet gets a block.
    doubtful: Vec<(CommandId, WalletId, Reply)>,
}

/// Why a command is not in this commit.
enum Skip {
    /// Its turn comes later.
    Later,
    /// It has been passed over too often: nothing of its wallet may overtake it any more.
    Hold,
}

impl Plan {
    pub fn build(sequencer: &mut Sequencer, seed: WalletId, now: Timestamp) -> Plan {
        let mut plan = Plan { now, ..Plan::default() };
        let mut wallets = vec![seed];
        let mut next = 0;
        while let Some(&wallet) = wallets.get(next) {
            next += 1;
            let queue: Vec<_> = sequencer.slots[&wallet].queue.iter().copied().collect();
            for id in queue {
                if !plan.seen.insert(id) {
                    continue;
                }
                match plan.consider(sequencer, id) {
                    Ok(()) => {
                        let known: BTreeSet<_> = wallets.iter().copied().collect();
                        wallets.extend(plan.members.iter().map(|m| m.wallet).filter(|w| !known.contains(w)));
                    }
                    Err(Skip::Later) => {}
                    Err(Skip::Hold) => break,
                }
                if plan.items >= MAX_APPEND_ITEMS || plan.is_full(wallet, sequencer.limits.entries_per_block) {
                    break;
                }
            }
        }
        plan.settle_refusals(sequencer);
        plan
    }

    fn is_full(&self, wallet: WalletId, entries: usize) -> bool {
        self.members.iter().any(|member| member.wallet == wallet && member.entries.len() >= entries)
    }

    fn consider(&mut self, sequencer: &mut Sequencer, id: CommandId) -> Result<(), Skip> {
        let pending = &sequencer.pending[&id];
        let (command, no_counterpart) = (pending.command.clone(), pending.no_counterpart.clone());
        if command.expires_at < self.now {
            self.replies.push((id, Reply::Expired));
            return Ok(());
        }
        self.available(sequencer, id, command.wallet)?;
        if let Some(reply) = self.seen_before(sequencer, &command) {
            self.replies.push((id, reply));
            return Ok(());
        }
        // The same key twice at once: the second waits for the first one's block.
        if keys_of(&command).any(|key| self.keys.contains(&(command.wallet, key))) {
            return Err(Skip::Later);
        }
        // Only now: a repetition is answered with the first result, whatever has become of the other wallet since.
        if let Some(reply) = no_counterpart {
            self.replies.push((id, reply));
            return Ok(());
        }
        for wallet in command.wallets() {
            self.available(sequencer, id, wallet)?;
        }
        if command.rows().any(|row| self.rows.contains(&row)) {
            return Err(Skip::Later);
        }
        self.room(sequencer, &command)?;
        self.take(sequencer, id, &command);
        Ok(())
    }

    /// Where the command's idempotency keys were used, if they may have been.
    fn seen_before(&self, sequencer: &mut Sequencer, command: &Command) -> Option<Reply> {
        let most = sequencer.limits.keys_per_wallet;
        let slot = sequencer.slots.get_mut(&command.wallet).expect("available");
        let remembered = slot.keys();
        let mut is_full = false;
        let mut seen = |key: &Option<ledger::Key>, expired: Option<u64>| {
            let used = slot.use_of(key.as_ref()?.hash(), self.now, most);
            is_full |= used == KeyUse::Unknown;
            match used {
                KeyUse::Block(block) => Some(block).filter(|block| Some(*block) != expired),
                KeyUse::Never | KeyUse::Unknown => None,
            }
        };
        let block = seen(&command.key, command.expired_key);
        let found = match &command.work {
            Work::Batch(batch) => {
                let undone = batch.items.iter().enumerate().filter(|(_, item)| item.before.is_none());
                let items: Vec<_> =
                    undone.filter_map(|(place, item)| Some((place, seen(&item.key, item.expired_key)?))).collect();
                (block.is_some() || !items.is_empty()).then_some(Reply::SeenKeys { block, items })
            }
            _ => block.map(|block| Reply::SeenKey { block }),
        };
        sequencer.keys = sequencer.keys + slot.keys() - remembered;
        found.or(is_full.then_some(Reply::WindowFull))
    }

    /// The wallet is loaded and in no other commit. The one this plan was started for always is.
    fn available(&mut self, sequencer: &mut Sequencer, id: CommandId, wallet: WalletId) -> Result<(), Skip> {
        if self.members.iter().any(|member| member.wallet == wallet) {
            return Ok(());
        }
        let slot = sequencer.slots.get(&wallet).expect("submitting made a slot for each wallet");
        match slot.busy {
            Busy::No if slot.held => Err(pass_over(sequencer, id)),
            Busy::No if sequencer.is_usable(slot) => Ok(()),
            Busy::No => {
                self.loads.insert(wallet);
                Err(Skip::Later)
            }
            Busy::Loading { .. } | Busy::Committing => Err(pass_over(sequencer, id)),
        }
    }

    fn room(&self, sequencer: &Sequencer, command: &Command) -> Result<(), Skip> {
        let mut items = command.rows().count();
        for wallet in command.wallets() {
            let entries = if wallet == command.wallet { command.entries() } else { 1 };
            match self.members.iter().find(|member| member.wallet == wallet) {
                None => items += 1,
                Some(member) if member.entries.is_empty() => items += 1,
                // A batch that is larger than what else makes a block has one for itself.
                Some(member) if member.entries.len() + entries > sequencer.limits.entries_per_block => {
                    return Err(Skip::Later);
                }
                Some(_) => {}
            }
        }
        let fits = self.items + items <= MAX_APPEND_ITEMS && self.entries + command.entries() < MAX_COMMIT_ENTRIES;
        if fits { Ok(()) } else { Err(Skip::Later) }
    }

    /// Decides the command on the running states and takes its entries in, or notes its refusal.
    fn take(&mut self, sequencer: &Sequencer, id: CommandId, command: &Command) {
        let wallet = command.wallet;
        let (intent, inside) = match &command.work {
            Work::Batch(batch) => return self.take_batch(sequencer, id, command, batch),
            Work::Refuse(reply) => return self.doubtful.push((id, wallet, Reply::clone(reply))),
            Work::Alone(intent) => (intent.clone(), None),
            Work::TransferInside { to, amount, reverses } => {
                let (to, amount, reverses) = (*to, *amount, *reverses);
                (Intent::Send { to, amount, route: Route::Inside, reverses }, Some((to, amount)))
            }
        };
        let member = self.member(sequencer, wallet);
        let decided = match (decide(&member.state, &intent, member.at), &intent) {
            // Money that has left another cell must get a recorded answer.
            (Err(refusal), Intent::Receive { from, .. }) => {
                Ok((record_refusal(refusal, command.id, *from), Money::ZERO))
            }
            (decided, _) => decided,
        };
        let (kind, amount) = match decided {
            Ok(decided) => decided,
            Err(refusal) => return self.doubtful.push((id, wallet, Reply::Refused { wallet, refusal })),
        };
        if let Some((to, amount)) = inside {
            let receiving = self.member(sequencer, to);
            let intent = Intent::Receive { from: wallet, amount, route: Route::Inside };
            match decide(&receiving.state, &intent, receiving.at) {
                Ok((kind, amount)) => self.push(sequencer, to, entry(command, kind, amount, false)),
                Err(refusal) => return self.doubtful.push((id, to, Reply::Refused { wallet: to, refusal })),
            }
        }
        self.accept(sequencer, id, command);
        self.push(sequencer, wallet, entry(command, kind, amount, true));
    }

    /// One entry that says what became of each operation, and one for each that is done.
    fn take_batch(&mut self, sequencer: &Sequencer, id: CommandId, command: &Command, batch: &Batch) {
        let wallet = command.wallet;
        let member = self.member(sequencer, wallet);
        let (mut state, at) = (member.state.clone(), member.at);
        if let Err(refusal) = can_batch(&state) {
            return self.doubtful.push((id, wallet, Reply::Refused { wallet, refusal }));
        }
        let (mut outcomes, mut done) = (Vec::new(), Vec::new());
        for (place, item) in batch.items.iter().enumerate() {
            if let Some(before) = item.before {
                outcomes.push(before);
                continue;
            }
            match decide(&state, &item.intent, at) {
                Ok((kind, amount)) => {
                    let id = item_id(command.id, place);
                    state.apply(id, &kind, amount, at).expect("decide and the chain rules agree");
                    outcomes.push(ItemOutcome::Done);
                    done.push(Entry { id, key: item.key, ..entry(command, kind, amount, false) });
                }
                Err(refusal) if batch.is_atomic => {
                    return self.doubtful.push((id, wallet, Reply::ItemRefused { item: place, refusal }));
                }
                Err(refusal) => outcomes.push(item_outcome(refusal)),
            }
        }
        self.accept(sequencer, id, command);
        self.push(sequencer, wallet, entry(command, EntryKind::Batch { outcomes }, Money::ZERO, true));
        for entry in done {
            self.push(sequencer, wallet, entry);
        }
    }

    /// The command's own entry is the next one of its wallet.
    fn accept(&mut self, sequencer: &Sequencer, id: CommandId, command: &Command) {
        let position = self.member(sequencer, command.wallet).entries.len();
        self.accepted.push((id, command.wallet, position));
        self.keys.extend(keys_of(command).map(|key| (command.wallet, key)));
        self.rows.extend(command.rows());
    }

    fn push(&mut self, sequencer: &Sequencer, wallet: WalletId, entry: Entry) {
        self.items += rows_with(&entry.kind);
        self.entries += 1;
        let member = self.member(sequencer, wallet);
        member.push(entry);
        if member.entries.len() == 1 {
            self.items += 1;
        }
    }

    /// The wallet as it is in this commit. The first command to come in writes the end of its
    /// expired holds.
    fn member(&mut self, sequencer: &Sequencer, wallet: WalletId) -> &mut Member {
        let position = self.members.iter().position(|member| member.wallet == wallet).unwrap_or_else(|| {
            let head = sequencer.slots[&wallet].head.as_ref().expect("available");
            let at = self.now.max(head.at);
            let mut member = Member { wallet, state: head.state.clone(), entries: Vec::new(), at };
            while let Some((kind, amount)) = expiry(&member.state, at) {
                let id = kind.hold(TransactionId::nil()).map(|hold| TransactionId::new_v5(&hold, b"expired"));
                let id = id.expect("the entry names its hold");
                let (key, audit) = (None, Audit::default());
                member.push(Entry { id, kind, amount, balance_after: Money::ZERO, key, audit });
            }
            self.items += usize::from(!member.entries.is_empty());
            self.entries += member.entries.len();
            self.members.push(member);
            self.members.len() - 1
        });
        &mut self.members[position]
    }

    /// A refusal counts only against a head that was the head after the command arrived: this commit's condition
    /// proves it, or a load begun since. Otherwise the head is read again and the command decided again.
    fn settle_refusals(&mut self, sequencer: &Sequencer) {
        for (id, wallet, reply) in std::mem::take(&mut self.doubtful) {
            let proven_by_commit =
                self.members.iter().any(|member| member.wallet == wallet && !member.entries.is_empty());
            if proven_by_commit {
                self.refused.push((id, reply));
            } else if sequencer.slots[&wallet].confirmed > sequencer.pending[&id].arrived {
                self.replies.push((id, reply));
            } else {
                self.loads.insert(wallet);
            }
        }
    }
}

/// The command's turn comes later; after too many times, nothing of its wallet goes before it.
fn pass_over(sequencer: &mut Sequencer, id: CommandId) -> Skip {
    let pending = sequencer.pending.get_mut(&id).expect("queued commands are pending");
    pending.passes += 1;
    if pending.passes > sequencer.limits.passes { Skip::Hold } else { Skip::Later }
}

impl Member {
    fn push(&mut self, mut entry: Entry) {
        let applied = self.state.apply(entry.id, &entry.kind, entry.amount, self.at);
        applied.expect("decide and the chain rules agree");
        entry.balance_after = self.state.balance;
        self.entries.push(entry);
    }
}

/// An entry of this command; what the balance is after it follows when it is pushed.
fn entry(command: &Command, kind: EntryKind, amount: Money, is_own: bool) -> Entry {
    Entry {
        id: entry_id(command, &kind),
        kind,
        amount,
        balance_after: Money::ZERO,
        key: command.key.filter(|_| is_own),
        audit: command.audit.clone(),
    }
}

/// The idempotency keys that its entries would bear.
fn keys_of(command: &Command) -> impl Iterator<Item = KeyHash> {
    let items = match &command.work {
        Work::Batch(batch) => batch.items.as_slice(),
        _ => &[],
    };
    command.key.iter().chain(items.iter().filter_map(|item| item.key.as_ref())).map(ledger::Key::hash)
}

/// A refusal recorded for a transfer gets an id of its own, so that ids stay unique within the chain even if the
/// transfer's id comes back from this very wallet. Derived, not drawn: a repetition makes the same block.
fn entry_id(command: &Command, kind: &EntryKind) -> TransactionId {
    match kind {
        EntryKind::TransferRefused { transfer, .. } => TransactionId::new_v5(transfer, b"refused"),
        _ => command.id,
    }
}

//! Orders all writes of one instance: a state machine without I/O, clock or randomness of its own.
//!
//! Commands go in, actions come out: load a wallet, commit some blocks, reply. A wallet has at most one commit in
//! flight; what arrives meanwhile waits and becomes the next block. What is kept of a wallet is only a hint: the
//! condition on the append decides, and a refusal is given only when the head it rests on was confirmed after the
//! command arrived.

mod command;
mod mutation;
mod plan;
mod seen;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ledger::fence::HEAD_LIFETIME;
use ledger::limits::GROUP_COMMIT_ENTRIES;
use ledger::marks::{last_of, run_of};
use ledger::open::OpenTransfers;
use ledger::{Append, Block, Hash, Head, OpenTransfer, Owner, Timestamp};
use store::commit::CommitOutcome;
use topology::{CellId, UserId, WalletId};

pub use command::{Batch, BatchItem, Command, Doubt, Once, Reply, Work};
pub use mutation::Mutation;
use plan::Plan;
pub use seen::{Gathered, Known, MARGIN_MICROS, Part, Sealing, Seen};
use slot::{Busy, Slot};

/// Bounds of one instance; the defaults are what it is run with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Commands waiting in all queues; more are shed.
    pub commands: usize,
    /// Commands waiting for one wallet.
    pub commands_per_wallet: usize,
    /// Wallets remembered.
    pub wallets: usize,
    /// Entries of different commands in one block.
    pub entries_per_block: usize,
    /// How often a command is decided again after its commit lost a race.
    pub attempts: u32,
    /// Marks remembered of one wallet: at most 16 MB for five million. Beyond it, keyed requests are refused until the
    /// oldest marks are 24 hours old.
    pub marks_per_wallet: usize,
    pub sealing: Sealing,
    /// Bytes in which the marks of all wallets are remembered; beyond it, the longest unused wallets are forgotten.
    pub marks_bytes: usize,
    /// How long the settlement of a transfer waits for a block that it can go along with.
    pub settle_within: Duration,
    /// How long after it has left a transfer is its own instance's to deliver.
    pub carry_on_after: Duration,
    /// How long after its confirmation a head may still be written on: see [`ledger::fence`].
    pub head_lifetime: Duration,
    /// Never set outside tests.
    pub mutation: Mutation,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands: 10_000,
            commands_per_wallet: 2_000,
            wallets: 100_000,
            entries_per_block: GROUP_COMMIT_ENTRIES,
            attempts: 32,
            marks_per_wallet: 5_000_000,
            sealing: Sealing { marks: 20_000, forgets: false },
            marks_bytes: 256 << 20,
            settle_within: Duration::from_secs(1),
            carry_on_after: Duration::from_secs(3),
            head_lifetime: HEAD_LIFETIME,
            mutation: Mutation::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(u64);

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the wallet: whole if `after` is `None`, else the blocks after that one. Answer with `loaded`.
    Load {
        wallet: WalletId,
        after: Option<(u64, Hash)>,
    },
    /// Carry this append to an outcome; send nothing after the monotonic time `sign_by`. Answer with `committed`.
    Commit {
        id: CommitId,
        append: Append,
        sign_by: Duration,
    },
    Reply {
        command: CommandId,
        reply: Reply,
    },
    /// A run of blocks is full: record its marks and snapshot when there is time. No answer.
    RecordRun {
        wallet: WalletId,
        run: u64,
    },
    /// Hand these transfers to the courier: another instance may have left them behind. No answer.
    CarryOn(Vec<OpenTransfer>),
}

/// What a load found.
#[derive(Debug)]
pub enum Loaded {
    /// There is no chain.
    Absent,
    /// The whole wallet.
    Whole(Box<Whole>),
    /// The blocks after the known head, in order, linked to it and to each other; none if it still is the head.
    Tail(Vec<Block>),
    /// The store did not answer.
    Unavailable(String),
    /// The chain cannot be what was written.
    Corrupt(String),
}

/// A wallet as it is loaded.
#[derive(Debug)]
pub struct Whole {
    pub head: Head,
    /// Its last blocks, in order.
    pub blocks: Vec<Block>,
    pub seen: Seen,
    pub open: OpenTransfers,
    /// `None`: erased.
    pub owner: Option<Owner>,
}

/// A command in the sequencer.
#[derive(Debug)]
struct Pending {
    command: Arc<Command>,
    /// When it arrived, on the sequencer's own count of events; and the monotonic time then.
    arrived: u64,
    arrived_at: Duration,
    attempts: u32,
}

#[derive(Debug)]
struct InFlight {
    block: Arc<Block>,
    /// Commands in the order they were decided, each with its place in the block, or its refusal.
    accepted: Vec<(CommandId, usize)>,
    refused: Vec<(CommandId, Reply)>,
    started: u64,
    /// The monotonic time then.
    at: Duration,
}

pub struct Sequencer {
    cell: CellId,
    limits: Limits,
    slots: HashMap<WalletId, Slot>,
    pending: BTreeMap<CommandId, Pending>,
    commits: BTreeMap<CommitId, InFlight>,
    /// Wallets with a slot that may be able to start something.
    ready: BTreeSet<WalletId>,
    /// Idle slots, longest unused first; entries that no longer hold are skipped.
    idle: VecDeque<(u64, WalletId)>,
    /// When settlements that wait for their wallet's next block get one of their own.
    alarms: BTreeSet<(Duration, WalletId)>,
    /// Nothing waits any more.
    is_ending: bool,
    /// Memory for marks in all slots.
    marks_bytes: usize,
    /// Counts events: orders arrivals, loads and commits.
    tick: u64,
    /// The times of the last [`Sequencer::pump`].
    now: Timestamp,
    monotonic: Duration,
    next_id: u64,
    actions: Vec<Action>,
}

impl Sequencer {
    pub fn new(cell: CellId, limits: Limits) -> Self {
        Self {
            cell,
            limits,
            slots: HashMap::new(),
            pending: BTreeMap::new(),
            commits: BTreeMap::new(),
            ready: BTreeSet::new(),
            idle: VecDeque::new(),
            alarms: BTreeSet::new(),
            is_ending: false,
            marks_bytes: 0,
            tick: 0,
            now: Timestamp::default(),
            monotonic: Duration::ZERO,
            next_id: 0,
            actions: Vec::new(),
        }
    }

    /// Commands waiting or in flight.
    pub fn depth(&self) -> usize {
        self.pending.len()
    }

    /// Takes a command in; it starts with the next [`Self::pump`], so that what arrives together commits together.
    pub fn submit(&mut self, command: Command) -> CommandId {
        self.tick += 1;
        self.next_id += 1;
        let (id, wallet) = (CommandId(self.next_id), command.wallet);
        let queued = self.slots.get(&wallet).map_or(0, |slot| slot.queue.len());
        if self.pending.len() >= self.limits.commands || queued >= self.limits.commands_per_wallet {
            self.actions.push(Action::Reply { command: id, reply: Reply::Overloaded });
            return id;
        }
        self.slots.entry(wallet).or_default().queue.push_back(id);
        self.ready.insert(wallet);
        let (arrived, arrived_at) = (self.tick, self.monotonic);
        self.pending.insert(id, Pending { command: Arc::new(command), arrived, arrived_at, attempts: 0 });
        id
    }

    /// Starts whatever can start, and hands out what is to be done. `monotonic`: time since any fixed moment.
    pub fn pump(&mut self, now: Timestamp, monotonic: Duration) -> Vec<Action> {
        (self.now, self.monotonic) = (now, monotonic);
        while let Some((_, wallet)) = self.alarms.first().copied().filter(|(due, _)| *due <= monotonic) {
            self.alarms.pop_first();
            self.ready.insert(wallet);
        }
        while let Some(wallet) = self.ready.pop_first() {
            self.try_start(wallet, now);
        }
        self.forget_idle();
        std::mem::take(&mut self.actions)
    }

    /// The monotonic time of the next [`Self::pump`], if nothing happens before.
    pub fn next_due(&self) -> Option<Duration> {
        self.alarms.first().map(|(due, _)| *due)
    }

    /// No more commands come: settlements wait for no other block.
    pub fn end(&mut self) {
        self.is_ending = true;
        self.ready.extend(self.slots.keys());
    }

    /// Starts nothing more for this wallet, or starts again. A commit under way goes on.
    pub fn hold(&mut self, wallet: WalletId, held: bool) {
        if held || self.slots.contains_key(&wallet) {
            self.slots.entry(wallet).or_default().held = held;
            self.ready.insert(wallet);
        }
    }

    /// Hands what has been open for a while of the wallet's transfers to the courier, loading the wallet if need be.
    /// `number`: of a block that is known to be there; an older head is read again.
    pub fn carry_on(&mut self, wallet: WalletId, number: u64) {
        let slot = self.slots.entry(wallet).or_default();
        slot.carries_on = true;
        slot.stale |= slot.head.as_ref().is_some_and(|head| head.number < number);
        self.ready.insert(wallet);
    }

    fn user_of(&self, wallet: WalletId) -> Option<UserId> {
        self.slots.get(&wallet)?.owner.as_ref().map(|owner| owner.user.clone())
    }

    /// The last head that is remembered of a wallet: a hint.
    pub fn head(&self, wallet: WalletId) -> Option<&Head> {
        self.slots.get(&wallet).and_then(|slot| slot.head.as_ref())
    }

    /// Whether what is remembered of a wallet may be decided on. Heads are read again after half of their lifetime: early
    /// enough for a write to be retried for a while.
    fn is_usable(&self, slot: &Slot) -> bool {
        let oldest = self.monotonic.saturating_sub(self.limits.head_lifetime / 2);
        slot.is_usable(oldest) && !slot.is_short_of_marks(self.now)
    }

    /// The memory that the marks of all wallets take.
    pub fn marks_bytes(&self) -> usize {
        self.marks_bytes
    }

    /// Changes what is remembered of a wallet, and keeps count of the memory for its marks.
    fn change(&mut self, wallet: WalletId, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        let before = slot.seen.bytes();
        change(slot);
        self.marks_bytes = self.marks_bytes + slot.seen.bytes() - before;
    }

    fn remove(&mut self, wallet: WalletId) {
        if let Some(slot) = self.slots.remove(&wallet) {
            self.marks_bytes -= slot.seen.bytes();
        }
    }

    /// A load that was asked for has ended.
    pub fn loaded(&mut self, wallet: WalletId, loaded: Loaded) {
        self.tick += 1;
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        let Busy::Loading { started, at } = slot.busy else { return };
        slot.busy = Busy::No;
        self.ready.insert(wallet);
        match loaded {
            Loaded::Absent => self.answer_all(wallet, &Reply::NoChain(wallet)),
            Loaded::Unavailable(why) => self.answer_all(wallet, &Reply::Unavailable(why)),
            Loaded::Corrupt(what) => self.answer_all(wallet, &Reply::Corrupt(what)),
            Loaded::Whole(whole) => {
                let Whole { head, blocks, seen, open, owner } = *whole;
                self.change(wallet, |slot| {
                    slot.learn_whole(head, seen, open, owner);
                    slot.confirm(started, at);
                });
                self.after_load(wallet, &blocks);
            }
            Loaded::Tail(blocks) => {
                self.change(wallet, |slot| slot.learn_tail(&blocks, started, at));
                self.after_load(wallet, &blocks);
            }
        }
    }

    /// A commit that was asked for has ended.
    pub fn committed(&mut self, id: CommitId, outcome: CommitOutcome) {
        self.tick += 1;
        let Some(flight) = self.commits.remove(&id) else { return };
        let wallet = flight.block.wallet;
        self.ready.insert(wallet);
        if let Some(slot) = self.slots.get_mut(&wallet) {
            slot.busy = Busy::No;
        }
        match outcome {
            CommitOutcome::Applied => self.applied(flight),
            CommitOutcome::Conflict(_) => self.conflicted(flight),
            CommitOutcome::NotApplied(why) => {
                let accepted = flight.accepted.into_iter().map(|(command, _)| command);
                for command in accepted.chain(flight.refused.into_iter().map(|(command, _)| command)) {
                    self.answer(command, Reply::Unavailable(why.clone()));
                }
            }
            CommitOutcome::Unknown(why) => {
                self.change(wallet, Slot::forget);
                for (command, _) in flight.accepted {
                    self.answer(command, Reply::Unknown(why.clone()));
                }
                for (command, _) in flight.refused {
                    self.answer(command, Reply::Unavailable(why.clone()));
                }
            }
        }
    }

    fn applied(&mut self, flight: InFlight) {
        let block = flight.block;
        self.change(block.wallet, |slot| slot.learn_own(&block, flight.started, flight.at));
        if block.number == last_of(run_of(block.number)) {
            self.actions.push(Action::RecordRun { wallet: block.wallet, run: run_of(block.number) });
        }
        let user = self.user_of(block.wallet);
        for (command, entry) in flight.accepted {
            self.answer(command, Reply::Done { block: block.clone(), entry, user: user.clone() });
        }
        for (command, reply) in flight.refused {
            self.answer(command, reply);
        }
    }

    /// The wallet was not as remembered: everything goes back to where it came from, in order; what lost too often is
    /// answered.
    fn conflicted(&mut self, flight: InFlight) {
        let wallet = flight.block.wallet;
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        slot.stale = true;
        let commands = flight.accepted.iter().map(|(id, ..)| *id).chain(flight.refused.iter().map(|(id, _)| *id));
        let mut commands: Vec<_> = commands.collect();
        commands.sort_unstable();
        let mut contended = Vec::new();
        for id in commands.into_iter().rev() {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.attempts += 1;
            if pending.attempts >= self.limits.attempts {
                contended.push(id);
            } else {
                slot.queue.push_front(id);
            }
        }
        for id in contended {
            self.answer(id, Reply::Contended);
        }
    }

    /// A wallet is known now: a command for one that lives elsewhere gets that answer; a command
    /// that was written before is found.
    fn after_load(&mut self, wallet: WalletId, blocks: &[Block]) {
        let slot = self.slots.get(&wallet).expect("just loaded");
        let home = slot.head.as_ref().map(|head| head.home.clone()).expect("just loaded");
        let waiting: Vec<_> = slot.queue.iter().copied().collect();
        let user = self.user_of(wallet);
        for id in waiting {
            let pending = &self.pending[&id];
            if pending.attempts == 0 {
                continue;
            }
            let written = blocks.iter().find_map(|block| {
                let entry = block.entries.iter().position(|entry| entry.id == pending.command.id)?;
                Some((Arc::new(block.clone()), entry))
            });
            if let Some((block, entry)) = written {
                self.answer(id, Reply::Done { block, entry, user: user.clone() });
            }
        }
        if home != self.cell && !self.ignores_home(wallet) {
            self.answer_all(wallet, &Reply::Elsewhere { wallet, home });
        }
    }

    fn ignores_home(&self, wallet: WalletId) -> bool {
        self.limits.mutation.makes(Mutation::HomeIgnored)
            && self.slots[&wallet].queue.iter().all(|id| self.pending[id].command.is_credit())
    }

    /// Answers every command that waits for this wallet, and forgets what was known of it.
    fn answer_all(&mut self, wallet: WalletId, reply: &Reply) {
        let waiting: Vec<_> =
            self.slots.get_mut(&wallet).map(|slot| slot.queue.drain(..).collect()).unwrap_or_default();
        for id in waiting {
            self.answer(id, reply.clone());
        }
        self.change(wallet, Slot::forget);
    }

    fn answer(&mut self, id: CommandId, reply: Reply) {
        let Some(pending) = self.pending.remove(&id) else { return };
        if let Some(slot) = self.slots.get_mut(&pending.command.wallet) {
            slot.queue.retain(|queued| *queued != id);
            self.ready.insert(pending.command.wallet);
        }
        self.actions.push(Action::Reply { command: id, reply });
    }

    fn try_start(&mut self, wallet: WalletId, now: Timestamp) {
        self.tick += 1;
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        if slot.busy != Busy::No || slot.held {
            return;
        }
        let is_usable = self.is_usable(&self.slots[&wallet]);
        self.hand_over(wallet, is_usable);
        let slot = &self.slots[&wallet];
        if slot.queue.is_empty() && !slot.carries_on {
            return self.rest(wallet);
        }
        if let Some(due) = self.waits_until(slot) {
            self.alarms.insert((due, wallet));
            return;
        }
        if !is_usable {
            return self.load(wallet);
        }
        let sealing = self.limits.sealing;
        self.change(wallet, |slot| {
            slot.seen.forget_expired(now);
            slot.seen.seal(sealing);
        });
        let plan = Plan::build(self, wallet, now);
        self.carry_out(plan, now);
    }

    /// Gives the courier what it may have to carry on.
    fn hand_over(&mut self, wallet: WalletId, is_usable: bool) {
        let slot = self.slots.get_mut(&wallet).expect("only known slots are started");
        if !is_usable || !std::mem::take(&mut slot.carries_on) {
            return;
        }
        let age = i64::try_from(self.limits.carry_on_after.as_micros()).unwrap_or(i64::MAX);
        let before = self.now.plus_micros(age.saturating_neg());
        let old: Vec<_> = slot.open.iter().filter(|open| open.left_at <= before).cloned().collect();
        if !old.is_empty() {
            self.actions.push(Action::CarryOn(old));
        }
    }

    /// There is nothing to do for the wallet.
    fn rest(&mut self, wallet: WalletId) {
        let tick = self.tick;
        let slot = self.slots.get_mut(&wallet).expect("only known slots are started");
        slot.used = tick;
        if slot.head.is_none() {
            self.remove(wallet);
        } else {
            self.idle.push_back((tick, wallet));
        }
    }

    /// While all that waits for the wallet is patient, and not yet as much as a block holds: until when.
    fn waits_until(&self, slot: &Slot) -> Option<Duration> {
        let (first, length) = (slot.queue.front()?, slot.queue.len());
        let is_patient = |id: &CommandId| self.pending[id].command.is_patient();
        let due = self.pending[first].arrived_at + self.limits.settle_within;
        let waits = !self.is_ending && due > self.monotonic && length < self.limits.entries_per_block;
        (waits && slot.queue.iter().all(is_patient)).then_some(due)
    }

    fn load(&mut self, wallet: WalletId) {
        let slot = self.slots.get_mut(&wallet).expect("only known slots are loaded");
        // The blocks after the head would bring no older marks.
        if slot.is_short_of_marks(self.now) {
            self.marks_bytes -= slot.seen.bytes();
            slot.forget();
        }
        slot.busy = Busy::Loading { started: self.tick, at: self.monotonic };
        let after = slot.head.as_ref().map(|head| (head.number, head.hash));
        self.actions.push(Action::Load { wallet, after });
    }

    fn carry_out(&mut self, plan: Plan, now: Timestamp) {
        let wallet = plan.wallet;
        for (id, reply) in plan.replies {
            self.answer(id, reply);
        }
        if plan.needs_load {
            self.load(wallet);
        }
        if plan.accepted.is_empty() && plan.refused.is_empty() {
            return;
        }
        self.next_id += 1;
        let id = CommitId(self.next_id);
        let slot = self.slots.get_mut(&wallet).expect("only known slots are started");
        let head = slot.head.as_ref().expect("the plan follows on it");
        let block = plan.draft.into_block(head, slot.owner.as_ref(), now);
        slot.busy = Busy::Committing;
        let accepted = plan.accepted.iter().map(|(id, _)| *id);
        let decided: BTreeSet<_> = accepted.chain(plan.refused.iter().map(|(id, _)| *id)).collect();
        slot.queue.retain(|queued| !decided.contains(queued));
        let sign_by = slot.confirmed_at + self.limits.head_lifetime;
        self.actions.push(Action::Commit { id, append: Append::next(block.clone()), sign_by });
        let (accepted, refused) = (plan.accepted, plan.refused);
        let flight = InFlight { block: Arc::new(block), accepted, refused, started: self.tick, at: self.monotonic };
        self.commits.insert(id, flight);
    }

    /// Keeps the number of remembered wallets and marks bounded: the longest unused idle wallets go.
    fn forget_idle(&mut self) {
        while self.idle.len() > 4 * self.limits.wallets
            || self.slots.len() > self.limits.wallets
            || self.marks_bytes > self.limits.marks_bytes
        {
            let Some((used, wallet)) = self.idle.pop_front() else { return };
            let idle = |slot: &Slot| slot.used == used && slot.busy == Busy::No && slot.queue.is_empty();
            if self.slots.get(&wallet).is_some_and(idle) {
                self.remove(wallet);
            }
        }
    }
}

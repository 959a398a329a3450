//! Orders all writes of one instance: a state machine without I/O, clock or randomness of its own.
//!
//! Commands go in, actions come out: load a wallet, commit some blocks, reply. A wallet has at most one commit in
//! flight; what arrives meanwhile waits and becomes the next block. What is kept of a wallet is only a hint: the
//! condition on the append decides, and a refusal is given only when the head it rests on was confirmed after the
//! command arrived.

mod command;
mod plan;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ledger::fence::HEAD_LIFETIME;
use ledger::keys::{KeyRun, last_of, run_of};
use ledger::limits::GROUP_COMMIT_ENTRIES;
use ledger::{Append, Block, Conflict, Hash, Head, Timestamp};
use store::commit::CommitOutcome;
use topology::{CellId, WalletId};

pub use command::{Batch, BatchItem, Command, Reply, Work};
use plan::Plan;
use slot::{Busy, RecordedKeys, Slot};

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
    /// How often a command may be passed over because its other wallet is busy, before its wallet waits for it.
    pub passes: u32,
    /// Idempotency keys remembered of one wallet, at about 70 bytes each; beyond it, keyed requests are refused until
    /// the oldest keys are 24 hours old.
    pub keys_per_wallet: usize,
    /// Idempotency keys remembered of all wallets; beyond it, the longest unused wallets are forgotten.
    pub keys: usize,
    /// How long after its confirmation a head may still be written on: see [`ledger::fence`].
    pub head_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands: 10_000,
            commands_per_wallet: 2_000,
            wallets: 100_000,
            entries_per_block: GROUP_COMMIT_ENTRIES,
            attempts: 32,
            passes: 4,
            keys_per_wallet: 1_200_000,
            keys: 4_000_000,
            head_lifetime: HEAD_LIFETIME,
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
    /// A run of blocks is full: record its keys and snapshot when there is time. No answer.
    RecordRun {
        wallet: WalletId,
        run: u64,
    },
}

/// What a load found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// There is no chain.
    Absent,
    /// The whole wallet: its head, and the keys of the last 24 hours from recorded runs and from blocks; all that were
    /// used since `known_since`, which is less than 24 hours ago where they were too many (`is_capped`).
    Whole { head: Head, runs: Vec<KeyRun>, blocks: Vec<Block>, known_since: Timestamp, is_capped: bool },
    /// The blocks after the known head, in order, linked to it and to each other; none if it still is the head.
    Tail(Vec<Block>),
    /// The store did not answer.
    Unavailable(String),
    /// The chain cannot be what was written.
    Corrupt(String),
}

/// A command in the sequencer.
#[derive(Debug)]
struct Pending {
    command: Arc<Command>,
    /// What is to be said of the other wallet, which is not here, once the command's own key has been looked up.
    no_counterpart: Option<Reply>,
    /// When it arrived, on the sequencer's own count of events.
    arrived: u64,
    attempts: u32,
    passes: u32,
}

#[derive(Debug)]
struct InFlight {
    blocks: Vec<Arc<Block>>,
    /// Commands in the order they were decided, each with its place in the blocks, or its refusal.
    accepted: Vec<(CommandId, usize, usize)>,
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
    /// Idempotency keys remembered in all slots.
    keys: usize,
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
            keys: 0,
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
        let id = CommandId(self.next_id);
        let queued = |wallet| self.slots.get(&wallet).map_or(0, |slot: &Slot| slot.queue.len());
        let full = self.pending.len() >= self.limits.commands
            || command.wallets().any(|wallet| queued(wallet) >= self.limits.commands_per_wallet);
        if full {
            self.actions.push(Action::Reply { command: id, reply: Reply::Overloaded });
            return id;
        }
        for wallet in command.wallets() {
            self.slots.entry(wallet).or_default().queue.push_back(id);
            self.ready.insert(wallet);
        }
        self.pending.insert(
            id,
            Pending { command: Arc::new(command), no_counterpart: None, arrived: self.tick, attempts: 0, passes: 0 },
        );
        id
    }

    /// Starts whatever can start, and hands out what is to be done. `monotonic`: time since any fixed moment.
    pub fn pump(&mut self, now: Timestamp, monotonic: Duration) -> Vec<Action> {
        (self.now, self.monotonic) = (now, monotonic);
        while let Some(wallet) = self.ready.pop_first() {
            self.try_start(wallet, now);
        }
        self.forget_idle();
        std::mem::take(&mut self.actions)
    }

    /// Starts nothing more for this wallet, or starts again. A commit under way goes on.
    pub fn hold(&mut self, wallet: WalletId, held: bool) {
        if held || self.slots.contains_key(&wallet) {
            self.slots.entry(wallet).or_default().held = held;
            self.ready.insert(wallet);
        }
    }

    /// Whether what is remembered of a wallet may be decided on. Heads are read again after half of their lifetime: early
    /// enough for a write to be retried for a while.
    fn is_usable(&self, slot: &Slot) -> bool {
        let oldest = self.monotonic.saturating_sub(self.limits.head_lifetime / 2);
        slot.is_usable(oldest) && !slot.is_short_of_keys(self.now)
    }

    /// Changes what is remembered of a wallet, and keeps count of the keys.
    fn change(&mut self, wallet: WalletId, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        let before = slot.keys();
        change(slot);
        self.keys = self.keys + slot.keys() - before;
    }

    fn remove(&mut self, wallet: WalletId) {
        if let Some(slot) = self.slots.remove(&wallet) {
            self.keys -= slot.keys();
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
            Loaded::Whole { head, runs, blocks, known_since, is_capped } => {
                let keys = RecordedKeys { runs: &runs, blocks: &blocks, known_since, is_capped };
                self.change(wallet, |slot| slot.learn_whole(head, keys, started, at));
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
        for block in &flight.blocks {
            self.ready.insert(block.wallet);
            if let Some(slot) = self.slots.get_mut(&block.wallet) {
                slot.busy = Busy::No;
            }
        }
        match outcome {
            CommitOutcome::Applied => self.applied(flight),
            CommitOutcome::Conflict(conflict) => self.conflicted(flight, &conflict),
            CommitOutcome::NotApplied(why) => {
                for (command, _, _) in flight.accepted {
                    self.answer(command, Reply::Unavailable(why.clone()));
                }
                for (command, _) in flight.refused {
                    self.answer(command, Reply::Unavailable(why.clone()));
                }
            }
            CommitOutcome::Unknown(why) => {
                for block in &flight.blocks {
                    self.change(block.wallet, Slot::forget);
                }
                for (command, _, _) in flight.accepted {
                    self.answer(command, Reply::Unknown(why.clone()));
                }
                for (command, _) in flight.refused {
                    self.answer(command, Reply::Unavailable(why.clone()));
                }
            }
        }
    }

    fn applied(&mut self, flight: InFlight) {
        for block in &flight.blocks {
            self.change(block.wallet, |slot| slot.learn_own(block, flight.started, flight.at));
            if block.number == last_of(run_of(block.number)) {
                self.actions.push(Action::RecordRun { wallet: block.wallet, run: run_of(block.number) });
            }
        }
        for (command, block, entry) in flight.accepted {
            self.answer(command, Reply::Done { block: flight.blocks[block].clone(), entry });
        }
        for (command, reply) in flight.refused {
            self.answer(command, reply);
        }
    }

    /// Everything goes back to where it came from, in order; what lost for good is answered. Where a wallet was not as
    /// remembered, nothing has lost yet: a row that is there may be this very request's, written by another instance.
    fn conflicted(&mut self, flight: InFlight, conflict: &Conflict) {
        for wallet in &conflict.wallets {
            if let Some(slot) = self.slots.get_mut(wallet) {
                slot.stale = true;
            }
        }
        let commands = flight.accepted.iter().map(|(id, ..)| *id).chain(flight.refused.iter().map(|(id, _)| *id));
        let mut commands: Vec<_> = commands.collect();
        commands.sort_unstable();
        for id in commands.into_iter().rev() {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.attempts += 1;
            let is_stale = pending.command.wallets().any(|wallet| conflict.wallets.contains(&wallet));
            if !is_stale && pending.command.rows().any(|row| conflict.transfers.contains(&row)) {
                self.answer(id, Reply::RowConflict);
            } else if pending.attempts >= self.limits.attempts {
                self.answer(id, Reply::Contended);
            } else {
                for wallet in pending.command.wallets() {
                    self.slots.entry(wallet).or_default().queue.push_front(id);
                    self.ready.insert(wallet);
                }
            }
        }
    }

    /// A wallet is known now: a command for one that lives elsewhere gets that answer; a command
    /// that was written before is found.
    fn after_load(&mut self, wallet: WalletId, blocks: &[Block]) {
        let slot = self.slots.get(&wallet).expect("just loaded");
        let home = slot.head.as_ref().map(|head| head.home.clone()).expect("just loaded");
        let waiting: Vec<_> = slot.queue.iter().copied().collect();
        for id in waiting {
            let pending = &self.pending[&id];
            if pending.attempts == 0 || pending.command.primary() != wallet {
                continue;
            }
            let written = blocks.iter().find_map(|block| {
                let entry = block.entries.iter().position(|entry| entry.id == pending.command.id)?;
                Some((Arc::new(block.clone()), entry))
            });
            if let Some((block, entry)) = written {
                self.answer(id, Reply::Done { block, entry });
            }
        }
        if home != self.cell {
            self.answer_all(wallet, &Reply::Elsewhere { wallet, home });
        }
    }

    /// Answers every command that waits for this wallet, and forgets what was known of it. A
    /// command with another wallet of its own gets the answer only after its key was looked up
    /// there.
    fn answer_all(&mut self, wallet: WalletId, reply: &Reply) {
        let waiting: Vec<_> =
            self.slots.get_mut(&wallet).map(|slot| slot.queue.drain(..).collect()).unwrap_or_default();
        for id in waiting {
            let pending = self.pending.get_mut(&id).expect("queued commands are pending");
            if pending.command.primary() == wallet {
                self.answer(id, reply.clone());
            } else {
                pending.no_counterpart = Some(reply.clone());
                self.ready.insert(pending.command.primary());
            }
        }
        self.change(wallet, Slot::forget);
    }

    fn answer(&mut self, id: CommandId, reply: Reply) {
        let Some(pending) = self.pending.remove(&id) else { return };
        for wallet in pending.command.wallets() {
            if let Some(slot) = self.slots.get_mut(&wallet) {
                slot.queue.retain(|queued| *queued != id);
                self.ready.insert(wallet);
            }
        }
        self.actions.push(Action::Reply { command: id, reply });
    }

    fn try_start(&mut self, wallet: WalletId, now: Timestamp) {
        self.tick += 1;
        let Some(slot) = self.slots.get_mut(&wallet) else { return };
        if slot.busy != Busy::No || slot.held {
            return;
        }
        if slot.queue.is_empty() {
            slot.used = self.tick;
            if slot.head.is_none() {
                self.remove(wallet);
            } else {
                self.idle.push_back((self.tick, wallet));
            }
            return;
        }
        if !self.is_usable(&self.slots[&wallet]) {
            self.load(wallet);
            return;
        }
        let plan = Plan::build(self, wallet, now);
        self.carry_out(plan, now);
    }

    fn load(&mut self, wallet: WalletId) {
        let slot = self.slots.get_mut(&wallet).expect("only known slots are loaded");
        if slot.busy == Busy::No {
            // The blocks after the head would bring no older keys.
            if slot.is_short_of_keys(self.now) {
                self.keys -= slot.keys();
                slot.forget();
            }
            slot.busy = Busy::Loading { started: self.tick, at: self.monotonic };
            let after = slot.head.as_ref().map(|head| (head.number, head.hash));
            self.actions.push(Action::Load { wallet, after });
        }
    }

    fn carry_out(&mut self, plan: Plan, now: Timestamp) {
        for (id, reply) in plan.replies {
            self.answer(id, reply);
        }
        for wallet in plan.loads {
            self.load(wallet);
        }
        if plan.members.iter().all(|member| member.entries.is_empty()) {
            return;
        }
        self.next_id += 1;
        let id = CommitId(self.next_id);
        let mut blocks = Vec::new();
        let mut place = HashMap::new();
        let mut oldest = self.monotonic;
        for member in plan.members {
            let slot = self.slots.get_mut(&member.wallet).expect("a member's slot is known");
            if member.entries.is_empty() {
                continue;
            }
            let head = slot.head.as_ref().expect("a member is loaded");
            oldest = oldest.min(slot.confirmed_at);
            place.insert(member.wallet, blocks.len());
            blocks.push(ledger::chain::next(head, member.state, member.entries, now));
            slot.busy = Busy::Committing;
        }
        let accepted: Vec<_> =
            plan.accepted.into_iter().map(|(command, wallet, entry)| (command, place[&wallet], entry)).collect();
        for command in accepted.iter().map(|(command, ..)| command).chain(plan.refused.iter().map(|(id, _)| id)) {
            for wallet in self.pending[command].command.wallets() {
                if let Some(slot) = self.slots.get_mut(&wallet) {
                    slot.queue.retain(|queued| queued != command);
                }
            }
        }
        let append = Append { blocks: blocks.clone(), guard: None };
        self.actions.push(Action::Commit { id, append, sign_by: oldest + self.limits.head_lifetime });
        let blocks = blocks.into_iter().map(Arc::new).collect();
        let flight = InFlight { blocks, accepted, refused: plan.refused, started: self.tick, at: self.monotonic };
        self.commits.insert(id, flight);
    }

    /// Keeps the number of remembered wallets and keys bounded: the longest unused idle wallets go.
    fn forget_idle(&mut self) {
        while self.idle.len() > 4 * self.limits.wallets
            || self.slots.len() > self.limits.wallets
            || self.keys > self.limits.keys
        {
            let Some((used, wallet)) = self.idle.pop_front() else { return };
            let idle = |slot: &Slot| slot.used == used && slot.busy == Busy::No && slot.queue.is_empty();
            if self.slots.get(&wallet).is_some_and(idle) {
                self.remove(wallet);
            }
        }
    }
}

//! Runs the sequencer: one task owns it, carries its actions to the store and its replies to the
//! callers.
//!
//! The task decides nothing itself. Store calls run as its own child tasks, which it joins before it ends.

mod loading;
mod marks;
mod recording;

use std::collections::HashMap;
use std::time::Duration;

use ledger::marks::{KEY_LIFETIME_MICROS, last_of, run_of};
use ledger::snapshots::{is_heavy, snapshot_of};
use ledger::{Block, Head, TransactionId};
use metrics::{counter, gauge, histogram};
use store::Store;
use store::commit::{CommitOutcome, commit_before};
use telemetry::trace::{self, Place};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use topology::{CellId, WalletId};
use tracing::{error, warn};

use crate::clock::{Clock, ClockSkew};
use crate::courier::Courier;
use crate::meters;
use crate::sequencer::{
    Action, Command, CommandId, CommitId, Limits, Loaded, MARGIN_MICROS, Reply, Sealing, Sequencer,
};
use loading::Want;
pub use marks::{LookedUp, look_up, look_up_doubts};

/// How long one commit is retried before its commands get the answer that the outcome is unknown or
/// that nothing was done.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// Submissions on their way to the sequencer; senders wait above it.
const MAILBOX: usize = 4_096;
/// Submissions taken in before what can start is started.
const INTAKE: usize = 1_024;
/// Wallets with a heavy last block, as far as is remembered.
const MAX_HEAVY: usize = 65_536;

enum Submission {
    Command {
        command: Box<Command>,
        reply: oneshot::Sender<Reply>,
        /// The place in a trace of the work that it is for, if that is recorded.
        place: Option<Place>,
    },
    /// Start nothing for this wallet for so long.
    Hold(WalletId, Duration),
    Release(WalletId),
    CarryOn(WalletId, u64),
    /// The head as it is remembered.
    Peek(WalletId, oneshot::Sender<Option<Head>>),
}

/// Gives commands to the sequencer of this instance.
#[derive(Clone)]
pub struct Submitter(mpsc::Sender<Submission>);

impl Submitter {
    /// The sequencer's answer. When the driver has ended, nothing is done.
    pub async fn submit(&self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let place = trace::current().filter(|place| place.sampled && trace::is_on());
        if self.0.send(Submission::Command { command: Box::new(command), reply, place }).await.is_err() {
            return Reply::Overloaded;
        }
        // The driver answers everything it has taken in; without an answer it was killed, and the
        // outcome is unknown.
        answer.await.unwrap_or_else(|_| Reply::Unknown("the instance is shutting down".into()))
    }

    /// Nothing of the wallet is started any more, until it is released or so much time has passed.
    pub async fn hold(&self, wallet: WalletId, at_most: Duration) {
        // A driver that has ended starts nothing either.
        let _ = self.0.send(Submission::Hold(wallet, at_most)).await;
    }

    pub async fn release(&self, wallet: WalletId) {
        let _ = self.0.send(Submission::Release(wallet)).await;
    }

    /// Hands the open transfers of this wallet, which has a block of this number, to the courier.
    pub async fn carry_on(&self, wallet: WalletId, number: u64) {
        let _ = self.0.send(Submission::CarryOn(wallet, number)).await;
    }

    /// The wallet's head as this instance remembers it, perhaps an old one.
    pub async fn peek(&self, wallet: WalletId) -> Option<Head> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Submission::Peek(wallet, reply)).await.ok()?;
        answer.await.ok()?
    }
}

enum Event {
    Loaded(WalletId, Loaded),
    /// With the blocks that were to be written.
    Committed(CommitId, CommitOutcome, Vec<Block>),
    Recorded,
    HeldLongEnough(WalletId),
}

pub struct Driver<S> {
    cell: CellId,
    store: S,
    clock: Clock,
    sequencer: Sequencer,
    waiting: HashMap<CommandId, oneshot::Sender<Reply>>,
    /// Those of the waiting that are traced: what is done for them is done in their name.
    traced: HashMap<CommandId, Traced>,
    inbox: mpsc::Receiver<Submission>,
    work: JoinSet<Event>,
    /// What the sequencer's monotonic time counts from.
    started: Instant,
    marks_per_wallet: usize,
    sealing: Sealing,
    courier: Courier,
    /// The last block that this instance wrote of a wallet, where it was a heavy one.
    heavy: HashMap<WalletId, u64>,
}

impl<S: Store> Driver<S> {
    /// `courier`: gets the open transfers of wallets that are loaded.
    pub fn new(cell: CellId, store: S, clock: Clock, limits: Limits, courier: Courier) -> (Submitter, Self) {
        let (sender, inbox) = mpsc::channel(MAILBOX);
        let (marks_per_wallet, sealing) = (limits.marks_per_wallet, limits.sealing);
        let sequencer = Sequencer::new(cell.clone(), limits);
        let driver = Self {
            cell,
            store,
            clock,
            sequencer,
            waiting: HashMap::new(),
            traced: HashMap::new(),
            inbox,
            work: JoinSet::new(),
            started: Instant::now(),
            marks_per_wallet,
            sealing,
            courier,
            heavy: HashMap::new(),
        };
        (Submitter(sender), driver)
    }

    /// Runs until every submitter is gone and all that was taken in is answered.
    pub async fn run(mut self) {
        let mut open = true;
        while open || !self.work.is_empty() || self.sequencer.depth() > 0 {
            let due = self.sequencer.next_due().map(|due| self.started + due);
            tokio::select! {
                biased;
                Some(event) = self.work.join_next(), if !self.work.is_empty() => self.learn(event),
                submission = self.inbox.recv(), if open => match submission {
                    Some(submission) => self.take_in(submission),
                    None => {
                        open = false;
                        self.sequencer.end();
                    }
                },
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => {}
                else => break,
            }
            self.drain();
            for action in self.sequencer.pump(self.clock.now(), self.started.elapsed()) {
                self.act(action);
            }
            gauge!("cell_queue_depth").set(self.sequencer.depth() as f64);
            gauge!("cell_store_work_in_flight").set(self.work.len() as f64);
            gauge!("cell_marks_bytes").set(self.sequencer.marks_bytes() as f64);
        }
    }

    /// Takes in what has already arrived, so that it commits together.
    fn drain(&mut self) {
        while let Some(event) = self.work.try_join_next() {
            self.learn(event);
        }
        for _ in 0..INTAKE {
            let Ok(submission) = self.inbox.try_recv() else { return };
            self.take_in(submission);
        }
    }

    fn take_in(&mut self, submission: Submission) {
        match submission {
            Submission::Command { command, reply, place } => {
                let traced = place.map(|place| Traced { transaction: command.id, wallet: command.wallet, place });
                let id = self.sequencer.submit(*command);
                self.traced.extend(traced.map(|traced| (id, traced)));
                self.waiting.insert(id, reply);
            }
            Submission::Hold(wallet, at_most) => {
                self.sequencer.hold(wallet, true);
                self.work.spawn(async move {
                    sleep(at_most).await;
                    Event::HeldLongEnough(wallet)
                });
            }
            Submission::Release(wallet) => self.sequencer.hold(wallet, false),
            Submission::CarryOn(wallet, number) => self.sequencer.carry_on(wallet, number),
            Submission::Peek(wallet, reply) => {
                let _ = reply.send(self.sequencer.head(wallet).cloned());
            }
        }
    }

    fn learn(&mut self, event: Result<Event, tokio::task::JoinError>) {
        match event.expect("a store call neither panics nor is cancelled") {
            Event::Loaded(wallet, loaded) => {
                if let Loaded::Corrupt(what) = &loaded {
                    error!(%wallet, what, "the chain is not what was written; the wallet takes no writes");
                }
                self.sequencer.loaded(wallet, loaded);
            }
            Event::Committed(id, outcome, blocks) => {
                let label = match &outcome {
                    CommitOutcome::Applied => "applied",
                    CommitOutcome::Conflict(_) => "conflict",
                    CommitOutcome::NotApplied(_) => "not_applied",
                    CommitOutcome::Unknown(_) => "unknown",
                };
                counter!("cell_commits_total", "outcome" => label).increment(1);
                if let CommitOutcome::NotApplied(why) | CommitOutcome::Unknown(why) = &outcome {
                    warn!(why, outcome = label, "a commit was given up");
                }
                if outcome == CommitOutcome::Applied {
                    meters::appended(&blocks);
                    self.take_snapshots(&blocks);
                }
                self.sequencer.committed(id, outcome);
            }
            Event::Recorded => {}
            Event::HeldLongEnough(wallet) => self.sequencer.hold(wallet, false),
        }
    }

    /// The snapshots within runs, which only heavy blocks bring. One that is missed, because this process dies now or
    /// another wrote the block before, is found by the integrity job.
    fn take_snapshots(&mut self, blocks: &[Block]) {
        for block in blocks {
            let after_heavy = self.heavy.remove(&block.wallet).is_some_and(|number| number + 1 == block.number);
            let heavy = is_heavy(block);
            if heavy {
                if self.heavy.len() >= MAX_HEAVY {
                    self.heavy.clear();
                }
                self.heavy.insert(block.wallet, block.number);
            }
            // That of a run's last block is recorded with the run.
            if (heavy || after_heavy) && block.number != last_of(run_of(block.number)) {
                let (store, wallet, snapshot) = (self.store.clone(), block.wallet, snapshot_of(block));
                self.work.spawn(async move {
                    match store.put_snapshots(wallet, &[snapshot]).await {
                        Ok(()) => counter!("cell_snapshots_recorded_total").increment(1),
                        Err(error) => warn!(%wallet, block = snapshot.block, %error, "a snapshot was not recorded"),
                    }
                    Event::Recorded
                });
            }
        }
    }

    /// The first of the traced commands that is meant: the others' traces do without what is done for all of them.
    fn place_of(&self, is_meant: impl Fn(&Traced) -> bool) -> Option<Place> {
        self.traced.values().find(|traced| is_meant(traced)).map(|traced| traced.place)
    }

    fn act(&mut self, action: Action) {
        let store = self.store.clone();
        match action {
            Action::Reply { command, reply } => {
                self.traced.remove(&command);
                // A client that has gone away does not hold the others up.
                if let Some(waiting) = self.waiting.remove(&command) {
                    let _ = waiting.send(reply);
                }
            }
            Action::Load { wallet, after } => {
                let since = self.clock.now().plus_micros(-KEY_LIFETIME_MICROS - MARGIN_MICROS);
                let random = self.clock.random();
                let (most_marks, sealing) = (self.marks_per_wallet, self.sealing);
                let want = Want { cell: self.cell.clone(), wallet, since, most_marks, sealing };
                let place = self.place_of(|traced| traced.wallet == wallet);
                self.work.spawn(trace::at(place, async move {
                    Event::Loaded(wallet, loading::load(&store, &want, after, random).await)
                }));
            }
            Action::Commit { id, append, sign_by } => {
                let entries: usize = append.blocks.iter().map(|block| block.entries.len()).sum();
                histogram!("cell_commit_entries").record(entries as f64);
                let (clock, sign_by) = (self.clock.clone(), self.started + sign_by);
                let place =
                    self.place_of(|traced| append.blocks.iter().any(|block| block.entry(traced.transaction).is_some()));
                self.work.spawn(trace::at(place, async move {
                    let began = Instant::now();
                    let outcome = match trusted(&store, &clock, &append.blocks).await {
                        Err(skew) => CommitOutcome::NotApplied(skew.to_string()),
                        Ok(()) => {
                            let (mut random, deadline) = (clock.random(), began + COMMIT_PATIENCE);
                            commit_before(&store, &append, Some(sign_by), deadline, || random.f64()).await
                        }
                    };
                    histogram!("cell_commit_seconds").record(began.elapsed());
                    Event::Committed(id, outcome, append.blocks)
                }));
            }
            Action::RecordRun { wallet, run } => {
                self.work.spawn(async move {
                    if let Err(error) = recording::record_run(&store, wallet, run).await {
                        // The next load of the wallet reads these blocks instead, and tries again.
                        warn!(%wallet, run, %error, "a run of blocks was not recorded");
                    }
                    Event::Recorded
                });
            }
            Action::CarryOn(transfers) => self.courier.carry_on(transfers),
        }
    }
}

/// A command that is traced.
struct Traced {
    transaction: TransactionId,
    wallet: WalletId,
    place: Place,
}

/// Whether blocks that bear these times may be written. A clock that seems wrong is compared once more: after a
/// suspension it is right, and what is known of the database's time is old.
async fn trusted<S: Store>(store: &S, clock: &Clock, blocks: &[Block]) -> Result<(), ClockSkew> {
    let newest = blocks.iter().map(|block| block.at).max().unwrap_or_default();
    if clock.check(newest).is_ok() {
        return Ok(());
    }
    // Any answer brings the time along.
    let _ = store.genesis().await;
    clock.check(newest)
}

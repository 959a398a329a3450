//! Runs the sequencer: one task owns it, carries its actions to the store and its replies to the
//! callers.
//!
//! The task decides nothing itself. Store calls run as its own child tasks, which it joins before it ends.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ledger::keys::{KEY_LIFETIME_MICROS, KeyRun, last_of, run_of};
use ledger::limits::RUN_BLOCKS;
use ledger::snapshots::{is_heavy, snapshot_of};
use ledger::{Block, Hash, Timestamp, TransactionId, chain};
use metrics::{counter, gauge, histogram};
use store::commit::{CommitOutcome, commit_before};
use store::{BlockRange, Page, RecordedRuns, Store, StoreError, retry};
use telemetry::trace::{self, Place};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use topology::{CellId, WalletId};
use tracing::{error, warn};

use crate::clock::{Clock, ClockSkew};
use crate::hot::Hot;
use crate::meters;
use crate::sequencer::{Action, Command, CommandId, CommitId, Limits, Loaded, Reply, Sequencer};

/// How long one commit is retried before its commands get the answer that the outcome is unknown or
/// that nothing was done.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// Submissions on their way to the sequencer; senders wait above it.
const MAILBOX: usize = 4_096;
/// Submissions taken in before what can start is started.
const INTAKE: usize = 1_024;
/// Blocks asked for in one page.
const PAGE_BLOCKS: usize = 256;
/// Pages of new blocks read after another instance was found ahead; above it the wallet is read afresh.
const MAX_TAIL_PAGES: usize = 16;
/// Pages of unrecorded blocks read to learn the keys of the last 24 hours, each of at most 1 MB. Where there are more,
/// the load fails, having recorded these: the next one gets further.
const MAX_KEY_PAGES: usize = 64;

const KEY_MARGIN_MICROS: i64 = 60_000_000;

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
}

/// Gives commands to the sequencer of this instance.
#[derive(Clone)]
pub struct Submitter(mpsc::Sender<Submission>, Hot);

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

    /// What is written to most.
    pub fn hot(&self) -> &Hot {
        &self.1
    }

    /// Nothing of the wallet is started any more, until it is released or so much time has passed.
    pub async fn hold(&self, wallet: WalletId, at_most: Duration) {
        // A driver that has ended starts nothing either.
        let _ = self.0.send(Submission::Hold(wallet, at_most)).await;
    }

    pub async fn release(&self, wallet: WalletId) {
        let _ = self.0.send(Submission::Release(wallet)).await;
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
    keys_per_wallet: usize,
    /// The last block that this instance wrote of a wallet, where it was a heavy one.
    heavy: HashMap<WalletId, u64>,
    hot: Hot,
}

impl<S: Store> Driver<S> {
    pub fn new(cell: CellId, store: S, clock: Clock, limits: Limits) -> (Submitter, Self) {
        let (sender, inbox) = mpsc::channel(MAILBOX);
        let keys_per_wallet = limits.keys_per_wallet;
        let sequencer = Sequencer::new(cell.clone(), limits);
        let hot = Hot::default();
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
            keys_per_wallet,
            heavy: HashMap::new(),
            hot: hot.clone(),
        };
        (Submitter(sender, hot), driver)
    }

    /// Runs until every submitter is gone and all that was taken in is answered.
    pub async fn run(mut self) {
        let mut open = true;
        while open || !self.work.is_empty() {
            tokio::select! {
                biased;
                Some(event) = self.work.join_next(), if !self.work.is_empty() => self.learn(event),
                submission = self.inbox.recv(), if open => match submission {
                    Some(submission) => self.take_in(submission),
                    None => open = false,
                },
            }
            self.drain();
            for action in self.sequencer.pump(self.clock.now(), self.started.elapsed()) {
                self.act(action);
            }
            gauge!("cell_queue_depth").set(self.sequencer.depth() as f64);
            gauge!("cell_store_work_in_flight").set(self.work.len() as f64);
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
                    self.hot.count(&blocks, self.clock.now());
                    self.take_snapshots(&blocks);
                }
                self.sequencer.committed(id, outcome);
            }
            Event::Recorded => {}
            Event::HeldLongEnough(wallet) => self.sequencer.hold(wallet, false),
        }
    }

    /// The snapshots within runs, which only heavy blocks bring. One that is missed, because this process dies now or
    /// another wrote the block before, is found by the sweep.
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
                // A little more, so that a clock that is set back a little finds all that it asks for.
                let since = self.clock.now().plus_micros(-KEY_LIFETIME_MICROS - KEY_MARGIN_MICROS);
                let random = self.clock.random();
                let want = Want { cell: self.cell.clone(), wallet, since, most_keys: self.keys_per_wallet };
                let place = self.place_of(|traced| traced.wallet == wallet);
                self.work.spawn(trace::at(place, async move {
                    Event::Loaded(wallet, load(&store, &want, after, random).await)
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
                    if let Err(error) = record_run(&store, wallet, run).await {
                        // The next load of the wallet reads these blocks instead, and tries again.
                        warn!(%wallet, run, %error, "a run of blocks was not recorded");
                    }
                    Event::Recorded
                });
            }
        }
    }
}

/// A command that is traced.
struct Traced {
    transaction: TransactionId,
    wallet: WalletId,
    place: Place,
}

/// What a load is for.
struct Want {
    cell: CellId,
    wallet: WalletId,
    /// Keys used before this do not count any more.
    since: Timestamp,
    most_keys: usize,
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

async fn load<S: Store>(store: &S, want: &Want, after: Option<(u64, Hash)>, mut random: fastrand::Rng) -> Loaded {
    let found = retry::read(
        || random.f64(),
        || async {
            match after {
                Some((number, hash)) => load_tail(store, want, number, hash).await,
                None => load_whole(store, want).await,
            }
        },
    );
    match found.await {
        Ok(loaded) => loaded,
        Err(StoreError::Corrupt(what)) => Loaded::Corrupt(what),
        Err(StoreError::Unavailable(why) | StoreError::Rejected(why)) => Loaded::Unavailable(why),
    }
}

/// The blocks after a known one, checked link by link.
async fn load_tail<S: Store>(store: &S, want: &Want, known: u64, hash: Hash) -> Result<Loaded, StoreError> {
    // Each page starts with the last block already known: it is what the rest is checked against, and a page that
    // holds nothing else is the end of the chain.
    let mut tail: Vec<Block> = Vec::new();
    for _ in 0..MAX_TAIL_PAGES {
        let first = tail.last().map_or(known, |block| block.number);
        let range = BlockRange { first, last: u64::MAX, newest_first: false };
        let page = store.blocks(want.wallet, range, PAGE_BLOCKS).await?;
        let is_known = |block: &Block| block.number == first && (!tail.is_empty() || block.hash == hash);
        if !page.first().is_some_and(is_known) {
            // The known block is not here any more: the wallet has left, and what it left behind is being purged.
            return load_whole(store, want).await;
        }
        let ended = page.len() <= 1;
        let repeated = usize::from(!tail.is_empty());
        tail.extend(page.into_iter().skip(repeated));
        if ended {
            check_links(&tail)?;
            return Ok(Loaded::Tail(tail.into_iter().skip(1).collect()));
        }
    }
    match load_whole(store, want).await? {
        // What was read on the way goes along: a command that was written after all is found in it.
        Loaded::Whole { head, runs, blocks: recent, known_since, is_capped } => {
            tail.retain(|block| recent.first().is_none_or(|first| block.number < first.number));
            tail.extend(recent);
            Ok(Loaded::Whole { head, runs, blocks: tail, known_since, is_capped })
        }
        other => Ok(other),
    }
}

/// The head, and every key of the last 24 hours: from recorded runs, and from the blocks of runs not recorded yet.
async fn load_whole<S: Store>(store: &S, want: &Want) -> Result<Loaded, StoreError> {
    let &Want { ref cell, wallet, since, most_keys } = want;
    let everything = BlockRange { first: 0, last: u64::MAX, newest_first: true };
    let (page, recorded) = tokio::join!(store.page(wallet, everything, 32), store.key_runs(wallet, since, most_keys));
    let (Page { mut blocks, more }, RecordedRuns { runs, is_all }) = (page?, recorded?);
    let Some(head) = blocks.first().map(Block::head) else { return Ok(Loaded::Absent) };
    if head.home != *cell {
        // The keys of a wallet that lives elsewhere are of no use here: late requests are only sent on.
        blocks.reverse();
        return Ok(Loaded::Whole { head, runs: Vec::new(), blocks, known_since: since, is_capped: false });
    }
    check_unbroken(&blocks, more)?;
    // Runs that were left out are not read block by block either.
    let known_since = match runs.last() {
        Some(oldest) if !is_all => oldest.last_at.plus_micros(1),
        _ => since,
    };
    let recorded = runs.iter().map(|run| run.run).collect();
    let is_whole = read_unrecorded(store, wallet, &mut blocks, &recorded, known_since).await?;
    blocks.reverse();
    check_links(&blocks)?;
    blocks.retain(|block| block.at >= known_since || block.number == head.number);
    record_missing(store, wallet, &blocks, &recorded).await;
    if !is_whole {
        return Err(StoreError::Unavailable(
            "the idempotency keys of the last 24 hours are still being indexed".into(),
        ));
    }
    Ok(Loaded::Whole { head, runs, blocks, known_since, is_capped: !is_all })
}

/// Extends `blocks`, newest first, by those of unrecorded runs, back to `since`. False if that were too many to be read
/// at once.
async fn read_unrecorded<S: Store>(
    store: &S,
    wallet: WalletId,
    blocks: &mut Vec<Block>,
    recorded: &BTreeSet<u64>,
    since: Timestamp,
) -> Result<bool, StoreError> {
    for _ in 0..MAX_KEY_PAGES {
        let oldest = blocks.last().expect("the head is among them");
        if oldest.at < since || oldest.number == 0 {
            return Ok(true);
        }
        let Some(last) = next_unrecorded(oldest.number - 1, recorded) else { return Ok(true) };
        let range = BlockRange { first: 0, last, newest_first: true };
        let page = store.blocks(wallet, range, PAGE_BLOCKS).await?;
        if page.is_empty() {
            return Ok(true);
        }
        blocks.extend(page);
    }
    Ok(false)
}

/// The newest block at or before `number` that belongs to no recorded run.
fn next_unrecorded(mut number: u64, recorded: &BTreeSet<u64>) -> Option<u64> {
    while recorded.contains(&run_of(number)) {
        number = (run_of(number) * RUN_BLOCKS).checked_sub(1)?;
    }
    Some(number)
}

/// Runs that were full but never recorded, because the process that filled them died first.
async fn record_missing<S: Store>(store: &S, wallet: WalletId, blocks: &[Block], recorded: &BTreeSet<u64>) {
    for run in blocks.chunk_by(|a, b| run_of(a.number) == run_of(b.number)).filter_map(KeyRun::of) {
        if !recorded.contains(&run.run) {
            let last = blocks.iter().find(|block| block.number == last_of(run.run));
            let snapshot = snapshot_of(last.expect("the run is whole"));
            if let Err(error) = store.put_run(wallet, &run).await {
                warn!(%wallet, %error, "a run of blocks was not recorded");
                return;
            }
            // Other snapshots that are missing are found by the sweep.
            if let Err(error) = store.put_snapshots(wallet, &[snapshot]).await {
                warn!(%wallet, %error, "a snapshot was not recorded");
            }
        }
    }
}

async fn record_run<S: Store>(store: &S, wallet: WalletId, run: u64) -> Result<(), StoreError> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < RUN_BLOCKS as usize {
        let first = blocks.last().map_or(run * RUN_BLOCKS, |block| block.number + 1);
        let range = BlockRange { first, last: last_of(run), newest_first: false };
        let page = store.blocks(wallet, range, RUN_BLOCKS as usize).await?;
        if page.is_empty() {
            return Err(StoreError::Corrupt(format!("run {run} is full but block {first} is missing")));
        }
        blocks.extend(page);
    }
    let keys = KeyRun::of(&blocks).ok_or_else(|| StoreError::Corrupt(format!("run {run} is not whole")))?;
    store.put_run(wallet, &keys).await?;
    store.put_snapshots(wallet, &[snapshot_of(&blocks[blocks.len() - 1])]).await?;
    counter!("cell_snapshots_recorded_total").increment(1);
    Ok(())
}

/// No block is missing among and below the newest ones, given newest first. Where one is, as after a restore that lacks a
/// part of the chain, what was done before cannot be known.
fn check_unbroken(newest: &[Block], more: bool) -> Result<(), StoreError> {
    let gap = newest.windows(2).find(|pair| pair[1].number + 1 != pair[0].number).map(|pair| pair[0].number);
    let lowest = newest.last().map(|block| block.number).filter(|number| !more && *number > 0);
    match gap.or(lowest) {
        None => Ok(()),
        Some(number) => Err(StoreError::Corrupt(format!("the blocks before block {number} are missing"))),
    }
}

/// Neighbours follow one another; where recorded runs were skipped there is nothing to compare.
fn check_links(blocks: &[Block]) -> Result<(), StoreError> {
    for pair in blocks.windows(2).filter(|pair| pair[0].number + 1 == pair[1].number) {
        chain::verify(Some(&pair[0].head()), &pair[1]).map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
    }
    Ok(())
}

//! Carries out the steps of one operation, some of them at once: begins them, publishes and records in any order what is
//! done, and meanwhile keeps up the lease, shows the progress, and passes on that the operation is to stop.
//!
//! A worker that cannot keep up its lease stops by itself: another one may have taken over.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use control_api::{OperationProgress, OperationState, Refusal, Step};
use mover::{Order, Pace};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use topology::Placement;

use super::{Worker, placement_reason};
use crate::clock::now_ms;
use crate::error::{Error, Result, no_placement};
use crate::jobs::asked::{ATTEMPTS_MAX, kept_changing};
use crate::jobs::lease::LEASE;
use crate::operations::done_steps::SIDE_BY_SIDE;
use crate::operations::hands::{Assignment, Carried, Outcome, Task, Trouble};
use crate::operations::record::Operation;
use crate::operations::step;

/// How often progress is written, and a pause noticed.
const TICK: Duration = Duration::from_millis(500);
const AT_ONCE: usize = SIDE_BY_SIDE as usize;

/// Why no more steps are carried out.
pub enum End {
    /// There are no more, or none that may be begun.
    Done,
    /// The operation is to stop, or is another worker's.
    Changed,
    Trouble(Trouble),
}

/// A step that was carried out.
type Done = (u64, Outcome);

pub struct SideBySide<'a> {
    worker: &'a Worker,
    task: Task,
    steps: Arc<[Step]>,
    /// As this worker wrote it last.
    operation: Operation,
    /// When that was.
    renewed: Instant,
    /// What was shown of it before.
    before: OperationProgress,
    /// No step from this number on is begun.
    limit: u64,
    begun: BTreeSet<u64>,
    running: JoinSet<(u64, Carried)>,
    stop: watch::Sender<bool>,
    is_anothers: bool,
    trouble: Option<Trouble>,
    pace: Arc<Pace>,
    /// Wallets and bytes that metrics count already.
    counted: (u64, u64),
}

impl<'a> SideBySide<'a> {
    /// The steps of an operation that this worker has just written.
    pub fn new(worker: &'a Worker, operation: Operation, steps: Arc<[Step]>, task: Task) -> Self {
        let (limits, planned) = (&operation.limits, operation.plan.steps);
        let limit = match task {
            // No other can have been begun.
            Task::TakeBack => planned.min(operation.done().before + SIDE_BY_SIDE),
            Task::Move | Task::Forget => planned,
        };
        Self {
            worker,
            task,
            steps,
            renewed: Instant::now(),
            before: operation.progress.clone(),
            limit,
            begun: BTreeSet::new(),
            running: JoinSet::new(),
            stop: watch::channel(false).0,
            is_anothers: false,
            trouble: None,
            pace: Arc::new(Pace::new(limits.max_concurrent, limits.max_bytes_per_sec)),
            counted: (0, 0),
            operation,
        }
    }

    /// Until no step is under way and none may be begun; the operation as it was written last.
    pub async fn carry_out(mut self) -> Result<(Operation, End)> {
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = None;
        loop {
            match self.go_on(&mut ticks).await {
                Ok(true) => {}
                Ok(false) => break,
                // Steps that are under way come to rest first.
                Err(error) => {
                    self.stop.send_replace(true);
                    failed.get_or_insert(error);
                }
            }
        }
        self.count();
        if let Some(error) = failed {
            return Err(error);
        }
        let is_changed = self.is_anothers || self.operation.state != self.state();
        let end = match self.trouble {
            Some(Trouble::Stopped) | None if is_changed => End::Changed,
            Some(trouble) => End::Trouble(trouble),
            // It could not keep up its lease.
            None if *self.stop.borrow() => End::Changed,
            None => End::Done,
        };
        Ok((self.operation, end))
    }

    /// Whether a step is under way.
    async fn go_on(&mut self, ticks: &mut Interval) -> Result<bool> {
        self.begin().await?;
        tokio::select! {
            ended = self.running.join_next() => match ended {
                Some(ended) => self.take(ended).await.map(|()| true),
                None => Ok(false),
            },
            _ = ticks.tick() => {
                self.show().await;
                Ok(true)
            }
        }
    }

    /// As many steps as there are places for.
    async fn begin(&mut self) -> Result<()> {
        if self.next().is_none() {
            return Ok(());
        }
        let placements = &self.worker.operations.fleet.placements;
        let now = placements.refresh().await?.ok_or_else(no_placement)?;
        while let Some(number) = self.next() {
            self.begun.insert(number);
            let step = &self.steps[usize::try_from(number).expect("a plan is kept in memory")];
            if self.operation.moves_wallets() && step::is_published(&now.placement, step) {
                self.record(&[(number, Outcome::default())]).await?;
                continue;
            }
            let assignment = self.assignment(&now.placement, step.clone());
            let carrying = self.worker.hands.carry(&self.worker.operations, assignment);
            self.running.spawn(async move { (number, carrying.await) });
        }
        Ok(())
    }

    /// The step that is begun next, if one may be.
    fn next(&self) -> Option<u64> {
        let at_once = match self.task {
            Task::Move | Task::TakeBack => AT_ONCE.min(self.pace.concurrent()),
            // It deletes: without haste.
            Task::Forget => 1,
        };
        if self.running.len() >= at_once || self.trouble.is_some() || *self.stop.borrow() {
            return None;
        }
        self.operation.done().undone(self.limit).find(|number| !self.begun.contains(number))
    }

    fn assignment(&self, placement: &Placement, step: Step) -> Assignment {
        let operation = &self.operation;
        let source = placement.cell_named(&step.from);
        Assignment {
            task: self.task,
            pins: step::pins_elsewhere(placement, &step),
            kept: step::pinned_at_source(placement, &step),
            instances: source.map_or_else(Vec::new, |cell| cell.instances.clone()),
            order: Order { operation: operation.id().to_string(), epoch: operation.placement_version },
            pace: Arc::clone(&self.pace),
            stop: self.stop.subscribe(),
            step,
        }
    }

    /// What has ended, and all that has by now.
    async fn take(&mut self, first: std::result::Result<(u64, Carried), JoinError>) -> Result<()> {
        let (mut done, mut ended) = (Vec::new(), Some(first));
        while let Some(one) = ended {
            match one.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
                (number, Ok(outcome)) if outcome.completed => done.push((number, outcome)),
                // Taken back.
                (_, Ok(_)) => {}
                (_, Err(trouble)) => self.meet(trouble),
            }
            ended = self.running.try_join_next();
        }
        if done.is_empty() { Ok(()) } else { self.conclude(&done).await }
    }

    /// The worst trouble is what the operation shows.
    fn meet(&mut self, trouble: Trouble) {
        if matches!(trouble, Trouble::Fatal(_)) {
            self.stop.send_replace(true);
        }
        let weight = |trouble: &Trouble| match trouble {
            Trouble::Stopped => 0,
            Trouble::Later(_) => 1,
            Trouble::Fatal(_) => 2,
        };
        if self.trouble.as_ref().is_none_or(|known| weight(known) < weight(&trouble)) {
            self.trouble = Some(trouble);
        }
    }

    /// Publishes and records steps that were carried out.
    async fn conclude(&mut self, done: &[Done]) -> Result<()> {
        let refused = match self.publish(done).await {
            Ok(()) => return self.record(done).await,
            Err(Error::Refused(refused)) if refused.refusal == Refusal::OperationChanged => return self.adopt().await,
            Err(Error::Refused(refused)) => refused,
            Err(error) => return Err(error),
        };
        match done {
            [_] => self.meet(Trouble::Fatal(refused.detail)),
            // One that is refused keeps no other from being published.
            _ => {
                for one in done {
                    Box::pin(self.conclude(slice::from_ref(one))).await?;
                }
            }
        }
        Ok(())
    }

    /// What was moved for an operation that is aborting by now is not published: it is to be taken back like what is in
    /// progress. Only what could not be taken back is.
    async fn publish(&self, done: &[Done]) -> Result<()> {
        if !self.operation.moves_wallets() {
            return Ok(());
        }
        let Worker { operations, .. } = self.worker;
        let states: &[OperationState] = match self.task {
            Task::TakeBack => &[OperationState::Aborting],
            Task::Move | Task::Forget => &[OperationState::Running, OperationState::Pausing],
        };
        let guard = operations.table.still_at(&self.operation, states);
        let because = placement_reason(&self.operation);
        let decide = |placement: &Placement| {
            let at = |number: u64| usize::try_from(number).expect("a plan is kept in memory");
            step::publication(placement, done.iter().map(|(number, done)| (&self.steps[at(*number)], &done.strays[..])))
        };
        operations.fleet.placements.change_while("wallets_moved", &because, Some(guard), decide).await.map(|_| ())
    }

    async fn record(&mut self, done: &[Done]) -> Result<()> {
        metrics::gauge!("control_plane_operation_step_timestamp_seconds").set(now_ms() as f64 / 1e3);
        self.write(|operation| {
            let mut next = done.iter().fold(operation, |operation, (number, _)| operation.with_done(*number));
            next.progress.strays += done.iter().map(|(_, done)| done.strays.len() as u64).sum::<u64>();
            next.last_error = None;
            next
        })
        .await
    }

    /// Renews the lease and shows the progress.
    async fn show(&mut self) {
        self.count();
        if let Err(error) = self.write(|operation| operation).await {
            tracing::warn!(operation = %self.operation.id(), %error, "lease not renewed");
            if self.renewed.elapsed() > LEASE / 2 {
                self.stop.send_replace(true);
            }
        }
    }

    /// Writes the operation with its progress, unless it is another worker's by now.
    async fn write(&mut self, change: impl Fn(Operation) -> Operation) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            if self.is_anothers {
                return Ok(());
            }
            let next = self.worker.holder.leased(change(self.shown()));
            if let Some(written) = self.worker.operations.table.save(&next).await? {
                (self.operation, self.renewed) = (written, Instant::now());
                return Ok(());
            }
            self.adopt().await?;
        }
        Err(kept_changing())
    }

    /// Takes over how the operation is stored, after another process has changed it.
    async fn adopt(&mut self) -> Result<()> {
        let newest = self.worker.operations.table.get(self.operation.number).await?;
        let is_mine =
            |newest: &Operation| !self.worker.holder.is_anothers(newest) && newest.done() == self.operation.done();
        let Some(newest) = newest.filter(is_mine) else {
            self.is_anothers = true;
            self.stop.send_replace(true);
            return Ok(());
        };
        if newest.state != self.state() {
            self.stop.send_replace(true);
        }
        self.operation = Operation { progress: self.operation.progress.clone(), ..newest };
        Ok(())
    }

    /// The state of an operation while its steps are carried out so.
    fn state(&self) -> OperationState {
        match self.task {
            Task::TakeBack => OperationState::Aborting,
            Task::Move | Task::Forget => OperationState::Running,
        }
    }

    fn shown(&self) -> Operation {
        let (mut shown, now, before) = (self.operation.clone(), &self.pace.progress, &self.before);
        shown.progress.wallets = before.wallets + now.wallets.load(Relaxed);
        shown.progress.blocks = before.blocks + now.blocks.load(Relaxed);
        shown.progress.bytes = before.bytes + now.bytes.load(Relaxed);
        let cutover = now.longest_cutover_micros.load(Relaxed);
        shown.progress.longest_cutover_micros = before.longest_cutover_micros.max(cutover);
        shown
    }

    fn count(&mut self) {
        let kind = self.operation.wanted.kind().as_str();
        let (wallets, bytes) = (self.pace.progress.wallets.load(Relaxed), self.pace.progress.bytes.load(Relaxed));
        let (wallets_before, bytes_before) = std::mem::replace(&mut self.counted, (wallets, bytes));
        metrics::counter!("control_plane_moved_wallets_total", "kind" => kind).increment(wallets - wallets_before);
        metrics::counter!("control_plane_moved_bytes_total", "kind" => kind).increment(bytes - bytes_before);
    }
}

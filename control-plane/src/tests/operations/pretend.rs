//! Hands that write down what they were asked for, and wait or fail when a test says so; and a few
//! shortcuts into the tables.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use control_api::{AbortOperation, BucketRange, OperationId, Piece};
use tokio::sync::watch;
use topology::Placement;
use topology::placement::BucketRun;

use crate::operations::hands::{Assignment, Carried, Hands, Outcome, Task, Trouble};
use crate::operations::service::Operations;
use crate::operations::{self};
use crate::placement::placements::Delta;
use crate::tests::fixture::{Plane, because, cell_id};

#[derive(Clone, Default)]
pub struct Pretend(Arc<Inner>);

#[derive(Default)]
struct Inner {
    done: Mutex<Vec<String>>,
    failures: Mutex<VecDeque<Trouble>>,
    abort: Mutex<Option<(Arc<Operations>, OperationId, AbortOperation)>>,
    mode: Mutex<Mode>,
    /// First buckets of the steps that are carried out at once, whatever the mode.
    exempt: Mutex<BTreeSet<u16>>,
    begun: watch::Sender<usize>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Mode {
    #[default]
    AtOnce,
    UntilTold,
    HangAfterwards,
    Panic,
}

impl Pretend {
    pub fn hands(&self) -> Hands {
        let this = self.clone();
        Hands::new(move |_, assignment| {
            let this = this.clone();
            Box::pin(async move { this.carry(assignment).await })
        })
    }

    async fn carry(&self, mut assignment: Assignment) -> Carried {
        self.0.begun.send_modify(|begun| *begun += 1);
        if let Some(trouble) = self.0.failures.lock().expect("sound").pop_front() {
            return Err(trouble);
        }
        let mode = self.mode(&assignment);
        assert!(mode != Mode::Panic, "hands that break");
        if mode == Mode::UntilTold {
            let _ = assignment.stop.wait_for(|stop| *stop).await;
            return Err(Trouble::Stopped);
        }
        let what = match assignment.step.piece {
            Piece::Buckets(range) => format!("buckets {}..{}", range.first, range.last),
            Piece::Wallet { wallet } => format!("wallet {wallet}"),
        };
        let (verb, completed) = match assignment.task {
            Task::Move => ("move", true),
            Task::TakeBack => ("return", false),
            Task::Forget => ("forget", true),
        };
        self.0.done.lock().expect("sound").push(format!("{verb} {what}"));
        assignment.pace.progress.wallets.fetch_add(1, Relaxed);
        let abort = self.0.abort.lock().expect("sound").take();
        if let Some((operations, id, wanted)) = abort {
            operations::abort(&operations, id, &wanted).await.expect("aborting");
        }
        if mode == Mode::HangAfterwards {
            std::future::pending::<()>().await;
        }
        Ok(Outcome { strays: vec![], completed })
    }

    fn mode(&self, assignment: &Assignment) -> Mode {
        let exempt = self.0.exempt.lock().expect("sound");
        match assignment.step.piece {
            Piece::Buckets(range) if exempt.contains(&range.first.0) => Mode::AtOnce,
            _ => *self.0.mode.lock().expect("sound"),
        }
    }

    pub fn exempt(&self, firsts: impl IntoIterator<Item = u16>) {
        *self.0.exempt.lock().expect("sound") = firsts.into_iter().collect();
    }

    pub fn done(&self) -> Vec<String> {
        self.0.done.lock().expect("sound").clone()
    }

    pub fn fail_next(&self, trouble: Trouble) {
        self.0.failures.lock().expect("sound").push_back(trouble);
    }

    pub fn abort_after_work(&self, operations: Arc<Operations>, id: OperationId, wanted: AbortOperation) {
        *self.0.abort.lock().expect("sound") = Some((operations, id, wanted));
    }

    fn set(&self, mode: Mode) {
        *self.0.mode.lock().expect("sound") = mode;
    }

    pub fn work_until_told(&self) {
        self.set(Mode::UntilTold);
    }

    pub fn work_at_once(&self) {
        self.set(Mode::AtOnce);
    }

    pub fn hang_after_work(&self) {
        self.set(Mode::HangAfterwards);
    }

    pub fn panic(&self) {
        self.set(Mode::Panic);
    }

    pub fn hang_no_more(&self) {
        self.set(Mode::AtOnce);
    }

    pub async fn wait_for_work(&self) {
        self.0.begun.subscribe().wait_for(|begun| *begun > 0).await.expect("the sender lives");
    }
}

impl Plane {
    /// As if the worker had died long ago.
    pub async fn expire_lease(&self, id: OperationId) {
        loop {
            let mut operation = operations::get(&self.control.operations, id).await.expect("there");
            if operation.lease.take().is_none() {
                return;
            }
            if self.control.operations.table.save(&operation).await.expect("answers").is_some() {
                return;
            }
        }
    }

    /// Gives the buckets to a cell as if an operation had.
    pub async fn publish(&self, range: BucketRange, to: usize) {
        let decide = |placement: &Placement| {
            let cell = placement.cell_named(&cell_id(to)).expect("listed").index;
            let run = BucketRun { first: range.first.0, last: range.last.0, cell };
            Ok(Some(Delta { buckets: vec![run], intended: true, ..Delta::default() }))
        };
        self.control.fleet.placements.change("test", &because(), decide).await.expect("published");
    }
}

//! Operations over real tables, with hands that are watched instead of the mover: what is stored,
//! which worker wins, and what happens when a worker dies.

mod pretend;
mod side_by_side;

use std::sync::Arc;
use std::time::Duration;

use control_api::{
    AbortOperation, BucketRange, OperationId, OperationState, OperationView, Piece, Refusal, Scope, StartOperation,
    Step, Wanted,
};
use topology::Bucket;
use topology::placement::CellState;

use super::fixture::{Fixture, PATIENCE, Plane, because, cell_id, code};
use crate::error::Error;
use crate::jobs::worker::Advanced;
use crate::operations::hands::Trouble;
use crate::operations::worker::{Memory, Worker};
use crate::operations::{self, Started};
use pretend::Pretend;

fn range(first: u16, last: u16) -> BucketRange {
    BucketRange { first: Bucket(first), last: Bucket(last) }
}

/// The first buckets are cell 1's.
fn migrate(first: u16, last: u16, to: usize) -> StartOperation {
    let wanted = Wanted::Migrate { scope: Scope::Buckets(range(first, last)), to: cell_id(to) };
    StartOperation::new(wanted, because())
}

async fn create(plane: &Plane, wanted: &StartOperation) -> OperationId {
    match operations::start(&plane.control.operations, wanted).await {
        Ok(Started::Created(operation)) => operation.id(),
        Ok(Started::Planned(_)) => panic!("this was no dry run"),
        Err(error) => panic!("{error}"),
    }
}

async fn refusal(plane: &Plane, wanted: &StartOperation) -> String {
    code(operations::start(&plane.control.operations, wanted).await.map(|_| ()))
}

async fn view(plane: &Plane, id: OperationId) -> OperationView {
    operations::get(&plane.control.operations, id).await.expect("there").view()
}

/// Works until there is nothing to do for this worker.
async fn drive(worker: &Worker, id: OperationId) {
    let mut memory = Memory::default();
    tokio::time::timeout(PATIENCE, async {
        loop {
            match worker.advance(id.0, &mut memory).await.expect("the tables answer") {
                Advanced::Again => {}
                Advanced::After(pause) => tokio::time::sleep(pause.min(Duration::from_millis(20))).await,
                Advanced::Rest => return,
            }
        }
    })
    .await
    .expect("it comes to rest");
}

async fn owner(plane: &Plane, bucket: u16) -> String {
    let now = plane.control.fleet.placements.refresh().await.expect("answers").expect("published");
    now.placement.cell(now.placement.owner_of(Bucket(bucket))).expect("listed").id.to_string()
}

async fn state_of(plane: &Plane, cell: usize) -> CellState {
    let now = plane.control.fleet.placements.refresh().await.expect("answers").expect("published");
    now.placement.cell_named(&cell_id(cell)).expect("listed").state
}

/// Each step that was published, as often as it was: the first buckets, in order.
async fn published(plane: &Plane) -> Vec<u16> {
    let history = plane.control.fleet.placements.history(100).await.expect("answers");
    let moves = history.iter().filter(|row| row.change.kind == "wallets_moved");
    let mut firsts: Vec<_> = moves.flat_map(|row| &row.update.buckets).map(|run| run.first).collect();
    firsts.sort_unstable();
    firsts
}

async fn until_done(plane: &Plane, id: OperationId, steps: u64) {
    let all = async {
        while view(plane, id).await.progress.steps_done < steps {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("they are recorded");
}

#[tokio::test]
async fn operations_are_numbered_and_never_overlap() {
    let (fixture, one) = Fixture::idle(2).await;
    let other = fixture.idle_plane().await;
    let (left, right) = (migrate(0, 99, 2), migrate(100, 199, 2));
    let (first, second) = tokio::join!(create(&one, &left), create(&other, &right));
    let mut numbers = [first.0, second.0];
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);

    let (third, same) = (migrate(200, 299, 2), migrate(299, 399, 2));
    let (third, same) = tokio::join!(
        operations::start(&one.control.operations, &third),
        operations::start(&other.control.operations, &same)
    );
    assert!(third.is_ok() != same.is_ok(), "one of them was first");
    let lost = if third.is_err() { third } else { same };
    let Err(Error::Refused(refused)) = lost else { panic!("a refusal") };
    assert_eq!(refused.refusal, Refusal::OperationOverlaps);
    assert!(refused.detail.contains("op-3") && refused.detail.contains("012b"), "{}", refused.detail);

    // What is over is in no operation's way.
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&one.control.operations), hands.hands());
    drive(&worker, OperationId(1)).await;
    drive(&worker, OperationId(2)).await;
    assert_eq!(view(&one, first).await.state, OperationState::Done);
    create(&other, &migrate(0x8000, 0x8001, 1)).await;
    assert_eq!(one.control.operations.table.register().await.expect("answers").claims.len(), 2);
}

#[tokio::test]
async fn an_operation_is_carried_out_published_and_written_down() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 99, 2)).await;
    let hands = Pretend::default();
    drive(&Worker::new(Arc::clone(&plane.control.operations), hands.hands()), id).await;
    let done = view(&plane, id).await;
    assert_eq!((done.state, done.progress.steps_done, done.progress.wallets), (OperationState::Done, 2, 2));
    assert!(done.finished_at.is_some() && done.last_error.is_none());
    assert_eq!((owner(&plane, 99).await, owner(&plane, 100).await), ("cell-2".into(), "cell-1".into()));
    assert_eq!(published(&plane).await, [0, 64]);
    let audit = plane.control.operations.table.audit(10, Some(id)).await.expect("answers");
    let recorded: Vec<_> = audit.iter().map(|entry| (entry.what.as_str(), entry.actor.as_str(), entry.after)).collect();
    use OperationState::{Done, Planned, Running};
    let expected =
        [("finish", "control-plane", Done), ("begin", "control-plane", Running), ("create", "test", Planned)];
    assert_eq!(recorded, expected);
    assert!(plane.control.operations.table.audit(10, Some(OperationId(9))).await.expect("answers").is_empty());
}

#[tokio::test]
async fn a_worker_that_dies_at_any_point_is_followed_by_another() {
    // Dies after each of its advances, or with the hands done and nothing published, or all but the progress recorded.
    for advances in 0..=3 {
        for dies_after_hands in [false, true] {
            let (_fixture, plane) = Fixture::idle(2).await;
            let id = create(&plane, &migrate(0, 99, 2)).await;
            let hands = Pretend::default();
            let first = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
            let mut memory = Memory::default();
            for _ in 0..advances {
                first.advance(id.0, &mut memory).await.expect("the tables answer");
            }
            if dies_after_hands {
                hands.hang_after_work();
                let dying = first.advance(id.0, &mut memory);
                let _ = tokio::time::timeout(Duration::from_millis(100), dying).await;
                hands.hang_no_more();
            }
            plane.expire_lease(id).await;
            drive(&Worker::new(Arc::clone(&plane.control.operations), hands.hands()), id).await;
            let done = view(&plane, id).await;
            assert_eq!((done.state, done.progress.steps_done), (OperationState::Done, 2), "{advances}");
            assert_eq!(published(&plane).await, [0, 64], "{advances}: each group is published once");
            assert_eq!(owner(&plane, 99).await, "cell-2");
        }
    }
}

#[tokio::test]
async fn a_step_published_but_not_recorded_is_not_done_again() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 63, 2)).await;
    plane.publish(range(0, 63), 2).await;
    let hands = Pretend::default();
    drive(&Worker::new(Arc::clone(&plane.control.operations), hands.hands()), id).await;
    assert_eq!(view(&plane, id).await.state, OperationState::Done);
    assert!(hands.done().is_empty());
}

#[tokio::test]
async fn two_workers_at_once_have_one_outcome() {
    let (fixture, one) = Fixture::idle(2).await;
    let other = fixture.idle_plane().await;
    let id = create(&one, &migrate(0, 0x1ff, 2)).await;
    let hands = Pretend::default();
    let (a, b) = (
        Worker::new(Arc::clone(&one.control.operations), hands.hands()),
        Worker::new(Arc::clone(&other.control.operations), hands.hands()),
    );
    let thieving = async {
        // Both believe that the other one is dead, again and again.
        for _ in 0..50 {
            one.expire_lease(id).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let keep_driving = async |worker: &Worker| {
        while !view(&one, id).await.state.is_over() {
            drive(worker, id).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::join!(keep_driving(&a), keep_driving(&b), thieving);
    let done = view(&one, id).await;
    assert_eq!((done.state, done.progress.steps_done), (OperationState::Done, 8));
    let each: Vec<u16> = (0..8).map(|step| step * 64).collect();
    assert_eq!(published(&one).await, each, "each group is published once");
    let finishes = one.control.operations.table.audit(50, Some(id)).await.expect("answers");
    assert_eq!(finishes.iter().filter(|entry| entry.what == "finish").count(), 1);
}

#[tokio::test]
async fn a_running_step_is_paused_resumed_and_aborted() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 99, 2)).await;
    let hands = Pretend::default();
    hands.work_until_told();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    let pausing = async {
        hands.wait_for_work().await;
        operations::pause(&plane.control.operations, id, &because()).await.expect("pausing");
    };
    tokio::join!(drive(&worker, id), pausing);
    assert_eq!(view(&plane, id).await.state, OperationState::Paused);
    assert_eq!(code(operations::pause(&plane.control.operations, id, &because()).await), "done", "asked for twice");

    operations::resume(&plane.control.operations, id, &because()).await.expect("running");
    hands.exempt([0]);
    let aborting = async {
        until_done(&plane, id, 1).await;
        hands.work_at_once();
        let wanted = AbortOperation { force: false, because: because() };
        operations::abort(&plane.control.operations, id, &wanted).await.expect("aborting");
    };
    tokio::join!(drive(&worker, id), aborting);
    let aborted = view(&plane, id).await;
    assert_eq!((aborted.state, aborted.progress.steps_done), (OperationState::Aborted, 1), "what was done stays");
    assert_eq!(hands.done(), ["move buckets 0000..003f", "return buckets 0040..0063"]);
    assert_eq!((owner(&plane, 0).await, owner(&plane, 99).await), ("cell-2".into(), "cell-1".into()));
    assert_eq!(code(operations::resume(&plane.control.operations, id, &because()).await), "operation_state");

    let back = create(&plane, &StartOperation::new(Wanted::Reverse { operation: id }, because())).await;
    drive(&worker, back).await;
    assert_eq!(owner(&plane, 0).await, "cell-1");
}

#[tokio::test]
async fn an_abort_that_comes_as_a_group_is_done_takes_it_back() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 9, 2)).await;
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    let (mut memory, wanted) = (Memory::default(), AbortOperation { force: false, because: because() });
    worker.advance(id.0, &mut memory).await.expect("begun");
    hands.abort_after_work(Arc::clone(&plane.control.operations), id, wanted);
    worker.advance(id.0, &mut memory).await.expect("moved, then aborted");
    drive(&worker, id).await;
    assert_eq!(view(&plane, id).await.state, OperationState::Aborted);
    assert_eq!(hands.done(), ["move buckets 0000..0009", "return buckets 0000..0009"]);
    assert_eq!(owner(&plane, 0).await, "cell-1");
}

#[tokio::test]
async fn a_failure_is_shown_and_retried_unless_it_needs_a_human() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 9, 2)).await;
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    let mut memory = Memory::default();
    worker.advance(id.0, &mut memory).await.expect("begun");
    hands.fail_next(Trouble::Later("the database of cell-1 does not answer".into()));
    let pause = worker.advance(id.0, &mut memory).await.expect("tried");
    assert!(matches!(pause, Advanced::After(_)));
    let shown = view(&plane, id).await;
    assert_eq!((shown.state, shown.last_error.is_some()), (OperationState::Running, true));
    hands.fail_next(Trouble::Fatal("wallet x: two chains".into()));
    drive(&worker, id).await;
    let failed = view(&plane, id).await;
    assert_eq!((failed.state, failed.last_error.as_deref()), (OperationState::Failed, Some("wallet x: two chains")));
    assert_eq!(refusal(&plane, &migrate(5, 5, 2)).await, "operation_overlaps", "a failed one is not over");
    operations::resume(&plane.control.operations, id, &because()).await.expect("tried again");
    drive(&worker, id).await;
    let done = view(&plane, id).await;
    assert_eq!((done.state, done.last_error), (OperationState::Done, None));
}

#[tokio::test]
async fn a_plan_larger_than_an_item_is_stored_in_parts() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let step = |bucket| Step { piece: Piece::Buckets(range(bucket, bucket)), from: cell_id(1), to: cell_id(2) };
    let steps: Vec<_> = (0..10_000).map(step).collect();
    let (id, parts) = plane.control.operations.table.write_plan(&steps).await.expect("written");
    assert!(parts > 1, "{parts} parts");
    let mut plan = operations::plan::migrate_buckets(&placement(&plane), range(0, 0), &cell_id(2)).expect("a plan");
    plan.steps.clone_from(&steps);
    let stored = operations::record::StoredPlan::of(&plan, id, parts);
    assert_eq!(plane.control.operations.table.read_plan(&stored).await.expect("complete"), steps);
}

fn placement(plane: &Plane) -> topology::Placement {
    plane.control.fleet.placements.known().expect("published").placement.clone()
}

#[tokio::test]
async fn a_plan_is_carried_out_as_shown_or_refused_as_stale() {
    let (_fixture, plane) = Fixture::idle(3).await;
    let asked = StartOperation { dry_run: true, ..migrate(0, 9, 2) };
    let Ok(Started::Planned(plan)) = operations::start(&plane.control.operations, &asked).await else {
        panic!("a plan")
    };
    assert_eq!(view_count(&plane).await, 0, "a dry run leaves nothing");
    let agreed = StartOperation { plan_hash: Some(plan.hash), ..migrate(0, 9, 2) };
    plane.publish(range(3, 3), 3).await;
    assert_eq!(refusal(&plane, &agreed).await, "plan_stale");
    let again = create(&plane, &migrate(0, 9, 2)).await;
    assert_eq!(view(&plane, again).await.steps, 3, "around and with the bucket of cell 3");
}

async fn view_count(plane: &Plane) -> usize {
    operations::list(&plane.control.operations, 100).await.expect("answers").len()
}

#[tokio::test]
async fn an_evacuated_cell_is_evacuating_then_empty_or_what_it_was() {
    let (_fixture, plane) = Fixture::idle(3).await;
    let wanted = |force| Wanted::Evacuate { cell: cell_id(1), force };
    for cell in 1..=3 {
        plane.control.fleet.counts.set(&cell_id(cell), 6);
    }
    plane.control.fleet.counts.set(&cell_id(1), 9);
    let refused = StartOperation::new(wanted(false), because());
    assert_eq!(refusal(&plane, &refused).await, "headroom_lacking");
    plane.control.fleet.counts.set(&cell_id(1), 8);
    let id = create(&plane, &refused).await;
    assert_eq!(refusal(&plane, &StartOperation::new(wanted(false), because())).await, "operation_overlaps");
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    let mut memory = Memory::default();
    worker.advance(id.0, &mut memory).await.expect("begun");
    assert_eq!(state_of(&plane, 1).await, CellState::Evacuating);
    assert_eq!(refusal(&plane, &migrate(0xffff, 0xffff, 1)).await, "cell_not_accepting");
    operations::abort(&plane.control.operations, id, &AbortOperation { force: false, because: because() })
        .await
        .expect("aborting");
    drive(&worker, id).await;
    assert_eq!(state_of(&plane, 1).await, CellState::Active);

    // Fewer buckets, so that the test is short.
    plane.publish(range(10, 0x5555), 2).await;
    let again = create(&plane, &refused).await;
    drive(&worker, again).await;
    assert_eq!(view(&plane, again).await.state, OperationState::Done);
    assert_eq!(state_of(&plane, 1).await, CellState::Empty);
    let status = crate::lifecycle::registration::show(&plane.control.fleet, &cell_id(1)).await.expect("listed");
    assert_eq!((status.buckets, status.pins), (0, 0));
}

#[tokio::test]
async fn what_is_baked_is_forgotten_once_and_then_never_reversed() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let mut wanted = migrate(0, 9, 2);
    let forget = |operation| StartOperation::new(Wanted::Forget { operation }, because());
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    let young = create(&plane, &wanted).await;
    assert_eq!(refusal(&plane, &forget(young)).await, "operation_not_over");
    drive(&worker, young).await;
    assert_eq!(refusal(&plane, &forget(young)).await, "still_baking");

    wanted = migrate(10, 19, 2);
    wanted.limits.bake_seconds = 0;
    let baked = create(&plane, &wanted).await;
    drive(&worker, baked).await;
    let forgetting = create(&plane, &forget(baked)).await;
    assert_eq!(refusal(&plane, &forget(baked)).await, "operation_forgotten");
    let reverse = StartOperation::new(Wanted::Reverse { operation: baked }, because());
    assert_eq!(refusal(&plane, &reverse).await, "operation_forgotten");
    drive(&worker, forgetting).await;
    assert_eq!(view(&plane, forgetting).await.state, OperationState::Done);
    assert_eq!(hands.done().last().map(String::as_str), Some("forget buckets 000a..0013"));
    assert_eq!(view(&plane, baked).await.forgotten_by, Some(forgetting));
}

#[tokio::test]
async fn a_worker_that_panics_leaves_a_failed_operation() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 9, 2)).await;
    let hands = Pretend::default();
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    hands.panic();
    drive(&worker, id).await;
    let failed = view(&plane, id).await;
    let why = failed.last_error.expect("it is shown");
    assert!(failed.state == OperationState::Failed && why.contains("hands that break"), "{why}");
    hands.work_at_once();
    operations::resume(&plane.control.operations, id, &because()).await.expect("tried again");
    drive(&worker, id).await;
    assert_eq!(view(&plane, id).await.state, OperationState::Done);
}

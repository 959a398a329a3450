//! Several steps of one operation at once: they end in any order, and each is published once, whatever dies between.

use std::sync::Arc;

use control_api::{AbortOperation, OperationState};

use super::pretend::Pretend;
use super::{create, drive, migrate, published, until_done, view};
use crate::operations;
use crate::operations::worker::Worker;
use crate::tests::fixture::{Fixture, because};

#[tokio::test]
async fn steps_that_end_in_any_order_are_done_once() {
    let firsts = [0_u16, 64, 128, 192];
    for ends in 0..16_u16 {
        let (_fixture, plane) = Fixture::idle(2).await;
        let id = create(&plane, &migrate(0, 255, 2)).await;
        let hands = Pretend::default();
        let early: Vec<_> = (0..).zip(firsts).filter(|(bit, _)| ends >> bit & 1 == 1).map(|(_, first)| first).collect();
        hands.hang_after_work();
        hands.exempt(early.iter().copied());
        let first = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
        let count = early.len() as u64;
        tokio::select! {
            () = drive(&first, id) => assert_eq!(count, 4, "the others never end"),
            () = until_done(&plane, id, count), if count < 4 => {}
        }
        assert_eq!(published(&plane).await, early, "none waits for another");
        hands.work_at_once();
        plane.expire_lease(id).await;
        drive(&Worker::new(Arc::clone(&plane.control.operations), hands.hands()), id).await;
        let done = view(&plane, id).await;
        assert_eq!((done.state, done.progress.steps_done), (OperationState::Done, 4));
        assert_eq!(published(&plane).await, firsts, "each group is published once");
        let again = |first: &u16| hands.done().iter().filter(|done| done.contains(&format!(" {first:04x}.."))).count();
        assert!(early.iter().all(|first| again(first) == 1), "{early:?}: {:?}", hands.done());
    }
}

#[tokio::test]
async fn a_step_that_is_refused_keeps_no_other_from_being_published() {
    let (_fixture, plane) = Fixture::idle(3).await;
    let id = create(&plane, &migrate(0, 191, 2)).await;
    plane.publish(super::range(70, 70), 3).await;
    let hands = Pretend::default();
    drive(&Worker::new(Arc::clone(&plane.control.operations), hands.hands()), id).await;
    let failed = view(&plane, id).await;
    assert_eq!((failed.state, failed.progress.steps_done), (OperationState::Failed, 2), "{:?}", failed.last_error);
    assert_eq!(published(&plane).await, [0, 128]);
}

#[tokio::test]
async fn no_more_steps_are_begun_than_an_abort_takes_back() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = create(&plane, &migrate(0, 0x3ff, 2)).await;
    let hands = Pretend::default();
    hands.hang_after_work();
    hands.exempt((1..16).map(|step| step * 64));
    let worker = Worker::new(Arc::clone(&plane.control.operations), hands.hands());
    tokio::select! {
        () = drive(&worker, id) => panic!("the first step never ends"),
        () = until_done(&plane, id, 7) => {}
    }
    assert_eq!((hands.done().len(), published(&plane).await.len()), (8, 7));
    hands.work_at_once();
    operations::abort(&plane.control.operations, id, &AbortOperation { force: false, because: because() })
        .await
        .expect("aborting");
    drive(&worker, id).await;
    let aborted = view(&plane, id).await;
    assert_eq!((aborted.state, aborted.progress.steps_done), (OperationState::Aborted, 7), "what was done stays");
    assert_eq!(hands.done().last().map(String::as_str), Some("return buckets 0000..003f"));
    assert_eq!(hands.done().len(), 9, "{:?}", hands.done());
}

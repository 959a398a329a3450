//! Buckets that stayed closed when nothing moves them any more: found, and settled, but for those
//! of an operation.

use control_api::StartOperation;
use mover::{Buckets, Group, Settled};
use store::{HomeKey, HomeState, Homes};
use topology::Bucket;

use super::fixture::{Fixture, Plane, because, cell_id};
use super::moves::{buckets, start};
use crate::operations::leftovers::Leftovers;

/// The group that the buckets are in comes first.
const ONE: usize = 1;

/// The first cell closes two buckets for the second one, and the mover is never heard of again.
async fn leave_closed(plane: &Plane, first: u16) {
    let side = plane.control.fleet.side(&cell_id(1)).await.expect("registered");
    let group = Group { first: Bucket(first), last: Bucket(first + 1) };
    let source = Buckets { cell: &side.cell, store: &side.store, group };
    let seen = source.read().await.expect("answers");
    source.close(&cell_id(2), &seen).await.expect("it serves them");
}

async fn state(plane: &Plane, bucket: u16) -> Option<HomeState> {
    let side = plane.control.fleet.side(&cell_id(1)).await.expect("registered");
    side.store.home(HomeKey::Bucket(Bucket(bucket))).await.expect("answers").map(|row| row.state)
}

#[tokio::test]
async fn a_bucket_left_closed_is_opened_again() {
    let (_fixture, plane) = Fixture::idle(2).await;
    leave_closed(&plane, 8).await;
    let mut leftovers = Leftovers::default();
    assert_eq!(
        leftovers.look(&plane.control.operations, ONE).await.expect("answers"),
        Settled::default(),
        "once is not enough"
    );
    let settled = leftovers.look(&plane.control.operations, ONE).await.expect("answers");
    assert_eq!(settled, Settled { handed_over: 0, reopened: 2 });
    assert_eq!(state(&plane, 9).await, Some(HomeState::Serving));
    assert_eq!(leftovers.look(&plane.control.operations, ONE).await.expect("answers"), Settled::default());
}

#[tokio::test]
async fn a_bucket_of_an_operation_stays_closed() {
    let (_fixture, plane) = Fixture::idle(2).await;
    leave_closed(&plane, 8).await;
    start(&plane, &StartOperation::new(buckets(8, 8, 2), because())).await;
    let mut leftovers = Leftovers::default();
    leftovers.look(&plane.control.operations, ONE).await.expect("answers");
    let settled = leftovers.look(&plane.control.operations, ONE).await.expect("answers");
    assert_eq!(settled, Settled { handed_over: 0, reopened: 1 });
    assert_eq!(state(&plane, 8).await, Some(HomeState::Closing { to: cell_id(2) }));
}

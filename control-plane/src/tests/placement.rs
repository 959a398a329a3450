//! Versions: which process writes one, and when the others learn of it.

use std::time::{Duration, Instant};

use topology::placement::Pin;
use topology::{CellIndex, Placement, PlacementUpdate, WalletId};
use uuid::Uuid;

use super::fixture::{Fixture, PATIENCE, Plane, because};
use crate::placement::log::SNAPSHOT_EVERY;
use crate::placement::placements::{Delta, Placements};

fn wallet(number: u128) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(number))
}

async fn pin(placements: &Placements, number: u128) {
    let pins = || vec![Pin { wallet: wallet(number), cell: Some(CellIndex(0)) }];
    let decide = |_: &Placement| Ok(Some(Delta { pins: pins(), ..Delta::default() }));
    placements.change("test", &because(), decide).await.expect("published");
}

async fn poll(plane: &Plane, since: u64, wait: &str) -> (u16, Option<PlacementUpdate>) {
    let url = format!("{}/v1/placement?since={since}&wait={wait}", plane.url);
    let response = reqwest::Client::new().get(url).timeout(PATIENCE).send().await.expect("answers");
    (response.status().as_u16(), response.json().await.ok())
}

#[tokio::test]
async fn every_version_has_one_winner_and_no_change_is_lost() {
    const EACH: u128 = 20;
    let (fixture, one) = Fixture::bootstrapped(2).await;
    let other = fixture.plane().await;
    let write = async |plane: &Plane, first: u128| {
        for number in first..first + EACH {
            pin(&plane.control.fleet.placements, number).await;
        }
    };
    tokio::join!(write(&one, 0), write(&other, 1_000));
    let now = other.control.fleet.placements.refresh().await.expect("answers").expect("published");
    assert_eq!(u128::from(now.placement.version()), 1 + 2 * EACH);
    assert_eq!(now.placement.pins().len() as u128, 2 * EACH);
    let history = one.control.fleet.placements.history(500).await.expect("answers");
    let versions: Vec<u64> = history.iter().map(|row| row.change.version).collect();
    assert_eq!(versions, (1..=now.placement.version()).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_waiting_router_learns_of_a_change_at_once_whoever_made_it() {
    let (fixture, one) = Fixture::bootstrapped(2).await;
    let other = fixture.plane().await;
    assert_eq!(poll(&one, 0, "0").await.1.expect("whole").version, 1);
    for (number, maker) in [(1, &one), (2, &other), (3, &other)] {
        let since = u64::try_from(number).expect("small");
        let waiting = async {
            let (status, update) = poll(&one, since, "20s").await;
            assert_eq!(status, 200);
            (Instant::now(), update.expect("an update"))
        };
        let making = async {
            while one.control.fleet.placements.waiting_readers() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            pin(&maker.control.fleet.placements, number).await;
            Instant::now()
        };
        let ((learned, update), made) = tokio::join!(waiting, making);
        let late = learned.saturating_duration_since(made);
        assert!(late < Duration::from_millis(250), "change {number} was learned {late:?} late");
        assert_eq!((update.base, update.version), (Some(since), since + 1));
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_told_that_nothing_changed() {
    let (_fixture, plane) = Fixture::bootstrapped(1).await;
    assert_eq!(poll(&plane, 1, "0").await.0, 304);
    assert_eq!(poll(&plane, 1, "1").await.0, 304);
    assert_eq!(poll(&plane, 1, "soon").await.0, 400);
    plane.control.fleet.placements.release_readers();
    let began = Instant::now();
    assert_eq!(poll(&plane, 1, "20").await.0, 304);
    assert!(began.elapsed() < Duration::from_secs(5), "a process that stops lets its readers go");
}

#[tokio::test]
async fn before_the_first_placement_there_is_none() {
    let fixture = Fixture::new(1).await;
    let plane = fixture.plane().await;
    assert_eq!(poll(&plane, 0, "0").await.0, 404);
}

#[tokio::test]
async fn deltas_add_up_and_a_restart_reads_the_same_from_the_snapshot() {
    let (fixture, plane) = Fixture::bootstrapped(2).await;
    let first = poll(&plane, 0, "0").await.1.expect("whole");
    let mut follower = Placement::from_full(&first).expect("sound");
    for number in 0..u128::from(SNAPSHOT_EVERY) + 6 {
        pin(&plane.control.fleet.placements, number).await;
        if number % 5 == 0 {
            let update = poll(&plane, follower.version(), "0").await.1.expect("newer");
            assert_eq!(update.base, Some(follower.version()));
            follower = follower.updated(&update).expect("sound");
        }
    }
    let whole = poll(&plane, 1, "0").await.1.expect("newer");
    assert_eq!(whole.base, None, "too far behind for deltas");
    let update = poll(&plane, follower.version(), "0").await.1.expect("newer");
    let followed = follower.updated(&update).expect("sound");
    assert_eq!(followed, Placement::from_full(&whole).expect("sound"));

    let restarted = fixture.plane().await;
    let read = restarted.control.fleet.placements.refresh().await.expect("answers").expect("published");
    assert_eq!(read.placement, followed);
}

//! The first placement may be attempted any number of times; it comes about once.

use control_api::AddCell;
use topology::Bucket;

use super::fixture::{Fixture, because, cell_id, code};
use crate::lifecycle::bootstrap::bootstrap;

async fn set_faults(endpoint: &str, plan: &str) {
    let put = reqwest::Client::new().put(format!("{endpoint}/_faults")).body(plan.to_owned()).send().await;
    assert!(put.expect("answers").status().is_success());
}

#[tokio::test]
async fn two_bootstraps_at_once_publish_one_placement() {
    let fixture = Fixture::new(3).await;
    let (one, other) = (fixture.plane().await, fixture.plane().await);
    let wanted = fixture.request();
    let (first, second) =
        tokio::join!(bootstrap(&one.control.fleet, &wanted), bootstrap(&other.control.fleet, &wanted));
    let (first, second) = (first.expect("done"), second.expect("done"));
    assert_eq!((first.version, second.version), (1, 1));
    assert!(first.created != second.created, "one of them published it");

    let mut owners = vec![0_u8; Bucket::all().count() / 8];
    for (cell, stand_in) in fixture.cells.iter().zip(&fixture.stand_ins) {
        for (sum, &bits) in owners.iter_mut().zip(stand_in.genesis().await.0.iter()) {
            assert_eq!(*sum & bits, 0, "{} shares a bucket", cell.id);
            *sum |= bits;
        }
    }
    assert!(owners.iter().all(|&bits| bits == 0xff), "some bucket may be created nowhere");
}

#[tokio::test]
async fn a_bootstrap_that_failed_half_way_is_finished_by_the_next() {
    let fixture = Fixture::new(3).await;
    let plane = fixture.plane().await;
    for broken in &fixture.cells {
        let endpoint = broken.dynamodb.endpoint.as_deref().expect("given");
        set_faults(endpoint, r#"{"unavailable":true}"#).await;
        assert!(bootstrap(&plane.control.fleet, &fixture.request()).await.is_err());
        assert!(plane.control.fleet.placements.refresh().await.expect("answers").is_none(), "nothing was published");
        set_faults(endpoint, "{}").await;
    }
    // An answer that is lost after the commit is read back, not guessed.
    set_faults(&fixture.database, r#"{"lost_answer_percent":50,"operations":["PutItem"],"seed":3}"#).await;
    let done = bootstrap(&plane.control.fleet, &fixture.request()).await.expect("finished");
    assert!(done.created && done.version == 1);
    let again = bootstrap(&plane.control.fleet, &fixture.request()).await.expect("harmless");
    assert!(!again.created && again.version == 1);
}

#[tokio::test]
async fn a_bootstrap_with_other_weights_stops_at_existing_tables() {
    let fixture = Fixture::new(2).await;
    let plane = fixture.plane().await;
    let last = fixture.cells[1].dynamodb.endpoint.as_deref().expect("given");
    set_faults(last, r#"{"unavailable":true}"#).await;
    assert!(bootstrap(&plane.control.fleet, &fixture.request()).await.is_err());
    set_faults(last, "{}").await;
    let mut other = fixture.request();
    other.cells[0].weight = 5;
    assert_eq!(code(bootstrap(&plane.control.fleet, &other).await), "genesis_differs");
}

#[tokio::test]
async fn a_cell_that_comes_later_owns_nothing_and_is_added_once() {
    let (mut fixture, plane) = Fixture::bootstrapped(2).await;
    let late = fixture.start_cell().await;
    let reported = bootstrap(&plane.control.fleet, &fixture.request()).await.expect("harmless");
    assert_eq!(reported.not_registered, [cell_id(3)]);

    let wanted = AddCell { cell: late.clone(), because: because() };
    for _ in 0..2 {
        let added = crate::lifecycle::registration::add(&plane.control.fleet, &wanted).await.expect("added");
        assert_eq!((added.index, added.buckets), (2, 0));
    }
    assert_eq!(plane.control.fleet.placements.known().expect("published").placement.version(), 2, "once");
    assert!(fixture.stand_ins[2].genesis().await.0.iter().all(|&bits| bits == 0));
    let elsewhere = AddCell { cell: control_api::CellSpec { instances: vec![], ..late }, because: because() };
    assert_eq!(code(crate::lifecycle::registration::add(&plane.control.fleet, &elsewhere).await), "cell_exists");
}

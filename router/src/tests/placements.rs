//! How placements are learnt, refused, kept, and found again.

use topology::placement::BucketRun;
use topology::{CellIndex, PlacementUpdate};

use super::fixture::{Cell, ControlPlane, LOW, Rig, eventually, fresh_dir, halves, no_listener};
use super::http_client::ask;

fn wallet() -> String {
    format!("/api/v1/wallets/{LOW}")
}

/// From `base` to `version`: the bucket of [`LOW`] goes to the second cell.
fn moves_low(version: u64, base: Option<u64>, cells: [&[std::net::SocketAddr]; 2]) -> PlacementUpdate {
    let buckets = vec![BucketRun { first: 0x1a83, last: 0x1a83, cell: CellIndex(1) }];
    PlacementUpdate { base, buckets, ..halves(version, cells) }
}

#[tokio::test]
async fn not_ready_without_a_placement_and_ready_with_one() {
    let plane = ControlPlane::start(None).await;
    let rig = Rig::start(plane.address, fresh_dir()).await;
    assert_eq!(ask(rig.running.admin, "GET", "/readyz", &[], "").await.status, 503);
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.code(), "no_placement");
    let low = Cell::start("low").await;
    plane.publish.send_replace(Some(halves(1, [&[low.address], &[low.address]])));
    rig.until_version(1).await;
    assert_eq!(ask(rig.running.admin, "GET", "/readyz", &[], "").await.status, 200);
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "low");
    let metrics = ask(rig.running.admin, "GET", "/metrics", &[], "").await;
    assert!(metrics.status == 200 && metrics.head.contains("200"));
}

#[tokio::test]
async fn a_delta_on_another_base_is_replaced_by_the_whole() {
    let (low, high) = (Cell::start("low").await, Cell::start("high").await);
    let cells: [&[std::net::SocketAddr]; 2] = [&[low.address], &[high.address]];
    let (rig, plane) = Rig::with(halves(1, cells)).await;
    plane.publish.send_replace(Some(moves_low(2, Some(1), cells)));
    rig.until_version(2).await;
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "high");
    plane.publish.send_replace(Some(moves_low(9, Some(7), cells)));
    eventually(async || plane.asked().iter().filter(|line| line.contains("since=0")).count() > 1).await;
    assert_eq!(rig.placement().await["version"], 2, "the old one stays");
}

#[tokio::test]
async fn older_empty_and_unmeant_placements_are_refused() {
    let (low, high) = (Cell::start("low").await, Cell::start("high").await);
    let cells: [&[std::net::SocketAddr]; 2] = [&[low.address], &[high.address]];
    let older = halves(3, cells);
    let empty = PlacementUpdate { buckets: vec![], ..halves(6, cells) };
    let all = vec![BucketRun { first: 0, last: 0xffff, cell: CellIndex(1) }];
    let unmeant = PlacementUpdate { buckets: all.clone(), ..halves(7, cells) };
    for bad in [older, empty, unmeant] {
        let (rig, plane) = Rig::with(halves(5, cells)).await;
        plane.publish.send_replace(Some(bad));
        let refused = async || {
            let metrics = ask(rig.running.admin, "GET", "/metrics", &[], "").await.body;
            metrics.lines().any(|line| line.starts_with("router_placement_refused_total ") && !line.ends_with(" 0"))
        };
        eventually(refused).await;
        assert_eq!(rig.placement().await["version"], 5);
        assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "low");
    }
    let (rig, plane) = Rig::with(halves(5, cells)).await;
    plane.publish.send_replace(Some(PlacementUpdate { buckets: all, intended: true, ..halves(7, cells) }));
    rig.until_version(7).await;
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "high", "meant");
}

#[tokio::test]
async fn a_restarted_router_serves_without_the_control_plane() {
    let (low, high) = (Cell::start("low").await, Cell::start("high").await);
    let cells: [&[std::net::SocketAddr]; 2] = [&[low.address], &[high.address]];
    let (rig, plane) = Rig::with(halves(1, cells)).await;
    plane.publish.send_replace(Some(moves_low(2, Some(1), cells)));
    rig.until_version(2).await;
    let data_dir = rig.data_dir.clone();
    plane.stop();
    rig.running.stop().await.expect("it stops in time");

    let rig = Rig::start(no_listener().await, data_dir).await;
    assert_eq!(rig.placement().await["source"], "stored");
    assert_eq!(rig.placement().await["version"], 2);
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "high", "snapshot and delta");
}

#[tokio::test]
async fn a_new_router_takes_the_placement_of_another_while_no_control_plane_answers() {
    let (low, high) = (Cell::start("low").await, Cell::start("high").await);
    let cells: [&[std::net::SocketAddr]; 2] = [&[low.address], &[high.address]];
    let (rig, plane) = Rig::with(halves(1, cells)).await;
    plane.publish.send_replace(Some(moves_low(2, Some(1), cells)));
    rig.until_version(2).await;
    plane.stop();
    // One that refuses connections, and one that takes them and says nothing.
    let silent = ControlPlane::start(None).await;
    for away in [no_listener().await, silent.address] {
        let new = Rig::beside(away, rig.running.admin).await;
        new.until_version(2).await;
        assert_eq!(new.placement().await["source"], "peer");
        assert_eq!(ask(new.running.admin, "GET", "/readyz", &[], "").await.status, 200);
        assert_eq!(ask(new.running.public, "GET", &wallet(), &[], "").await.body, "high");
        // It is stored, and followed by what the control plane publishes.
        let data_dir = new.data_dir.clone();
        new.running.stop().await.expect("it stops in time");
        let plane = ControlPlane::start(None).await;
        let again = Rig::start(plane.address, data_dir).await;
        assert_eq!(again.placement().await["source"], "stored");
        plane.publish.send_replace(Some(halves(3, cells)));
        again.until_version(3).await;
        assert_eq!(again.placement().await["source"], "control_plane");
    }
}

#[tokio::test]
async fn a_router_asks_the_control_plane_that_answers() {
    let (low, high) = (Cell::start("low").await, Cell::start("high").await);
    let cells: [&[std::net::SocketAddr]; 2] = [&[low.address], &[high.address]];
    let home = ControlPlane::start(Some(halves(1, cells))).await;
    let second = ControlPlane::start(Some(halves(2, cells))).await;
    let rig = Rig::between([home.address, second.address]).await;
    rig.until_version(1).await;
    // The first one is asked for as long as it answers.
    home.publish.send_replace(Some(moves_low(2, Some(1), cells)));
    rig.until_version(2).await;
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "high");
    home.stop();
    second.publish.send_replace(Some(PlacementUpdate { intended: true, ..halves(3, cells) }));
    rig.until_version(3).await;
    assert_eq!(ask(rig.running.public, "GET", &wallet(), &[], "").await.body, "low");
}

#[tokio::test]
async fn routers_without_a_placement_wait_for_the_control_plane() {
    let plane = ControlPlane::start(None).await;
    let first = Rig::start(plane.address, fresh_dir()).await;
    let second = Rig::beside(plane.address, first.running.admin).await;
    assert_eq!(ask(first.running.admin, "GET", "/v1/placement/in-use", &[], "").await.status, 204);
    assert_eq!(ask(second.running.admin, "GET", "/readyz", &[], "").await.status, 503);
    let low = Cell::start("low").await;
    plane.publish.send_replace(Some(halves(1, [&[low.address], &[low.address]])));
    second.until_version(1).await;
    assert_eq!(ask(second.running.public, "GET", &wallet(), &[], "").await.body, "low");
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_begun_anew() {
    let low = Cell::start("low").await;
    let update = halves(1, [&[low.address], &[low.address]]);
    let (rig, _plane) = Rig::with(update.clone()).await;
    let data_dir = rig.data_dir.clone();
    rig.running.stop().await.expect("it stops in time");
    let store = data_dir.join("placement.sled");
    for file in ["conf", "db"] {
        std::fs::write(store.join(file), "not what it was").expect("writable");
    }
    let plane = ControlPlane::start(Some(update)).await;
    let rig = Rig::start(plane.address, data_dir.clone()).await;
    rig.until_version(1).await;
    assert!(data_dir.join("placement.damaged-1").exists());
}

#[tokio::test]
async fn a_store_in_use_is_an_error_that_says_so() {
    let dir = fresh_dir();
    let (_store, none) = crate::placement::store::Store::open(&dir).expect("fresh");
    assert!(none.is_none());
    let error = crate::placement::store::Store::open(&dir).err().expect("in use");
    assert!(error.to_string().contains("in use by another router"), "{error:#}");
}

#[tokio::test]
async fn a_stopping_router_finishes_what_is_in_flight() {
    let (rig, low, _) = Rig::with_two_cells().await;
    low.will(super::fixture::Deed::Hang);
    let (public, admin) = (rig.running.public, rig.running.admin);
    let path = wallet();
    let in_flight = tokio::spawn(async move { ask(public, "GET", &path, &[("x-deadline-ms", "1500")], "").await });
    eventually(async || low.seen().len() == 1).await;
    let stopping = tokio::spawn(rig.running.stop());
    eventually(async || ask(admin, "GET", "/readyz", &[], "").await.status == 503).await;
    assert_eq!(in_flight.await.expect("answered").code(), "deadline_exceeded");
    stopping.await.expect("joined").expect("in time");
    assert!(tokio::net::TcpStream::connect(public).await.is_err(), "it listens no more");
}

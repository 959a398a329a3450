//! A user gets one wallet, in one cell, however often and wherever the steps are broken off.

use control_api::{AddCell, Onboard, RemoveCell};
use store::{HomeChange, HomeKey, HomeRow, HomeState, Homes};
use topology::placement::CellState;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use super::fixture::{Fixture, Plane, because, cell_id, code, user_of};
use crate::customers::onboarding::{onboard, pin};
use crate::placement::placements::Delta;
use restoration::creation_rights::{Denied, deny, grant};

fn request(user: &UserId, cell: Option<CellId>) -> Onboard {
    Onboard { user_id: user.to_string(), cell, region: None, because: because() }
}

/// Does the first `steps` steps of bringing a customer of cell 1 to cell 2.
async fn half_done(fixture: &Fixture, plane: &Plane, user: &UserId, wallet: WalletId, steps: usize) {
    let now = plane.control.fleet.placements.known().expect("published");
    let target = now.placement.cell_named(&cell_id(2)).expect("listed");
    if steps >= 1 {
        let home = plane.control.fleet.store(&fixture.cells[0].dynamodb).await;
        assert_eq!(deny(&home, wallet, &cell_id(2)).await.expect("answers"), Denied::Yes);
    }
    if steps >= 2 {
        let target = plane.control.fleet.store(&fixture.cells[1].dynamodb).await;
        assert!(grant(&target, wallet).await.expect("answers"));
    }
    if steps >= 3 {
        plane.control.fleet.instances.create_wallet(target, user, wallet, Uuid::from_u128(1)).await.expect("created");
    }
    if steps >= 4 {
        pin(&plane.control.fleet, wallet, target, &because()).await.expect("pinned");
    }
}

#[tokio::test]
async fn an_onboarding_broken_off_at_any_step_is_finished_later() {
    for steps in 0..=4 {
        let (fixture, plane) = Fixture::bootstrapped(3).await;
        let (user, wallet) = user_of(&plane, &cell_id(1));
        half_done(&fixture, &plane, &user, wallet, steps).await;
        let finished = onboard(&plane.control.fleet, &request(&user, Some(cell_id(2)))).await;
        if steps == 4 {
            assert_eq!(code(finished), "wallet_exists", "all was done");
        } else {
            let place = finished.unwrap_or_else(|error| panic!("after {steps} steps: {error}")).place;
            assert_eq!((place.cell, place.pinned), (cell_id(2), true));
        }
        assert_eq!(fixture.chains_of(wallet).await, [cell_id(2)], "after {steps} steps");
        let now = plane.control.fleet.placements.known().expect("published");
        assert_eq!(now.placement.version(), 2, "pinned once");
    }
}

#[tokio::test]
async fn two_onboardings_to_different_cells_make_one_wallet() {
    let (fixture, plane) = Fixture::bootstrapped(3).await;
    let other = fixture.plane().await;
    let (user, wallet) = user_of(&plane, &cell_id(1));
    let (to_two, to_three) = (request(&user, Some(cell_id(2))), request(&user, Some(cell_id(3))));
    let (two, three) = tokio::join!(onboard(&plane.control.fleet, &to_two), onboard(&other.control.fleet, &to_three));
    assert!(two.is_ok() != three.is_ok(), "{:?} {:?}", code(two), code(three));
    assert_eq!(fixture.chains_of(wallet).await.len(), 1);
}

#[tokio::test]
async fn a_promise_to_one_cell_is_kept() {
    let (fixture, plane) = Fixture::bootstrapped(3).await;
    let (user, wallet) = user_of(&plane, &cell_id(1));
    half_done(&fixture, &plane, &user, wallet, 1).await;
    assert_eq!(code(onboard(&plane.control.fleet, &request(&user, Some(cell_id(3)))).await), "onboarding_begun");
    let place = onboard(&plane.control.fleet, &request(&user, None)).await.expect("goes where it was promised").place;
    assert_eq!(place.cell, cell_id(2));
}

#[tokio::test]
async fn a_customer_gets_no_second_wallet_if_its_cell_is_silent() {
    let (fixture, plane) = Fixture::bootstrapped(2).await;
    let (user, wallet) = user_of(&plane, &cell_id(1));
    let place = onboard(&plane.control.fleet, &request(&user, None)).await.expect("created").place;
    assert_eq!((place.cell, place.pinned), (cell_id(1), false));
    assert_eq!(code(onboard(&plane.control.fleet, &request(&user, None)).await), "wallet_exists");
    assert_eq!(code(onboard(&plane.control.fleet, &request(&user, Some(cell_id(2)))).await), "wallet_exists");

    let nowhere = control_api::SetAddresses {
        instances: vec![],
        dynamodb: fixture.cells[0].dynamodb.clone(),
        because: because(),
    };
    crate::lifecycle::registration::set_addresses(&plane.control.fleet, &cell_id(1), &nowhere).await.expect("set");
    assert_eq!(code(onboard(&plane.control.fleet, &request(&user, Some(cell_id(2)))).await), "wallet_exists");
    assert_eq!(fixture.chains_of(wallet).await, [cell_id(1)]);
}

#[tokio::test]
async fn a_full_or_draining_cell_passes_new_customers_on() {
    let (fixture, plane) = Fixture::bootstrapped(3).await;
    let control = &plane.control;
    crate::cells::counting::count_all(&control.fleet).await.expect("counted");
    assert_eq!(control.fleet.counts.of(&cell_id(1)), Some(0));
    control.fleet.counts.set(&cell_id(1), 10);
    control.fleet.counts.set(&cell_id(2), 7);
    let (user, wallet) = user_of(&plane, &cell_id(1));
    let place = onboard(&control.fleet, &request(&user, None)).await.expect("created").place;
    assert_eq!((place.cell, place.pinned), (cell_id(3), true));
    assert_eq!(fixture.chains_of(wallet).await, [cell_id(3)]);
    assert_eq!(control.fleet.counts.of(&cell_id(3)), Some(1), "counted at once");

    let draining = |placement: &topology::Placement| {
        let mut cells = placement.cells().to_vec();
        cells[2].state = CellState::Draining;
        Ok(Some(Delta { cells: Some(cells), ..Delta::default() }))
    };
    control.fleet.placements.change("test", &because(), draining).await.expect("published");
    let (user, _) = user_of(&plane, &cell_id(3));
    assert_eq!(code(onboard(&control.fleet, &request(&user, Some(cell_id(3)))).await), "cell_not_accepting");
    assert_eq!(onboard(&control.fleet, &request(&user, None)).await.expect("created").place.cell, cell_id(2));
}

#[tokio::test]
async fn the_api_says_where_a_user_or_wallet_is_and_what_is_wrong() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let (user, wallet) = user_of(&plane, &cell_id(2));
    let ask = async |id: &str| reqwest::get(format!("{}/v1/where/{id}", plane.url)).await.expect("answers");
    for id in [user.to_string(), format!("{user}?as=user"), format!("{wallet}?as=wallet")] {
        let found: control_api::Where = ask(&id).await.json().await.expect("JSON");
        assert_eq!((found.wallet_id, found.cell), (wallet, cell_id(2)), "{id}");
    }
    // A user id may look like a wallet id: what there is of the two is meant.
    let code = async |id: &str| ask(id).await.json::<topology::Problem>().await.expect("a problem").code;
    assert_eq!(code(&wallet.to_string()).await, "unknown_wallet");
    let twin = UserId::parse(wallet.to_string()).expect("sound");
    onboard(&plane.control.fleet, &request(&twin, None)).await.expect("created");
    let found: control_api::Where = ask(twin.as_str()).await.json().await.expect("JSON");
    assert_eq!(found.user_id.as_deref(), Some(twin.as_str()));
    onboard(&plane.control.fleet, &request(&user, None)).await.expect("created");
    assert_eq!(code(twin.as_str()).await, "ambiguous_id");
    assert_eq!(code(&format!("{user}?as=wallet")).await, "bad_id");
    let post = |body: &str| {
        let post = reqwest::Client::new().post(format!("{}/v1/customers", plane.url));
        post.header("content-type", "application/json").body(body.to_owned()).send()
    };
    let unknown = post(r#"{"userId":"x","cell":"cell-9","actor":"a","reason":"r"}"#).await.expect("answers");
    assert_eq!(unknown.headers()["content-type"], "application/problem+json");
    let problem: topology::Problem = unknown.json().await.expect("a problem");
    assert_eq!((problem.status, problem.code.as_str()), (404, "unknown_cell"));
    assert_eq!(post("{}").await.expect("answers").status(), 400);
    let status: control_api::Status =
        reqwest::get(format!("{}/v1/status", plane.url)).await.expect("answers").json().await.expect("JSON");
    assert!(status.cells.iter().all(|cell| cell.health.iter().all(|instance| instance.ready)));
}

/// The row of the wallet's bucket in cell 1, whatever there was.
async fn close_bucket(plane: &Plane, wallet: WalletId, to: usize) -> HomeRow {
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    let key = HomeKey::Bucket(wallet.bucket());
    let expected = store.home(key).await.expect("answers");
    let row = HomeRow { state: HomeState::Closing { to: cell_id(to) }, epoch: 1 };
    let change = HomeChange { key, expected, row: row.clone(), unless_chain: false, while_served: None };
    assert_eq!(store.change_homes(&[change]).await, Ok(true));
    row
}

#[tokio::test]
async fn no_promise_is_made_while_the_bucket_moves() {
    let (fixture, plane) = Fixture::bootstrapped(3).await;
    let (user, wallet) = user_of(&plane, &cell_id(1));
    // The mover has listed the wallets of the bucket for the last time: it would not see a denial any more.
    close_bucket(&plane, wallet, 2).await;
    assert_eq!(code(onboard(&plane.control.fleet, &request(&user, Some(cell_id(3)))).await), "bucket_moving");
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    assert_eq!(store.home(HomeKey::Wallet(wallet)).await, Ok(None), "no denial came too late");
    assert_eq!(fixture.chains_of(wallet).await, vec![]);
}

#[tokio::test]
async fn what_was_promised_to_a_removed_cell_is_free_again() {
    let (mut fixture, plane) = Fixture::bootstrapped(2).await;
    let late = fixture.start_cell().await;
    crate::lifecycle::registration::add(&plane.control.fleet, &AddCell { cell: late, because: because() })
        .await
        .expect("added");
    let (user, wallet) = user_of(&plane, &cell_id(1));
    let store = plane.control.fleet.side(&cell_id(1)).await.expect("registered").store;
    assert_eq!(deny(&store, wallet, &cell_id(3)).await, Ok(Denied::Yes));
    // A move to it was given up when it did not answer.
    let closed = close_bucket(&plane, wallet, 3).await;
    let remove = RemoveCell { force: true, because: because() };
    crate::lifecycle::life::remove(&plane.control.operations, &cell_id(3), &remove).await.expect("removed");
    let bucket = store.home(HomeKey::Bucket(wallet.bucket())).await.expect("answers").expect("a row");
    assert_eq!((bucket.state, bucket.epoch), (HomeState::Serving, closed.epoch + 2));
    let place = onboard(&plane.control.fleet, &request(&user, None)).await.expect("somewhere").place;
    assert_eq!(fixture.chains_of(wallet).await, [place.cell]);
}

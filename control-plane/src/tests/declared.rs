//! What cells declare is changed by operators, side by side, and by the rules of `cells.toml`.

use control_api::capacity::SetCapacity;
use control_api::{Because, Difference, RemoveCell};
use serde_json::{Value, json};

use super::fixture::{Fixture, Plane, because, cell_id, code};
use crate::lifecycle::{declared, life, registration};

fn nothing() -> SetCapacity {
    SetCapacity { weight: None, max_tps: None, max_customers: None, because: because() }
}

async fn put(plane: &Plane, path: &str, body: Value) -> (u16, Value) {
    let put = reqwest::Client::new().put(format!("{}/v1/cells/{path}", plane.url)).json(&body).send();
    let answer = put.await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_cell_declares_what_an_operator_sets_and_the_audit_says_so() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let set = json!({ "maxTps": 500, "weight": 3, "actor": "ann", "reason": "a load test" });
    let (status, cell) = put(&plane, "cell-1/capacity", set.clone()).await;
    assert_eq!(
        (status, &cell["maxTps"], &cell["weight"], &cell["maxCustomers"]),
        (200, &500.into(), &3.into(), &10.into())
    );
    let fleet = &plane.control.fleet;
    let record = fleet.registry.get(&cell_id(1)).await.expect("answers").expect("registered").spec;
    assert_eq!((record.weight, record.max_tps), (3, 500), "the registry and the placement agree");
    let (_, again) = put(&plane, "cell-1/capacity", set).await;
    assert_eq!(again["weight"], 3, "it may be repeated");
    let (_, _) = put(&plane, "cell-1/capacity", json!({ "maxCustomers": 20, "actor": "bob", "reason": "disks" })).await;
    let said = fleet.placements.history(10).await.expect("answers").into_iter().map(|row| row.change);
    let said: Vec<_> = said.map(|change| (change.kind, change.actor, change.reason, change.buckets)).collect();
    let expected = [
        ("cell_capacity", "bob", "cell-1 max_customers 10 to 20: disks"),
        ("cell_capacity", "ann", "cell-1 weight 1 to 3, max_tps 1000 to 500: a load test"),
    ];
    for (said, (kind, actor, reason)) in said.iter().zip(expected) {
        assert_eq!((said.0.as_str(), said.1.as_str(), said.2.as_str(), said.3), (kind, actor, reason, 0));
    }
    assert_eq!(said.len(), 3, "two changes and the first placement: {said:?}");
}

#[tokio::test]
async fn operators_that_set_different_things_at_once_lose_none() {
    let (fixture, one) = Fixture::bootstrapped(2).await;
    let other = fixture.plane().await;
    let (first, second) = (
        SetCapacity { max_tps: Some(7), ..nothing() },
        SetCapacity { weight: Some(9), max_customers: Some(8), ..nothing() },
    );
    let cell = cell_id(1);
    let (first, second) = tokio::join!(
        declared::set(&one.control.fleet, &cell, &first),
        declared::set(&other.control.fleet, &cell, &second)
    );
    first.and(second).expect("both are done");
    let shown = registration::show(&one.control.fleet, &cell).await.expect("registered");
    assert_eq!((shown.weight, shown.max_tps, shown.max_customers), (9, 7, 8));
}

#[tokio::test]
async fn what_cells_toml_may_not_say_is_refused() {
    let (_fixture, plane) = Fixture::bootstrapped(2).await;
    let fleet = &plane.control.fleet;
    let set = async |cell: usize, wanted: SetCapacity| code(declared::set(fleet, &cell_id(cell), &wanted).await);
    assert_eq!(set(1, nothing()).await, "bad_body");
    assert_eq!(set(9, SetCapacity { weight: Some(1), ..nothing() }).await, "unknown_cell");
    assert_eq!(set(1, SetCapacity { max_customers: Some(1 << 53), ..nothing() }).await, "bad_limit");
    let nameless = Because { actor: String::new(), ..because() };
    assert_eq!(set(1, SetCapacity { weight: Some(2), because: nameless, ..nothing() }).await, "bad_because");
    assert_eq!(set(1, SetCapacity { weight: Some(0), ..nothing() }).await, "done");
    assert_eq!(set(2, SetCapacity { weight: Some(0), ..nothing() }).await, "no_weight");
    let (status, problem) = put(&plane, "cell-1/capacity", json!({ "maxTPS": 1, "actor": "a", "reason": "r" })).await;
    assert_eq!((status, &problem["code"]), (400, &"unknown_field".into()));
    let shown = registration::show(fleet, &cell_id(2)).await.expect("registered");
    assert_eq!((shown.weight, shown.max_customers), (1, 10), "nothing of what was refused is done");
}

#[tokio::test]
async fn the_api_says_how_the_file_and_the_registry_differ() {
    let (mut fixture, plane) = Fixture::bootstrapped(2).await;
    let late = fixture.start_cell().await;
    let add = control_api::AddCell { cell: late, because: because() };
    registration::add(&plane.control.fleet, &add).await.expect("added");
    let drift = async || {
        let answer = reqwest::get(format!("{}/v1/drift", plane.url)).await.expect("answers");
        let all: Vec<Difference> = answer.json().await.expect("JSON");
        all.into_iter().map(|one| format!("{} {}", one.cell, one.what)).collect::<Vec<_>>()
    };
    // The fixture registers other limits than its file declares by default.
    let limits = ["cell-1 max_tps", "cell-1 max_customers", "cell-2 max_tps", "cell-2 max_customers"];
    assert_eq!(drift().await, [&limits[..], &["cell-3 cell"]].concat());
    for cell in [1, 2] {
        let as_filed = SetCapacity { max_tps: Some(10_000), max_customers: Some(1_000_000), ..nothing() };
        declared::set(&plane.control.fleet, &cell_id(cell), &as_filed).await.expect("set");
    }
    let remove = RemoveCell { force: false, because: because() };
    life::remove(&plane.control.operations, &cell_id(3), &remove).await.expect("removed");
    assert_eq!(drift().await, Vec::<String>::new());
    let gone = SetCapacity { weight: Some(1), ..nothing() };
    assert_eq!(code(declared::set(&plane.control.fleet, &cell_id(3), &gone).await), "cell_removed");
}

//! Versions of the routers, one router after the other: the first one is the canary, and a bad version gets no further.

use std::os::unix::fs::PermissionsExt;

use load_generator::outcome::Outcome;
use load_generator::running::Running;
use serde_json::{Value, json};

use super::support::{DEPLOY_MAX_S, complaints, customers_at, deploy_of, other_build, program};
use crate::fleet::{Call, Client, Fleet, Shape, client, within};

const MIX: &str = "deposits:35,withdrawals:50,reads:15";
const RATE: u32 = 80;

/// Two routers, and canaries that ask the first of them often.
async fn two_routers() -> Fleet {
    let environment = vec![("CONTROL_PLANE_CANARY_PAUSE_MS".to_owned(), "100".to_owned())];
    let flags = vec!["--canaries", "--routers", "2"];
    Fleet::of(Shape { cells: 2, instances: 1, environment, flags, ..Shape::default() }).await
}

async fn versions(fleet: &Fleet) -> [String; 2] {
    let of = async |admin: String| {
        let page = Client::new(client::http(), admin).send(&Call::get("/metrics")).await.expect(200).text;
        let info = page.lines().find(|line| line.starts_with("router_build_info{")).unwrap_or_default().to_owned();
        info.split('"').nth(1).unwrap_or_default().to_owned()
    };
    [of(fleet.ports.router_admin()).await, of(fleet.ports.second_router_admin()).await]
}

/// Customers of each router; their requests are repeated when it restarts.
async fn customers_of_both(fleet: &Fleet) -> [Running; 2] {
    let first = customers_at(fleet, fleet.ports.router(), RATE, MIX, true).await;
    [first, customers_at(fleet, fleet.ports.second_router(), RATE, MIX, true).await]
}

async fn finish(loads: [Running; 2]) -> [Outcome; 2] {
    let [first, second] = loads;
    [first.finish().await.expect("it was sent"), second.finish().await.expect("it was sent")]
}

/// Requests that failed however often they were repeated.
fn lost(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.operations.iter().filter(|operation| operation.last.is_error());
    failed.map(|operation| format!("{operation:?}")).collect()
}

fn own() -> [&'static str; 2] {
    [env!("CARGO_PKG_VERSION"); 2]
}

fn is_taken_back_from_the_canary(status: &Value) {
    assert_eq!((&status["of"], &status["state"]), (&json!("routers"), &json!("rolled_back")), "{status:#}");
    assert_eq!(status["waves"][0]["cells"], json!(["router"]), "{status:#}");
    assert!(status["waves"][1]["beganAt"].is_null(), "the other router never ran it: {status:#}");
    // Any customer may have come through that router.
    assert_eq!(status["touched"]["customers"], status["touched"]["ofCustomers"], "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_version_reaches_one_router_after_the_other() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let fleet = two_routers().await;
        let loads = customers_of_both(&fleet).await;
        let limits = [
            "--baseline-seconds",
            "5",
            "--bake-seconds",
            "3",
            "--wait-seconds",
            "60",
            "--rise-percent",
            "10",
            "--slower-by-ms",
            "2000",
        ];
        let status = deploy_of("routers", &fleet, "next", &program("router"), &limits).await;
        let outcomes = finish(loads).await;
        assert_eq!((&status["of"], &status["state"]), (&json!("routers"), &json!("done")), "{status:#}");
        assert_eq!(versions(&fleet).await, ["next", "next"]);
        let waves = status["waves"].as_array().expect("waves");
        let parts: Vec<&Value> = waves.iter().map(|wave| &wave["cells"]).collect();
        assert_eq!(parts, [&json!(["router"]), &json!(["router-2"])], "the canary first");
        assert!(waves.iter().all(|wave| wave["verdict"]["says"] == "sound"), "{status:#}");
        assert!(waves[0]["verdict"]["others"]["requests"].as_u64() > Some(0), "the other router meanwhile");
        for (outcome, name) in outcomes.iter().zip(["router", "router-2"]) {
            let (lost, met) = (lost(outcome), complaints(outcome.operations.iter()));
            assert!(lost.is_empty(), "{name}: {:#?}", &lost[..lost.len().min(5)]);
            eprintln!("{name}: {} of {} requests met the restart", met.len(), outcome.operations.len());
        }

        // It stays what it is, also when it dies; and cells and routers are deployed apart.
        fleet.kill("router").await;
        fleet.until_all_ready(&["router"]).await;
        assert_eq!(versions(&fleet).await, ["next", "next"]);
        let cells = fleet.try_ctl(&["deploy", "plan", "--version", "next"]).await.expect_err("exit code 3");
        assert!(cells.contains("cell-1-a"), "{cells}");
        let routers = fleet.ctl(&["deploy", "plan", "--of", "routers", "--version", "next"]).await;
        assert_eq!(routers["waves"], json!([]));
        let back = fleet.ctl(&["deploy", "rollback", "--reason", "complaints"]).await;
        assert_eq!(back["state"], "rolled_back");
        assert_eq!(versions(&fleet).await, own());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_fails_withdrawals_is_taken_back() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let Some(binary) = other_build("bad-versions", "router") else {
            eprintln!("SKIPPED: there is no router that is bad on purpose: scripts/builds/bad-version makes it");
            return;
        };
        let fleet = two_routers().await;
        let loads = customers_of_both(&fleet).await;
        let limits =
            ["--baseline-seconds", "5", "--bake-seconds", "50", "--wait-seconds", "10", "--slower-by-ms", "500"];
        let status = deploy_of("routers", &fleet, "bad", &binary.display().to_string(), &limits).await;
        let [_, second] = finish(loads).await;
        is_taken_back_from_the_canary(&status);
        let why = status["why"].as_str().unwrap_or_default();
        eprintln!("bad: {why}");
        assert!(why.contains("withdraw: ") && why.contains(" failed ("), "{why}");
        assert_eq!(versions(&fleet).await, own(), "as before");
        let complaints = complaints(second.operations.iter());
        assert!(complaints.is_empty(), "customers of the other saw it: {:#?}", &complaints[..complaints.len().min(5)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_again_and_again_is_taken_back() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let fleet = two_routers().await;
        // It is killed three seconds after its start.
        let binary = fleet.data().join("short-lived");
        let script = format!("#!/bin/sh\n(sleep 3; kill -9 $$) &\nexec {} \"$@\"\n", program("router"));
        std::fs::write(&binary, script).expect("written");
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).expect("its owner's");
        let loads = customers_of_both(&fleet).await;
        let limits =
            ["--baseline-seconds", "3", "--bake-seconds", "80", "--wait-seconds", "1", "--slower-by-ms", "5000"];
        let status = deploy_of("routers", &fleet, "short-lived", &binary.display().to_string(), &limits).await;
        let [first, second] = finish(loads).await;
        is_taken_back_from_the_canary(&status);
        let why = status["why"].as_str().unwrap_or_default();
        eprintln!("short-lived: {why}");
        // The results of canary customers may be enough before the second death.
        assert!(why.contains("router died") || why.contains("canary "), "{why}");
        assert_eq!(versions(&fleet).await, own(), "as before");
        assert!(lost(&first).is_empty(), "what was repeated arrived");
        assert!(complaints(second.operations.iter()).is_empty(), "customers of the other saw nothing");
    })
    .await;
}

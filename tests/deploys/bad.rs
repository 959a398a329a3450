//! Bad versions are stopped in the canary's wave and taken back, without an operator; customers of
//! other cells see nothing of them.

use serde_json::Value;

use super::support::{DEPLOY_MAX_S, complaints, customers, deploy, fleet, in_cells, other_build, took, versions};
use crate::fleet::within;

/// Half of all requests are withdrawals: of those, one version fails one in twenty.
const MIX: &str = "deposits:30,withdrawals:50,transfers:5,reads:15";
const RATE: u32 = 150;
const CANARY: &str = "cell-1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_withdrawals_is_taken_back() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let Some(status) = taken_back("withdrawals").await else { return };
        let why = status["why"].as_str().unwrap_or_default();
        assert!(why.contains("/withdraw: ") && why.contains(" failed ("), "{why}");
        assert!(status["touched"]["errors"].as_u64() > Some(0), "{status:#}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_slow_is_taken_back() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let Some(status) = taken_back("latency").await else { return };
        let why = status["why"].as_str().unwrap_or_default();
        assert!(why.contains(" ms in the mean of "), "{why}");
    })
    .await;
}

/// The build with this fault.
async fn taken_back(fault: &str) -> Option<Value> {
    let Some(binary) = other_build("bad-versions", "cell") else {
        eprintln!("SKIPPED: there is no version that is bad on purpose: scripts/builds/bad-version makes it");
        return None;
    };
    let version = &format!("bad-{fault}");
    let fleet = fleet(3, 2, &[("CELL_BAD", fault)]).await;
    let mut load = customers(&fleet, RATE, MIX).await;
    load.mark("deploy");
    let limits = ["--baseline-seconds", "3", "--bake-seconds", "40", "--wait-seconds", "10", "--slower-by-ms", "50"];
    let status = deploy(&fleet, version, &binary.display().to_string(), &limits).await;
    load.mark("after");
    let outcome = load.finish().await.expect("it was sent");
    assert_eq!(status["state"], "rolled_back", "{status:#}");
    assert_eq!(versions(&fleet).await, vec![env!("CARGO_PKG_VERSION"); 6], "as before");
    assert!(status["waves"][1]["beganAt"].is_null(), "no other cell ever ran it: {status:#}");

    let others = complaints(in_cells(&outcome, |cell| cell != CANARY));
    assert!(others.is_empty(), "customers of other cells saw it: {:#?}", &others[..others.len().min(5)]);
    let in_canary =
        outcome.customers.iter().filter(|customer| customer.cell.as_ref().is_some_and(|cell| cell.as_str() == CANARY));
    // The canary itself is one of them.
    let (touched, lives_there) = (status["touched"]["customers"].as_u64(), in_canary.count() as u64 + 1);
    assert_eq!(touched, Some(lives_there), "{status:#}");
    say(version, &status, &outcome);
    Some(status)
}

fn say(version: &str, status: &Value, outcome: &load_generator::outcome::Outcome) {
    let during = |holds: fn(&str) -> bool, percent| took(in_cells(outcome, holds), percent);
    eprintln!(
        "{version}: {}\n  {} of {} customers touched, {} of {} requests failed; {} complaints in {CANARY}; p50 {:.1?} there, \
         {:.1?} elsewhere (p99 {:.1?})",
        status["why"].as_str().unwrap_or_default(),
        status["touched"]["customers"],
        status["touched"]["ofCustomers"],
        status["touched"]["errors"],
        status["touched"]["requests"],
        complaints(in_cells(outcome, |cell| cell == CANARY)).len(),
        during(|cell| cell == CANARY, 50),
        during(|cell| cell != CANARY, 50),
        during(|cell| cell != CANARY, 99),
    );
}

//! A good version goes all the way, and no customer notices.

use super::support::{DEPLOY_MAX_S, complaints, customers, deploy, fleet, in_cells, same_build, took, versions};
use crate::fleet::{Call, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_under_load_loses_no_request() {
    within(DEPLOY_MAX_S + 60, "the test", async {
        let fleet = fleet(2, 2, &[]).await;
        let mut load = customers(&fleet, 80, "deposits:40,withdrawals:20,transfers:20,reads:20").await;
        load.mark("deploy");
        let limits = [
            "--baseline-seconds",
            "5",
            "--bake-seconds",
            "3",
            "--wait-seconds",
            "40",
            "--rise-percent",
            "10",
            "--slower-by-ms",
            "2000",
        ];
        let status = deploy(&fleet, "next", &same_build(), &limits).await;
        load.mark("after");
        let outcome = load.finish().await.expect("it was sent");
        assert_eq!(status["state"], "done", "{status:#}");
        assert_eq!(versions(&fleet).await, ["next"; 4]);
        let metrics = fleet.instance_client(1, 0).send(&Call::get("/metrics")).await.expect(200).text;
        let info = metrics.lines().find(|line| line.starts_with("cell_build_info{")).unwrap_or_default();
        assert!(info.contains("version=\"next\""), "{info}");
        let complaints = complaints(outcome.operations.iter());
        let sent = outcome.in_phase("deploy").count();
        eprintln!(
            "{sent} requests during the deploy, {} failed; p50 {:.1?}, p99 {:.1?}",
            complaints.len(),
            took(outcome.in_phase("deploy"), 50),
            took(outcome.in_phase("deploy"), 99),
        );
        assert!(complaints.is_empty(), "{:#?}", &complaints[..complaints.len().min(5)]);
        assert!(sent > 300 && in_cells(&outcome, |cell| cell == "cell-1").count() > 100, "{sent}");
        let waves = status["waves"].as_array().expect("waves");
        let cells: Vec<&serde_json::Value> = waves.iter().map(|wave| &wave["cells"]).collect();
        assert_eq!(cells, [&serde_json::json!(["cell-1"]), &serde_json::json!(["cell-2"])], "the canary cell first");
        assert!(waves.iter().all(|wave| wave["verdict"]["says"] == "sound"), "{status:#}");

        // Each stays what it is, also when it dies.
        fleet.kill("cell-1-a").await;
        fleet.until_all_ready(&["cell-1-a"]).await;
        assert_eq!(versions(&fleet).await, ["next"; 4]);
        let audit = fleet.ctl(&["audit", "--limit", "40"]).await.to_string();
        for what in ["deploy-1", "observed", "replaced", "pass", "finish"] {
            assert!(audit.contains(what), "{what}: {audit}");
        }
    })
    .await;
}

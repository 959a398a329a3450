//! The control plane is killed at one write after the other: another one goes on, and ends where it would have ended.

use serde_json::json;

use super::support::{DEPLOY_MAX_S, same_build, versions};
use crate::fleet::{Fleet, Shape, setting, until, within};

/// Writes of a deploy after which it is killed: while it observes, replaces the first and the second cell, watches.
const DEATHS: [u64; 4] = [1, 5, 8, 12];
const LIMITS: [&str; 10] = [
    "--baseline-seconds",
    "1",
    "--bake-seconds",
    "1",
    "--wait-seconds",
    "60",
    "--rise-percent",
    "40",
    "--slower-by-ms",
    "5000",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_killed_at_any_write_is_followed_by_the_next() {
    within(DEPLOY_MAX_S * 4, "the test", async {
        let environment = vec![("CONTROL_PLANE_CANARY_PAUSE_MS".to_owned(), "20".to_owned())];
        let fleet =
            Fleet::of(Shape { cells: 2, instances: 1, environment, flags: vec!["--canaries"], ..Shape::default() })
                .await;
        let build = same_build();
        let every = setting("WALLET_EVERY_STEP", 0) == 1;
        let deaths: Vec<u64> = if every { (0..30).collect() } else { DEATHS.to_vec() };
        for (number, after_writes) in deaths.into_iter().enumerate() {
            let version = format!("v{number}");
            let plan = json!({ "hang_after_writes": after_writes, "hang_applied": number % 2 == 0 });
            let start = ["deploy", "start", "--version", &version, "--yes", "--detach", "--reason", "new", "--binary"];
            fleet.ctl(&[&start[..], &[&build], &LIMITS].concat()).await;
            fleet.faults_at(&fleet.ports.control_plane_db(), Some(plan)).await;
            let hung = async || fleet.hung_at(&fleet.ports.control_plane_db()).await > 0;
            let is_done = async || fleet.try_ctl(&["deploy", "status"]).await.is_ok_and(|it| it["state"] == "done");
            until(60, "a write hangs, or the deploy is done", async || hung().await || is_done().await).await;
            if !hung().await {
                // It has fewer writes than this.
                assert!(number > DEATHS.len(), "a deploy has more than {after_writes} writes");
                break;
            }
            fleet.kill_for_good("control-plane").await;
            fleet.faults_at(&fleet.ports.control_plane_db(), None).await;
            fleet.restart("control-plane").await;
            let ended = async || {
                let status = fleet.try_ctl(&["deploy", "status"]).await.unwrap_or_default();
                let (state, of) = (status["state"].as_str().unwrap_or_default(), status["version"] == *version);
                assert!(!["rolled_back", "failed", "undecided"].contains(&state), "{status:#}");
                of && state == "done"
            };
            until(DEPLOY_MAX_S, "the deploy is done", ended).await;
            assert_eq!(versions(&fleet).await, [version.clone(), version], "after {after_writes} writes");
        }
    })
    .await;
}

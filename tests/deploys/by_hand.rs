//! Operators stop, let through and take back; what the figures do not decide waits for one of them.

use serde_json::Value;

use super::support::{same_build, versions};
use crate::fleet::{Fleet, Shape, until, within};

const PATIENCE_S: u64 = 60;
const HASTE: [&str; 8] =
    ["--baseline-seconds", "1", "--bake-seconds", "1", "--wait-seconds", "1", "--rise-percent", "10"];

async fn state(fleet: &Fleet) -> String {
    fleet.ctl(&["deploy", "status"]).await["state"].as_str().unwrap_or_default().to_owned()
}

async fn until_state(fleet: &Fleet, wanted: &str) -> Value {
    until(PATIENCE_S, wanted, async || state(fleet).await == wanted).await;
    fleet.ctl(&["deploy", "status"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_so_an_operator_decides() {
    within(180, "the test", async {
        let fleet = Fleet::of(Shape { cells: 2, instances: 1, ..Shape::default() }).await;
        let own = versions(&fleet).await;
        let build = same_build();

        // A plan changes nothing, and says by its exit code that there is something to do.
        let plan = fleet.try_ctl(&["deploy", "plan", "--version", "v2"]).await.expect_err("exit code 3");
        assert!(plan.starts_with("exit status: 3") && plan.contains("\"cell-1-a\""), "{plan}");
        let same = fleet.ctl(&["deploy", "plan", "--version", &own[0]]).await;
        assert_eq!(same["waves"], serde_json::json!([]));

        let start = ["deploy", "start", "--version", "v2", "--yes", "--detach", "--reason", "new", "--binary", &build];
        fleet.ctl(&[&start[..], &HASTE].concat()).await;
        let second = fleet.try_ctl(&[&start[..], &HASTE].concat()).await.expect_err("one at a time");
        assert!(second.contains("deploy_under_way"), "{second}");

        // Without customers there is no judgment.
        let status = until_state(&fleet, "undecided").await;
        let verdict = &status["waves"][0]["verdict"];
        let why = status["why"].as_str().unwrap_or_default();
        assert!(verdict["says"] == "too_few" && why.contains("needs") && why.contains("has 0"), "{status:#}");
        assert_eq!(versions(&fleet).await, ["v2", own[1].as_str()]);
        let once = ["deploy", "start", "--version", "v2", "--yes", "--once", "--reason", "again"];
        let followed = fleet.try_ctl(&once).await.expect_err("exit code 5");
        assert!(followed.starts_with("exit status: 5") && followed.contains("deploy-1 is undecided"), "{followed}");
        let meant = fleet.try_ctl(&["deploy", "promote", "--detach"]).await.expect_err("why?");
        assert!(meant.contains("reason_needed"), "{meant}");
        fleet.ctl(&["deploy", "promote", "--detach", "--reason", "a night without customers"]).await;

        // The next wave is stopped, and goes on.
        fleet.ctl(&["deploy", "pause", "--reason", "lunch"]).await;
        let paused = fleet.ctl(&["deploy", "status"]).await;
        let state = paused["state"].as_str().unwrap_or_default();
        assert!(["held", "paused"].contains(&state) && paused["why"] == "lunch", "{paused:#}");
        fleet.ctl(&["deploy", "resume", "--detach"]).await;
        until_state(&fleet, "undecided").await;
        let done = fleet.ctl(&["deploy", "promote", "--reason", "still night"]).await;
        assert_eq!(done["state"], "done");
        assert_eq!(versions(&fleet).await, ["v2", "v2"]);
        assert_eq!(fleet.try_ctl(&once).await, Ok(Value::Null), "there is nothing to do");

        // Also what is done is taken back, as long as it is the newest.
        let back = fleet.ctl(&["deploy", "rollback", "--reason", "complaints"]).await;
        assert!(back["state"] == "rolled_back" && back["why"] == "complaints", "{back:#}");
        assert_eq!(versions(&fleet).await, own);
        let refused = fleet.try_ctl(&once).await.expect_err("exit code 1");
        assert!(
            refused.starts_with("exit status: 1") && refused.contains("v2 of cells was rolled back by deploy-1"),
            "{refused}"
        );
        let deploys = fleet.ctl(&["deploy", "list"]).await;
        assert_eq!(deploys.as_array().map(Vec::len), Some(1), "{deploys:#}");

        // What cannot be started is taken back by itself.
        let broken = fleet.data().join("broken");
        std::fs::copy("/bin/false", &broken).expect("a program that fails");
        let start = ["deploy", "start", "--version", "broken", "--yes", "--reason", "new", "--binary"];
        let broken = broken.display().to_string();
        let words = [&start[..], &[&broken], &HASTE].concat();
        let said = fleet.ctl_within(PATIENCE_S, &words).await.expect_err("exit code 1");
        let status = fleet.ctl(&["deploy", "status"]).await;
        assert!(status["state"] == "rolled_back" && said.contains("cannot"), "{status:#} {said}");
        assert_eq!(versions(&fleet).await, own);
        let audit = fleet.ctl(&["audit"]).await.to_string();
        assert!(audit.contains("a night without customers") && audit.contains("worse"), "{audit}");
    })
    .await;
}

//! What is logged, line by line, and that it can be changed while processes run.

use serde_json::Value;

use crate::fleet::{Call, Fleet, until, within};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The lines of a process's log; every one has to be an object.
fn lines(fleet: &Fleet, process: &str) -> Vec<Value> {
    let path = fleet.data().join("logs").join(format!("{process}.log"));
    let text = std::fs::read_to_string(&path).expect("a log");
    let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{process}: {error}: {line}"));
    // The last line may still be on its way.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_names_request_trace_cell_and_wallet_and_no_amount() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let client = fleet.client();
        let wallet = client.create("ann").await;
        client.send(&Call::deposit(wallet, "918273645.54")).await.expect(200);
        // The database is away: the request fails, which is worth a line.
        fleet.stop("cell-1-db").await;
        let call = Call::show(wallet)
            .header("x-request-id", "the-request")
            .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-00"));
        client.send(&call).await.expect(503);
        let about = |line: &Value| line["request_id"] == "the-request";
        until(10, "the cell says so", async || lines(&fleet, "cell-1-a").iter().any(about)).await;
        let lines_of_cell = lines(&fleet, "cell-1-a");
        let line = lines_of_cell.iter().find(|line| about(line)).expect("it was there");
        for (field, value) in
            [("process", "cell"), ("cell", "cell-1"), ("instance", "cell-1-a"), ("trace_id", TRACE), ("level", "WARN")]
        {
            assert_eq!(line[field], value, "{field}: {line}");
        }
        assert_eq!(line["wallet"], wallet.to_string(), "{line}");
        assert!(
            line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')) && line["message"].is_string(),
            "{line}"
        );
        // As many digits as neither a time, nor a port, nor an id shows by chance.
        for process in ["cell-1-a", "router", "control-plane"] {
            for line in lines(&fleet, process) {
                assert!(!line.to_string().contains("918273645"), "{process} logs an amount: {line}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_logged_is_changed_while_processes_run() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let shown = fleet.ctl(&["log", "show"]).await;
        assert_eq!(shown[0]["process"], "control-plane", "{shown}");
        assert!(
            shown.as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["filter"] == "info")),
            "{shown}"
        );
        for (process, flag) in [
            ("cell-1-a", vec!["--instance", "cell-1-a"]),
            ("control-plane", vec!["--control-plane"]),
            ("router", vec!["--router"]),
        ] {
            let is_debug = |line: &Value| line["level"] == "DEBUG";
            assert!(!lines(&fleet, process).iter().any(is_debug), "{process} logs too much at first");
            let set = fleet.ctl(&[vec!["log", "set", "debug"], flag.clone()].concat()).await;
            assert_eq!(set[0]["filter"], "debug", "{set}");
            until(20, "more is logged", async || {
                fleet.client().send(&Call::get("/api/v1/wallets?userId=nobody")).await;
                lines(&fleet, process).iter().any(is_debug)
            })
            .await;
            fleet.ctl(&[vec!["log", "set", "warn"], flag].concat()).await;
        }
        let shown = fleet.ctl(&["log", "show"]).await;
        assert!(shown.as_array().is_some_and(|all| all.iter().all(|one| one["filter"] == "warn")), "{shown}");
        let said = fleet.try_ctl(&["log", "set", "x=y=z", "--cell", "cell-1"]).await.expect_err("no filter");
        assert!(said.contains("bad_filter"), "{said}");
    })
    .await;
}

//! What is logged, line by line, and that it can be changed while processes run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::fleet::ports::{Ports, free_block};
use crate::fleet::programs::{die_with_this_thread, program};
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

/// A router alone, that logs everything to a pipe which nothing reads.
fn start_unread(ports: Ports, data: &Path) -> Child {
    let address = |url: String| url.trim_start_matches("http://").to_owned();
    let mut command = Command::new(program("router"));
    command.args(["--listen", &address(ports.router()), "--internal-listen", &address(ports.router_internal())]);
    command.args(["--admin-listen", &address(ports.router_admin()), "--control-plane", &ports.control_plane()]);
    command.args(["--namespace", "00000000-0000-0000-0000-000000000007", "--log-format", "json", "--log", "trace"]);
    command.arg("--data-dir").arg(data).stderr(Stdio::piped());
    die_with_this_thread(&mut command);
    command.spawn().expect("the router starts")
}

#[tokio::test]
async fn a_log_that_nothing_reads_holds_up_no_request() {
    within(60, "the test", async {
        let (ports, data) = (free_block(1), std::env::temp_dir().join(format!("wallet-unread-{}", std::process::id())));
        let mut router = start_unread(ports, &data);
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client");
        let get = async |url: String| Some(client.get(url).send().await.ok()?.text().await.expect("a body"));
        let live = async || get(format!("{}/livez", ports.router_admin())).await.is_some();
        until(10, "the router serves", live).await;
        let dropped = async || {
            let page = get(format!("{}/metrics", ports.router_admin())).await.expect("the router answers");
            let line = page.lines().find(|line| line.starts_with("log_lines_dropped_total")).expect("a metric");
            !line.ends_with(" 0")
        };
        until(40, "lines are dropped", async || {
            for _ in 0..100 {
                let url = format!("{}/api/v1/wallets?userId=ann", ports.router());
                assert!(get(url).await.is_some(), "the router hangs");
            }
            dropped().await
        })
        .await;
        assert!(live().await);
        nix::sys::signal::kill(Pid::from_raw(router.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        until(10, "it ends all the same", async || router.try_wait().expect("a child").is_some()).await;
        let _ = std::fs::remove_dir_all(data);
    })
    .await;
}

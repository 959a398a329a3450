//! What a log is written to may stall, be full, go away, or never have been there: a process serves on, and ends as it
//! should.

use std::process::{ChildStderr, Stdio};
use std::time::Duration;

use crate::fleet::alone::{Alone, KINDS, Kind, Start};
use crate::fleet::{Fleet, until, wallet_of, within};

/// Without a pause of a second each time that a log cannot be written.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

async fn get(http: &reqwest::Client, url: &str) -> Option<String> {
    http.get(url).send().await.ok()?.text().await.ok()
}

fn worth_a_line(process: &Alone) -> String {
    let url = process.url();
    match process.kind {
        Kind::Router => format!("{url}/api/v1/wallets?userId=ann"),
        Kind::Cell => format!("{url}/api/v1/wallets/{}", wallet_of("ann")),
        Kind::ControlPlane => format!("{url}/v1/cells"),
    }
}

async fn dropped(http: &reqwest::Client, process: &Alone) -> u64 {
    let page = get(http, &format!("{}/metrics", process.admin())).await.expect("it answers");
    let lines = page.lines().filter(|line| line.starts_with("log_lines_dropped_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Asks until lines are lost, if any are to be; `None`: nothing says so.
async fn asked(http: &reqwest::Client, process: &Alone, loses: bool) {
    let (url, live) = (worth_a_line(process), format!("{}/livez", process.admin()));
    until(60, "lines are dropped", async || {
        for _ in 0..50 {
            assert!(get(http, &url).await.is_some(), "{:?} hangs", process.kind);
        }
        assert!(get(http, &live).await.is_some(), "{:?} does not say that it lives", process.kind);
        !loses || dropped(http, process).await > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_takes_nothing_holds_up_no_request() {
    within(170, "the test", async {
        let fleet = Fleet::start(1, 1).await;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client");
        for kind in KINDS {
            for (what, first, is_read, loses) in [
                ("nothing reads it", ":", true, true),
                ("its reader is gone", ":", false, true),
                ("its disk is full", "exec 2> /dev/full", false, true),
                ("it is closed", "exec 2>&-", false, false),
            ] {
                let start = Start { first, log: "trace", stderr: Stdio::piped(), ..Start::default() };
                let mut process = Alone::start(&fleet, kind, start);
                let reader: Option<ChildStderr> = process.child.stderr.take().filter(|_| is_read);
                process.until_ready().await;
                asked(&http, &process, loses).await;
                let (code, took) = process.stop().await;
                assert!(code == 0 && took < ENDS_WITHIN, "{kind:?}, {what}: exit code {code} after {took:?}");
                drop(reader);
            }
        }
    })
    .await;
}

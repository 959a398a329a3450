//! Whole cells: emptied while alive, emptied when their processes are dead, and a new one that takes its share. All
//! through the control plane, two of them at once.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use topology::WalletId;

use super::traffic::{Seen, Traffic, complaints};
use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::What;
use crate::fleet::{Fleet, Shape, ports, programs, setting, until, within};

const CLIENTS: u64 = 6;
const PAUSE: Duration = Duration::from_millis(15);
const BUCKETS: u64 = 65_536;
/// Customers created at once.
const AT_ONCE: usize = 16;

/// Customers of each cell, made before the clock starts.
async fn populate(fleet: &Fleet, cell: u16, count: usize) -> Vec<WalletId> {
    let mut users = fleet.users_in(cell, count).await.into_iter();
    let (mut creating, mut wallets) = (JoinSet::new(), Vec::new());
    loop {
        while creating.len() < AT_ONCE {
            let Some(user) = users.next() else { break };
            let client = fleet.client();
            creating.spawn(async move {
                let wallet = client.create(&user).await;
                client.send(&crate::fleet::Call::deposit(wallet, "20").key(user)).await.expect(200);
                wallet
            });
        }
        match creating.join_next().await {
            Some(wallet) => wallets.push(wallet.expect("no panic")),
            None => return wallets,
        }
    }
}

/// A second control plane over the same tables, for as long as it lives.
struct Second(Child);

impl Second {
    fn start(fleet: &Fleet) -> Self {
        let mut command = Command::new(programs::program("control-plane"));
        command
            .args([
                "--config",
                &fleet.config().to_string_lossy(),
                "--dynamodb-endpoint",
                &fleet.ports.control_plane_db(),
            ])
            .args(["--region", "us-east-1", "--listen", &format!("127.0.0.1:{}", ports::free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        programs::die_with_this_thread(&mut command);
        Self(command.spawn().expect("the control plane can be run"))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an operation did, and how fast.
fn report(what: &str, took: Duration, operation: &Value) {
    let progress = &operation["progress"];
    let count = |name: &str| progress[name].as_u64().unwrap_or_default();
    eprintln!(
        "{what}: {took:.1?}; {} wallets ({:.0}/s), {} blocks, {:.3} MB ({:.3} MB/s), longest cutover {} µs",
        count("wallets"),
        count("wallets") as f64 / took.as_secs_f64(),
        count("blocks"),
        count("bytes") as f64 / 1e6,
        count("bytes") as f64 / 1e6 / took.as_secs_f64(),
        count("longestCutoverMicros"),
    );
}

async fn buckets(fleet: &Fleet) -> Vec<u64> {
    let cells = fleet.ctl(&["cell", "list"]).await;
    let cells = cells.as_array().expect("a list of cells");
    cells.iter().map(|cell| cell["buckets"].as_u64().expect("a number")).collect()
}

async fn settle_and_audit(fleet: &Fleet, seen: &[Seen]) -> Books {
    until(60, "all transfers have an outcome", async || {
        Books::read(fleet).await.cells.iter().all(|cell| cell.open_at_home() == 0)
    })
    .await;
    let books = Books::read(fleet).await;
    books.audit(Moment::Still);
    books.check_requests(seen.iter().filter_map(|seen| seen.request.as_ref()));
    books
}

/// Three cells, of which the first, which is emptied, has few buckets: each takes its time, with customers or without.
/// Cells are alike where a number of wallets is asked for.
fn evacuated_shape() -> Shape {
    let weights = if std::env::var_os("WALLET_EVACUATED").is_some() { vec![] } else { vec![1, 8, 8] };
    Shape { weights, ..Shape::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_cell_is_emptied_and_no_request_fails() {
    let count = usize::try_from(setting("WALLET_EVACUATED", 150)).expect("a number of wallets");
    within(900, "the test", async {
        let fleet = Fleet::of(evacuated_shape()).await;
        let mut wallets = populate(&fleet, 1, count).await;
        wallets.extend(populate(&fleet, 2, 30).await);
        let second = Second::start(&fleet);
        let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
        let began = Instant::now();
        let evacuate = ["cell", "evacuate", "cell-1", "--yes", "--reason", "test", "--wait", "600"];
        let operation = fleet.ctl_within(610, &evacuate).await.expect("it has room elsewhere");
        report("a live cell emptied", began.elapsed(), &operation);
        let seen = traffic.finish().await;
        drop(second);
        assert_eq!(complaints(&seen), Vec::<&str>::new());
        assert_eq!(operation["state"], "done");
        assert_eq!(buckets(&fleet).await[0], 0);
        let books = settle_and_audit(&fleet, &seen).await;
        assert!(wallets.iter().all(|wallet| books.home(*wallet) != Some("cell-1")));
        let verified = fleet.ctl(&["migrate", "verify", operation["id"].as_str().expect("an id")]).await;
        eprintln!("verified: {verified}");
        fleet.ctl(&["cell", "remove", "cell-1", "--reason", "empty"]).await;
        // The processes of a cell that was taken out belong to no cell any more.
        fleet.stop("cell-1-a").await;
        fleet.client().balance(wallets[0]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_with_dead_processes_is_emptied() {
    within(900, "the test", async {
        let count = usize::try_from(setting("WALLET_EVACUATED", 100)).expect("a number of wallets");
        let fleet = Fleet::of(evacuated_shape()).await;
        let mine = populate(&fleet, 1, count).await;
        let touched: BTreeSet<WalletId> = mine.iter().copied().collect();
        let mut wallets = mine.clone();
        wallets.extend(populate(&fleet, 2, 30).await);
        let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
        fleet.kill_for_good("cell-1-a").await;
        let began = Instant::now();
        let evacuate = ["cell", "evacuate", "cell-1", "--yes", "--reason", "test", "--wait", "600"];
        let operation = fleet.ctl_within(610, &evacuate).await.expect("it has room elsewhere");
        report("a dead cell emptied", began.elapsed(), &operation);
        let during = traffic.finish().await;
        let after = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = after.finish().await;
        assert_eq!(complaints(&after), Vec::<&str>::new(), "all are served again");
        for seen in during.iter().filter(|seen| seen.complaint.is_some()) {
            let payee = seen.request.as_ref().and_then(|request| match request.what {
                What::Transfer { to, .. } => Some(to),
                _ => None,
            });
            let concerned = touched.contains(&seen.wallet) || payee.is_some_and(|payee| touched.contains(&payee));
            assert!(concerned, "a customer of another cell was touched: {:?}", seen.complaint);
        }
        let failed = complaints(&during).len();
        eprintln!("{failed} of {} requests failed, all of them the dead cell's", during.len());
        assert!(failed > 0, "its processes were dead");
        let seen: Vec<Seen> = during.into_iter().chain(after).collect();
        let books = settle_and_audit(&fleet, &seen).await;
        assert!(mine.iter().all(|wallet| books.home(*wallet) != Some("cell-1")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cell_takes_its_exact_share_and_no_request_fails() {
    within(300, "the test", async {
        let fleet = Fleet::of(Shape { weights: vec![5; 3], ..Shape::default() }).await;
        let mut wallets = Vec::new();
        for cell in 1..=3 {
            wallets.extend(populate(&fleet, cell, 40).await);
        }
        let before = buckets(&fleet).await;
        let traffic = Traffic::start(&fleet.client(), &wallets, CLIENTS, PAUSE);
        let began = Instant::now();
        let add = ["cell", "add", "cell-4", "--weight", "1", "--rebalance", "--yes", "--reason", "room"];
        fleet.ctl_within(200, &add).await.expect("a plan that can be carried out");
        let took = began.elapsed();
        let seen = traffic.finish().await;
        let operations = fleet.ctl(&["op", "list"]).await;
        report("a new cell's share", took, &operations[0]);
        assert_eq!(complaints(&seen), Vec::<&str>::new());
        let after = buckets(&fleet).await;
        let share = BUCKETS / 16;
        assert_eq!(after, [5 * share, 5 * share, 5 * share, share], "shares are exact");
        let given: u64 = before.iter().zip(&after).map(|(before, after)| before - after).sum();
        assert_eq!(given, share, "only what the new cell takes has moved");
        settle_and_audit_four(&fleet, &seen).await;
    })
    .await;
}

/// The fleet has grown by a cell that its shape does not know of.
async fn settle_and_audit_four(fleet: &Fleet, seen: &[Seen]) {
    until(60, "all transfers have an outcome", async || {
        Books::read_cells(fleet, 4).await.cells.iter().all(|cell| cell.open_at_home() == 0)
    })
    .await;
    let books = Books::read_cells(fleet, 4).await;
    books.audit(Moment::Still);
    books.check_requests(seen.iter().filter_map(|seen| seen.request.as_ref()));
    let moved = seen.iter().filter(|seen| books.home(seen.wallet) == Some("cell-4")).count();
    assert!(moved > 0, "some customers live in the new cell");
}

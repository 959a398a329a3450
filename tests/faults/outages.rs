//! What is off, restarts or stops gracefully, and which customers notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger::Money;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use topology::WalletId;

use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Call, Client, Fleet, setting, until, within};

/// How long a cell's database is away: longer than a cell retries a commit. 30 in the nightly run.
const OUTAGE_S: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_are_served_and_created_without_the_control_plane() {
    within(90, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let client = fleet.client();
        let mut old = Vec::new();
        for cell in [1, 2] {
            for user in fleet.users_in(cell, 3).await {
                old.push(client.create(&user).await);
            }
        }
        fleet.stop("control-plane").await;
        fleet.stop("control-plane-db").await;
        fleet.kill("router").await;
        fleet.until_all_ready(&["router"]).await;
        for (number, wallet) in old.iter().enumerate() {
            client.send(&Call::deposit(*wallet, "5").key(format!("d{number}"))).await.expect(200);
        }
        client.send(&Call::transfer(old[0], old[5], "2").key("t")).await.expect(200);
        for cell in [1, 2] {
            let newcomer = &fleet.users_in(cell, 10).await[9];
            let answer = client.send(&Call::create(newcomer)).await.expect(201);
            let wallet: WalletId = answer.string("walletId").parse().expect("a wallet id");
            client.send(&Call::deposit(wallet, "1")).await.expect(200);
        }
        let totals = Books::read(&fleet).await.audit(Moment::Still);
        assert_eq!(totals.deposits, 3_200);
    })
    .await;
}

/// Deposits a cent at a time, under fresh keys, until it has to stop.
async fn keep_depositing(
    client: Client,
    wallet: WalletId,
    name: String,
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Vec<Request> {
    let mut requests = Vec::new();
    while !over.load(Ordering::Acquire) {
        let request =
            Request::new(What::Deposit { wallet, amount: Money::MIN_AMOUNT }, format!("{name}-{}", requests.len()));
        let (request, answer) = client.carry_out(request).await;
        answer.expect(200);
        requests.push(request);
        done.fetch_add(1, Ordering::Relaxed);
    }
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_without_its_database_says_so_and_recovers() {
    let outage = Duration::from_secs(setting("WALLET_OUTAGE_S", OUTAGE_S));
    within(90 + outage.as_secs(), "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let client = fleet.client();
        let ill = client.create(&fleet.users_in(1, 1).await[0]).await;
        let well = client.create(&fleet.users_in(2, 1).await[0]).await;
        let (over, ill_done, well_done) =
            (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::new(AtomicU64::new(0)));
        let start = |wallet, name: &str, done: &Arc<AtomicU64>| {
            tokio::spawn(keep_depositing(client.clone(), wallet, name.into(), over.clone(), done.clone()))
        };
        let mut workers = Vec::new();
        for number in 0..4 {
            workers.push(start(ill, &format!("ill-{number}"), &ill_done));
            workers.push(start(well, &format!("well-{number}"), &well_done));
        }
        until(20, "both cells serve", async || {
            ill_done.load(Ordering::Relaxed) > 20 && well_done.load(Ordering::Relaxed) > 20
        })
        .await;
        fleet.stop("cell-1-db").await;
        let began = Instant::now();
        let write = tokio::spawn({
            let (client, request) =
                (client.clone(), Request::new(What::Deposit { wallet: ill, amount: Money::MIN_AMOUNT }, "lost"));
            async move { (client.send(&request.call()).await, request) }
        });
        let mut well_before = well_done.load(Ordering::Relaxed);
        while began.elapsed() < outage {
            let answer = client.send(&Call::show(ill)).await.expect(503);
            assert_eq!(answer.code(), "storage_unavailable");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            let asked = Instant::now();
            client.send(&Call::deposit(well, "0.01")).await.expect(200);
            assert!(asked.elapsed() < Duration::from_secs(2), "the other cell took {:?}", asked.elapsed());
            until(2, "the other cell goes on", async || well_done.load(Ordering::Relaxed) > well_before).await;
            well_before = well_done.load(Ordering::Relaxed);
        }
        // "Nothing was done", says the problem; the auditor will look.
        let (answer, lost) = write.await.expect("no client panicked");
        assert_eq!(answer.clone().expect(503).code(), "storage_unavailable");
        let lost = lost.answered(&answer);
        let ill_before = ill_done.load(Ordering::Relaxed);
        fleet.restart("cell-1-db").await;
        until(20, "the cell serves again", async || ill_done.load(Ordering::Relaxed) > ill_before + 20).await;
        over.store(true, Ordering::Release);
        let mut requests = vec![lost];
        for worker in workers {
            requests.extend(worker.await.expect("no client panicked"));
        }
        fleet.until_all_ready(&[]).await;
        let books = Books::read(&fleet).await;
        books.audit(Moment::Still);
        books.check_requests(&requests);
        let done = requests.iter().filter(|request| request.payer() == ill && request.reported.is_done()).count();
        assert_eq!(client.balance(ill).await, Money::from_minor(done as u64).to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_asked_to_stop_under_load_finishes_what_it_took() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 2).await;
        let mut wallets = Vec::new();
        for number in 0..8 {
            wallets.push(fleet.client().create(&format!("user-{number}")).await);
        }
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let worker = |(number, wallet): (usize, &WalletId)| {
            let name = format!("client-{number}");
            tokio::spawn(keep_depositing(fleet.client(), *wallet, name, over.clone(), done.clone()))
        };
        let workers: Vec<_> = wallets.iter().cycle().take(32).enumerate().map(worker).collect();
        // Straight to the instance and without a second attempt: each answer it gives counts as it is.
        let direct = tokio::spawn(deposit_until_gone(fleet.instance_client(1, 0), wallets[0]));
        until(20, "deposits go on", async || done.load(Ordering::Relaxed) > 200).await;
        let pid = Pid::from_raw(fleet.pid("cell-1-a").await);
        let asked = Instant::now();
        kill(pid, Signal::SIGTERM).expect("the instance runs");
        until(10, "the process has ended", async || kill(pid, None).is_err()).await;
        eprintln!("ended {:?} after SIGTERM, under load", asked.elapsed());
        let before = done.load(Ordering::Relaxed);
        until(20, "deposits go on", async || done.load(Ordering::Relaxed) > before + 200).await;
        over.store(true, Ordering::Release);
        let mut requests = direct.await.expect("no client panicked");
        for worker in workers {
            requests.extend(worker.await.expect("no client panicked"));
        }
        let books = Books::read(&fleet).await;
        books.audit(Moment::Still);
        books.check_requests(&requests);
    })
    .await;
}

/// Deposits until the instance no longer answers. What it took before, it has answered.
async fn deposit_until_gone(client: Client, wallet: WalletId) -> Vec<Request> {
    let mut requests = Vec::new();
    for number in 0..1_000_000 {
        let request = Request::new(What::Deposit { wallet, amount: Money::MIN_AMOUNT }, format!("direct-{number}"));
        match client.try_send(&request.call()).await {
            Ok(answer) if answer.status == 200 => requests.push(request.answered(&answer)),
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => return requests,
        }
    }
    panic!("the instance never went away");
}

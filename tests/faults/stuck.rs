//! A cell is dead, and many transfers are on their way to it. Those between the other cells are as fast as before, and
//! when it is back, all of them arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ledger::Money;
use serde_json::Value;
use store::CellRows;
use tokio::task::JoinSet;
use topology::WalletId;

use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Call, Client, Fleet, open_transfers, setting, until, within};

const ALIVE: [u16; 2] = [1, 2];
const DEAD: u16 = 3;
/// Of each living cell: wallets with stuck transfers, and wallets that pay one another meanwhile.
const PAYERS: usize = 25;
const BUSY: usize = 10;
const PAYEES: usize = 8;
/// Each wallet begins with so much.
const DEPOSITED: u64 = 100_000;
const CLIENTS: u64 = 4;
/// Requests on their way when the cell dies, one after another.
const CAUGHT: u64 = 30;
const CAUGHT_EVERY: Duration = Duration::from_millis(10);
/// The median with the cell dead against that before: twice, and what a machine does that is busy with other things.
const FACTOR: u32 = 2;
const SLACK: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_stuck_to_a_dead_cell_slow_no_other_down() {
    let (stuck, load) = (setting("WALLET_STUCK", 300), setting("WALLET_STUCK_LOAD", 300));
    within(120 + stuck / 10, "the test", run(stuck, load)).await;
}

async fn run(stuck: u64, load: u64) {
    let fleet = Fleet::start(3, 1).await;
    let payees = populate(&fleet, DEAD, 0, PAYEES).await;
    let (mut payers, mut busy) = (vec![], vec![]);
    for cell in ALIVE {
        payers.push((cell, populate(&fleet, cell, 0, PAYERS).await));
        busy.extend(populate(&fleet, cell, PAYERS, BUSY).await);
    }
    let busy = Arc::new(busy);
    let mut requests = pay(&fleet.client(), &busy, "first", load).await.0;
    let (more, before) = pay(&fleet.client(), &busy, "before", load).await;
    requests.extend(more);

    let caught = die(&fleet, &payers[0].1, &payees).await;
    let each = usize::try_from(stuck).expect("a small number").div_ceil(PAYERS * ALIVE.len());
    let to: Vec<_> = payees.iter().copied().cycle().take(each).collect();
    for (cell, payers) in &payers {
        let store = fleet.store(*cell).await;
        for payer in payers {
            open_transfers::leave(&store, *payer, &to).await;
        }
        let wanted = each * PAYERS;
        until(20, "the feed knows of all", async || known(&fleet, *cell).await >= wanted as u64).await;
    }
    let (more, during) = pay(&fleet.client(), &busy, "during", load).await;
    requests.extend(more);
    eprintln!("before: {before:?}; with {stuck} stuck: {during:?}");
    assert!(during.median <= before.median * FACTOR + SLACK, "{before:?}, then {during:?}");

    fleet.restart("cell-3-a").await;
    let back = Instant::now();
    fleet.until_all_ready(&["cell-3-a"]).await;
    let is_settled = async || {
        let mut open = 0;
        for (cell, payers) in &payers {
            open += open_transfers::count(&fleet.store(*cell).await, payers).await;
        }
        open == 0
    };
    until(60 + stuck / 50, "all have arrived", is_settled).await;
    eprintln!("all arrived {:.1?} after the cell was started", back.elapsed());
    for request in caught.join_all().await {
        requests.push(fleet.client().carry_out(request).await.0);
    }
    let books = Books::read_settled(&fleet, 20).await;
    let totals = books.audit(Moment::Still);
    books.check_requests(&requests);
    assert_eq!(totals.in_flight, 0);
    let arrived = payees.iter().map(|payee| books.chain(*payee).last().expect("a head").state.balance.minor());
    assert!(arrived.sum::<u64>() >= DEPOSITED * PAYEES as u64 + (each * PAYERS * ALIVE.len()) as u64);
}

/// Wallets of a cell with money, after so many of its users.
async fn populate(fleet: &Fleet, cell: u16, after: usize, count: usize) -> Vec<WalletId> {
    let (client, mut wallets) = (fleet.client(), vec![]);
    for user in fleet.users_in(cell, after + count).await.split_off(after) {
        let wallet = client.create(&user).await;
        let amount = Money::from_minor(DEPOSITED).to_string();
        client.insist(&Call::deposit(wallet, &amount).key(user)).await.expect(200);
        wallets.push(wallet);
    }
    wallets
}

#[derive(Debug)]
struct Figures {
    median: Duration,
    #[expect(dead_code, reason = "it is printed")]
    p99: Duration,
}

/// So many transfers, in the cells and between them, each sent once and settled when it is answered.
async fn pay(client: &Client, busy: &Arc<Vec<WalletId>>, name: &'static str, count: u64) -> (Vec<Request>, Figures) {
    let (next, mut clients) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..CLIENTS {
        let (client, busy, next) = (client.clone(), busy.clone(), next.clone());
        clients.spawn(async move {
            let mut paid = vec![];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return paid;
                }
                let mut dice = Rng::with_seed(number);
                let from = dice.usize(..busy.len());
                let to = (from + dice.usize(1..busy.len())) % busy.len();
                let what = What::Transfer { from: busy[from], to: busy[to], amount: Money::MIN_AMOUNT };
                let (request, began) = (Request::new(what, format!("{name}-{number}")), Instant::now());
                let answer = client.send(&request.call()).await.expect(200);
                let took = began.elapsed();
                assert_eq!(answer.string("status"), "SETTLED", "{answer:?}");
                paid.push((request.answered(&answer), took));
            }
        });
    }
    let (requests, mut took): (Vec<_>, Vec<_>) = clients.join_all().await.into_iter().flatten().unzip();
    took.sort_unstable();
    (requests, Figures { median: took[took.len() / 2], p99: took[took.len() * 99 / 100] })
}

/// Kills the process of the cell while requests are on their way to it. They are to be repeated once it is back.
async fn die(fleet: &Fleet, payers: &[WalletId], payees: &[WalletId]) -> JoinSet<Request> {
    let mut caught = JoinSet::new();
    for number in 0..CAUGHT {
        let mut dice = Rng::with_seed(number);
        let (from, to) = (*dice.choice(payers).expect("some"), *dice.choice(payees).expect("some"));
        let request = Request::new(What::Transfer { from, to, amount: Money::MIN_AMOUNT }, format!("caught-{number}"));
        let client = fleet.client();
        caught.spawn(async move {
            tokio::time::sleep(CAUGHT_EVERY * u32::try_from(number).expect("small")).await;
            let _ = client.try_send(&request.call()).await;
            request
        });
    }
    fleet.kill_for_good("cell-3-a").await;
    caught
}

/// Open transfers that the feed of a cell knows of, as it has saved them.
async fn known(fleet: &Fleet, cell: u16) -> u64 {
    let row = fleet.store(cell).await.cell_row("jobs", "feed").await.expect("the tables answer");
    let row: Value = row.map_or(Value::Null, |row| serde_json::from_slice(&row.bytes).expect("JSON"));
    let wallets = row["progress"]["wallets"].as_array().cloned().unwrap_or_default();
    wallets.iter().filter_map(|wallet| wallet[2].as_u64()).sum()
}

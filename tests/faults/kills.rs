//! Random transfers, holds, batches and reversals over three cells while processes are killed with SIGKILL at random. Seeded: the seed is printed,
//! and `WALLET_SEED` repeats what was asked of whom (not the timing).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use ledger::Money;
use reconciliation::Reported;
use tokio::sync::RwLock;
use topology::WalletId;
use uuid::Uuid;

use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Answer, Client, Fleet, setting, until, within};

const CELLS: u16 = 3;
const WALLETS: usize = 50;
const CLIENTS: u64 = 16;
/// Requests between two kills, on average.
const REQUESTS_A_KILL: u64 = 100;
const KILLS_A_CHECK: u64 = 5;
/// After the last kill, every transfer has its outcome within this long.
const SETTLED_WITHIN_S: u64 = 10;
const FIRST_DEPOSIT: Money = Money::from_minor(10_000);

struct Play {
    client: Client,
    wallets: Vec<WalletId>,
    /// Held for reading by clients that move money, for writing by the auditor.
    gate: RwLock<()>,
    done: AtomicU64,
    over: AtomicBool,
}

/// What a client knows from answers, and may come back to.
#[derive(Default)]
struct Known {
    holds: Vec<(WalletId, Uuid)>,
    transactions: Vec<(WalletId, Uuid)>,
}

impl Known {
    fn learn(&mut self, request: &Request, answer: &Answer) {
        let id = |field: &str| answer.string(field).parse().expect("an id");
        match request.what {
            _ if !answer.is_success() => {}
            What::Hold { wallet, .. } => self.holds.push((wallet, id("holdId"))),
            What::Deposit { wallet, .. } | What::Withdraw { wallet, .. } | What::Capture { wallet, .. } => {
                self.transactions.push((wallet, id("transactionId")));
            }
            What::Transfer { to, .. } => self.transactions.push((to, id("transferId"))),
            What::Reverse { .. } | What::Batch { .. } => {}
        }
    }
}

impl Play {
    /// Moves money at random until it has to stop.
    async fn client(&self, number: u64, seed: u64) -> Vec<Request> {
        let mut dice = Rng::with_seed(seed ^ (number << 32));
        let mut requests = Vec::new();
        let mut known = Known::default();
        while !self.over.load(Ordering::Acquire) {
            let open = self.gate.read().await;
            let request = Request::new(self.invent(&mut dice, &known), format!("{number}-{}", requests.len()));
            let (request, answer) = self.client.carry_out(request).await;
            drop(open);
            known.learn(&request, &answer);
            requests.push(request);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        requests
    }

    fn invent(&self, dice: &mut Rng, known: &Known) -> What {
        let from = dice.usize(0..WALLETS);
        let to = (from + dice.usize(1..WALLETS)) % WALLETS;
        let (wallet, to) = (self.wallets[from], self.wallets[to]);
        // Large enough that many are refused for want of money.
        let amount = Money::from_minor(dice.u64(1..12_000));
        match dice.u8(0..20) {
            0 => What::Deposit { wallet, amount: Money::from_minor(dice.u64(1..500)) },
            1 => What::Withdraw { wallet, amount },
            2 => What::Hold { wallet, amount: Money::from_minor(dice.u64(1..2_000)) },
            3 => What::Batch { wallet, deposit: Money::from_minor(dice.u64(1..500)), withdrawal: amount },
            4 if !known.holds.is_empty() => {
                let (wallet, hold) = known.holds[dice.usize(..known.holds.len())];
                What::Capture { wallet, hold }
            }
            5 if !known.transactions.is_empty() => {
                let (wallet, transaction) = known.transactions[dice.usize(..known.transactions.len())];
                What::Reverse { wallet, transaction }
            }
            _ => What::Transfer { from: wallet, to, amount },
        }
    }

    async fn audit(&self, fleet: &Fleet, moment: Moment) -> Books {
        let _closed = within(90, "every request is answered", self.gate.write()).await;
        let books = Books::read(fleet).await;
        let totals = books.audit(moment);
        eprintln!("after {} requests: {totals:?}", self.done.load(Ordering::Relaxed));
        books
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_neither_lost_nor_doubled_while_processes_are_killed() {
    let seed = setting("WALLET_SEED", fastrand::u64(..));
    let kills = setting("WALLET_KILLS", 20);
    eprintln!("WALLET_SEED={seed} WALLET_KILLS={kills}");
    within(120 + kills * 4, "the test", run(seed, kills)).await;
}

async fn run(seed: u64, kills: u64) {
    let fleet = Fleet::start(CELLS, 2).await;
    let mut dice = Rng::with_seed(seed);
    let play = Arc::new(Play {
        client: fleet.client(),
        wallets: open_wallets(&fleet).await,
        gate: RwLock::default(),
        done: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let play = play.clone();
        clients.spawn(async move { play.client(number, seed).await });
    }
    let mut victims = vec!["router".to_owned(), "control-plane".to_owned()];
    victims.extend((1..=CELLS).flat_map(|cell| ["a", "b"].map(|instance| format!("cell-{cell}-{instance}"))));
    if setting("WALLET_KILL_DATABASES", 0) == 1 {
        victims.extend((1..=CELLS).map(|cell| format!("cell-{cell}-db")));
    }
    for kill in 1..=kills {
        let due = play.done.load(Ordering::Relaxed) + dice.u64(1..2 * REQUESTS_A_KILL);
        until(60, "requests are answered", async || play.done.load(Ordering::Relaxed) >= due).await;
        fleet.kill(dice.choice(&victims).expect("there are victims")).await;
        if kill % KILLS_A_CHECK == 0 && kill < kills {
            play.audit(&fleet, Moment::Moving).await;
        }
    }
    let last_kill = Instant::now();
    play.over.store(true, Ordering::Release);
    let requests: Vec<Request> = clients.join_all().await.into_iter().flatten().collect();
    let still = async || {
        let books = Books::read(&fleet).await;
        books.cells.iter().map(|cell| cell.open_at_home()).sum::<usize>() == 0
    };
    until(SETTLED_WITHIN_S.saturating_sub(last_kill.elapsed().as_secs()), "all transfers have an outcome", still).await;
    eprintln!("settled {:?} after the last kill", last_kill.elapsed());
    let books = play.audit(&fleet, Moment::Still).await;
    books.check_requests(&requests);
    let done = requests.iter().filter(|request| request.reported.is_done()).count();
    let refused = requests.iter().filter(|request| matches!(request.reported, Reported::Refused(_))).count();
    eprintln!("{} requests: {done} done, {refused} refused", requests.len());
    assert!(done > 0 && refused > 0);
    for request in &requests {
        if let Reported::Refused(code) = &request.reported {
            let expected = match request.what {
                What::Capture { .. } => vec!["hold_not_open"],
                // What came by a transfer is there to be reversed once it has settled, and only in the payee's wallet.
                What::Reverse { .. } => vec!["insufficient_balance", "already_reversed", "transaction_not_found"],
                What::Hold { .. } => vec!["insufficient_balance", "too_many_holds"],
                _ => vec!["insufficient_balance"],
            };
            assert!(expected.contains(&&**code), "{request:?}");
        }
    }
}

async fn open_wallets(fleet: &Fleet) -> Vec<WalletId> {
    let mut wallets = Vec::new();
    for number in 0..WALLETS {
        let wallet = fleet.client().create(&format!("user-{number}")).await;
        let request = Request::new(What::Deposit { wallet, amount: FIRST_DEPOSIT }, "first");
        fleet.client().carry_out(request).await.1.expect(200);
        wallets.push(wallet);
    }
    wallets
}

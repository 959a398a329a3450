//! Random transfers, holds, batches and reversals over three cells while processes are killed with SIGKILL at random;
//! and transfers alone over two cells of one process each, which die again and again. Seeded: the seed is printed, and
//! `WALLET_SEED` repeats what was asked of which wallet (not the timing).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use ledger::{EntryKind, Money};
use reconciliation::Reported;
use tokio::sync::RwLock;
use topology::WalletId;
use uuid::Uuid;

use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Answer, Client, Fleet, setting, until, within};

const WALLETS: usize = 50;
const CLIENTS: u64 = 16;
/// Requests between two kills, on average.
const REQUESTS_A_KILL: u64 = 100;
const KILLS_A_CHECK: u64 = 5;
/// After the last kill, every transfer has its outcome within this long; twice that where the process that was killed has to
/// come back first, since the cell has no other.
const SETTLED_WITHIN_S: u64 = 10;
const FIRST_DEPOSIT: Money = Money::from_minor(10_000);

/// What is asked for, in which fleet, and which of its processes are killed.
struct Plot {
    cells: u16,
    instances: u16,
    victims: Vec<String>,
    kills: u64,
    invent: fn(&Play, &mut Rng, &Known) -> What,
    /// Reasons for which a transfer may be refused.
    refusals: &'static [&'static str],
}

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
    async fn client(&self, number: u64, seed: u64, invent: fn(&Self, &mut Rng, &Known) -> What) -> Vec<Request> {
        let mut dice = Rng::with_seed(seed ^ (number << 32));
        let mut requests = Vec::new();
        let mut known = Known::default();
        while !self.over.load(Ordering::Acquire) {
            let open = self.gate.read().await;
            let request = Request::new(invent(self, &mut dice, &known), format!("{number}-{}", requests.len()));
            let (request, answer) = self.client.carry_out(request).await;
            drop(open);
            known.learn(&request, &answer);
            requests.push(request);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        requests
    }

    /// Two wallets, and an amount so large that many are refused for want of money.
    fn pair(&self, dice: &mut Rng) -> (WalletId, WalletId, Money) {
        let from = dice.usize(0..WALLETS);
        let to = (from + dice.usize(1..WALLETS)) % WALLETS;
        (self.wallets[from], self.wallets[to], Money::from_minor(dice.u64(1..12_000)))
    }

    /// In a cell or between two; some to a wallet that there is not.
    fn transfer(&self, dice: &mut Rng, _: &Known) -> What {
        let (from, to, amount) = self.pair(dice);
        let missing = WalletId::from_uuid(Uuid::from_u128(dice.u128(..)));
        What::Transfer { from, to: if dice.u8(0..20) == 0 { missing } else { to }, amount }
    }

    fn anything(&self, dice: &mut Rng, known: &Known) -> What {
        let (wallet, to, amount) = self.pair(dice);
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
    let cells = 3;
    let mut victims = vec!["router".to_owned(), "control-plane".to_owned()];
    victims.extend((1..=cells).flat_map(|cell| ["a", "b"].map(|instance| format!("cell-{cell}-{instance}"))));
    if setting("WALLET_KILL_DATABASES", 0) == 1 {
        victims.extend((1..=cells).map(|cell| format!("cell-{cell}-db")));
    }
    let (kills, refusals) = (setting("WALLET_KILLS", 20), &["insufficient_balance"]);
    play(Plot { cells, instances: 2, victims, kills, invent: Play::anything, refusals }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_transfer_happens_once_while_both_cells_are_killed() {
    let victims = ["cell-1-a", "cell-2-a"].map(str::to_owned).to_vec();
    let (kills, refusals) = (setting("WALLET_TRANSFER_KILLS", 4), &["insufficient_balance", "wallet_not_found"]);
    play(Plot { cells: 2, instances: 1, victims, kills, invent: Play::transfer, refusals }).await;
}

async fn play(plot: Plot) {
    let seed = setting("WALLET_SEED", fastrand::u64(..));
    eprintln!("WALLET_SEED={seed}, {} kills", plot.kills);
    within(120 + plot.kills * 4, "the test", run(seed, plot)).await;
}

async fn run(seed: u64, plot: Plot) {
    let Plot { cells, instances, victims, kills, invent, refusals } = plot;
    let settled_within_s = if instances > 1 { SETTLED_WITHIN_S } else { 2 * SETTLED_WITHIN_S };
    let fleet = Fleet::start(cells, instances).await;
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
        clients.spawn(async move { play.client(number, seed, invent).await });
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
    until(settled_within_s.saturating_sub(last_kill.elapsed().as_secs()), "all transfers have an outcome", still).await;
    eprintln!("settled {:?} after the last kill", last_kill.elapsed());
    let books = play.audit(&fleet, Moment::Still).await;
    books.check_requests(&requests);
    check_arrived(&books, &requests);
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
                _ => refusals.to_vec(),
            };
            assert!(expected.contains(&&**code), "{request:?}");
        }
    }
}

/// Each transfer that was answered has left its payer once and has come to its payee once; none is in a chain twice.
fn check_arrived(books: &Books, requests: &[Request]) {
    let mut legs: HashMap<(WalletId, Uuid), u32> = HashMap::new();
    for (wallet, blocks) in books.chains() {
        let entries = blocks.iter().flat_map(|block| &block.entries);
        let crossings =
            entries.filter(|entry| matches!(entry.kind, EntryKind::TransferOut { .. } | EntryKind::TransferIn { .. }));
        crossings.for_each(|entry| *legs.entry((*wallet, entry.id)).or_default() += 1);
    }
    assert!(legs.values().all(|count| *count == 1), "{legs:?}");
    for request in requests {
        if let (What::Transfer { from, to, .. }, Reported::Done(Some(id))) = (request.what, &request.reported) {
            let both = [from, to].map(|wallet| legs.contains_key(&(wallet, *id)));
            assert_eq!(both, [true, true], "{request:?}");
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

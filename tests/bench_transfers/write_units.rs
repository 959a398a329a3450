//! What operations write, as the cells' databases count it: transactional writes cost double, as they do on AWS. What an
//! idle fleet writes in the same time is measured first, and subtracted.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use topology::WalletId;

use crate::bench::connection::{Answer, Connection, Request};
use crate::round_trips::{self, WRITES};
use crate::site::{Plan, Site, deposit, request, transfer};

const CELLS: u16 = 2;
/// Payers that pay one wallet at the same time.
const HOT_PAYERS: usize = 64;
/// Wallets that move.
const MOVED: usize = 3;
/// From the start of a fleet until its first checkpoints are written; the next ones come an hour later.
const FIRST_CHECKPOINTS: Duration = Duration::from_secs(40);
const IDLE_FOR: Duration = Duration::from_secs(20);
/// A fleet is quiet once it writes no more in so long than an idle one, with some tolerance.
const QUIET_FOR: Duration = Duration::from_secs(2);
const QUIET_TOLERANCE: f64 = 1.5;
const QUIET_PATIENCE: Duration = Duration::from_secs(60);
const MOVE_PATIENCE_S: u64 = 120;
const AN_HOUR: &str = "3600";
const NEVER: &str = "0";

#[derive(clap::Args)]
pub struct Args {
    /// Operations of each kind, 64 to 500
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(64..=500))]
    times: u16,
    /// Measure the programs in this folder [default: those of this build]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

const COLUMNS: [&str; 6] = ["write units", "PutItem", "TransactWriteItems", "other writes", "refused writes", "reads"];

/// What all databases counted, in the order of [`COLUMNS`].
#[derive(Debug, Default, Clone, Copy)]
struct Counts([f64; COLUMNS.len()]);

impl Counts {
    fn add(&mut self, consumed: &Value) {
        let operations = consumed["operations"].as_object().expect("a map of operations");
        for (name, of) in operations {
            let number = |field: &str| of[field].as_f64().expect("a number");
            let column = match name.as_str() {
                "PutItem" => 1,
                "TransactWriteItems" => 2,
                other if WRITES.contains(&other) => 3,
                _ => 5,
            };
            self.0[column] += number("calls");
            if column != 5 {
                self.0[4] += number("errors");
            }
        }
        self.0[0] += consumed["write_units"].as_f64().expect("a number");
    }

    fn write_calls(&self) -> f64 {
        self.0[1] + self.0[2] + self.0[3]
    }

    fn combine(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|column| with(self.0[column], other.0[column])))
    }

    fn scaled(self, factor: f64) -> Self {
        Self(self.0.map(|count| count * factor))
    }

    fn row(&self, name: &str) {
        // What is subtracted for an idle fleet may be more than it wrote.
        let columns = self.0.map(|count| format!("{:.2}", (count + 0.0).max(0.0)));
        println!("| {name} | {} |", columns.join(" | "));
    }
}

/// A fleet, and what it writes a second when it does nothing.
struct Counter {
    site: Site,
    idle: Counts,
}

impl Counter {
    async fn new(site: Site) -> Self {
        let mut counter = Self { site, idle: Counts::default() };
        tokio::time::sleep(FIRST_CHECKPOINTS).await;
        let before = counter.counted().await;
        tokio::time::sleep(IDLE_FOR).await;
        let after = counter.counted().await;
        counter.idle = after.combine(before, |after, before| after - before).scaled(1.0 / IDLE_FOR.as_secs_f64());
        counter
    }

    async fn counted(&self) -> Counts {
        let mut counts = Counts::default();
        for cell in 1..=CELLS {
            counts.add(&self.site.fleet.consumed(cell).await);
        }
        counts
    }

    /// All that follows from what was asked is written when this returns.
    async fn until_quiet(&self) {
        let most = (self.idle.write_calls() * QUIET_FOR.as_secs_f64() * QUIET_TOLERANCE).ceil();
        let deadline = Instant::now() + QUIET_PATIENCE;
        loop {
            let before = self.counted().await.write_calls();
            tokio::time::sleep(QUIET_FOR).await;
            if self.counted().await.write_calls() - before <= most {
                return;
            }
            assert!(Instant::now() < deadline, "the fleet does not come to rest");
        }
    }

    /// What one of `times` operations costs that `work` carries out.
    async fn each(&self, times: usize, work: impl Future<Output = ()>) -> Counts {
        let (before, began) = (self.counted().await, Instant::now());
        work.await;
        self.until_quiet().await;
        let idle = self.idle.scaled(began.elapsed().as_secs_f64());
        let all = self.counted().await.combine(before, |after, before| after - before);
        all.combine(idle, |all, idle| all - idle).scaled(1.0 / times as f64)
    }

    /// The same of requests that are sent one after another.
    async fn one_by_one(&self, requests: Vec<Request>) -> Counts {
        let mut connection = self.site.connect().await;
        self.each(requests.len(), async {
            for request in &requests {
                done(&mut connection, request).await;
            }
        })
        .await
    }

    /// The same of transfers from many payers to one payee at the same time.
    async fn hot(&self, payers: &[WalletId], payee: WalletId, times: usize) -> Counts {
        let each = times.div_ceil(payers.len());
        self.each(each * payers.len(), async {
            let mut tasks = JoinSet::new();
            for payer in payers {
                let (mut connection, payer) = (self.site.connect().await, *payer);
                tasks.spawn(async move {
                    for _ in 0..each {
                        done(&mut connection, &transfer(payer, payee)).await;
                    }
                });
            }
            tasks.join_all().await;
        })
        .await
    }

    async fn moved(&self, wallet: WalletId) -> Counts {
        self.each(1, async {
            let wallet = wallet.to_string();
            let words = ["migrate", "--wallet", &wallet, "--to", "cell-2", "--yes", "--reason", "measured"];
            let operation = self.site.fleet.ctl_within(MOVE_PATIENCE_S, &words).await.expect("it moves");
            assert_eq!(operation["state"], "done", "{operation}");
        })
        .await
    }
}

/// Sends what must succeed at once, and finally.
async fn done(connection: &mut Connection, request: &Request) -> Answer {
    let answer = connection.send(request).await.expect("the router answers");
    assert!(matches!(answer.status, 200 | 201), "{}: {}", request.path, answer.label());
    answer
}

pub async fn run(args: &Args) {
    let times = usize::from(args.times);
    let wallets_per_cell = 2 * times + HOT_PAYERS + MOVED;
    // What would be counted with what is measured.
    let environment = vec![
        ("CELL_CHECKPOINT_SECONDS", AN_HOUR),
        ("CELL_INTEGRITY_SECONDS", NEVER),
        ("CONTROL_PLANE_WITNESS_SECONDS", AN_HOUR),
    ];
    let plan = Plan { cells: CELLS, wallets_per_cell, programs: args.bin_dir.clone(), environment };
    let counter = Counter::new(Site::start(plan).await).await;
    println!("What one operation takes of the cells' databases; {times} of each, on warm wallets.\n");
    println!("| operation | {} |", COLUMNS.join(" | "));
    println!("|---|{}", "--:|".repeat(COLUMNS.len()));
    operations(&counter, times).await;
    moves(&counter, times).await;
    counter.idle.row("*an idle fleet of two cells, a second: subtracted above*");
    println!("\nNo checkpoint and no verification ran meanwhile: they go by time, not by operations.");
    println!("What the control plane read now and then is in the column of reads.\n");
    round_trips::report(&counter.site).await;
}

async fn operations(counter: &Counter, times: usize) {
    let (near, far) = (&counter.site.wallets[0], &counter.site.wallets[1]);
    let repeated = |request: &dyn Fn() -> Request| (0..times).map(|_| request()).collect::<Vec<_>>();
    counter.one_by_one(repeated(&|| deposit(near[0]))).await.row("keyed deposit");
    let between = counter.one_by_one(repeated(&|| transfer(near[1], far[0]))).await;
    between.row("transfer between cells, one payer");
    let pairs = near.iter().zip(far).take(times);
    let between = counter.one_by_one(pairs.map(|(payer, payee)| transfer(*payer, *payee)).collect()).await;
    between.row("transfer between cells, each payer once");
    let inside = counter.one_by_one(repeated(&|| transfer(near[2], near[3]))).await;
    inside.row("transfer inside a cell, one payer");
    let pairs = near.iter().zip(&near[times..]).take(times);
    let inside = counter.one_by_one(pairs.map(|(payer, payee)| transfer(*payer, *payee)).collect()).await;
    inside.row("transfer inside a cell, each payer once");
    let reversals = reversals(counter, near[4], times).await;
    counter.one_by_one(reversals).await.row("reversal of a deposit");
    hold_and_capture(counter, near[5], times).await.row("hold and capture");
    let payers = &near[2 * times..][..HOT_PAYERS];
    let what = format!("transfer between cells, {HOT_PAYERS} payers to one payee at once");
    counter.hot(payers, far[times], times).await.row(&what);
    let what = format!("transfer inside a cell, {HOT_PAYERS} payers to one payee at once");
    counter.hot(payers, near[6], times).await.row(&what);
}

/// Deposits, and the requests that reverse them.
async fn reversals(counter: &Counter, wallet: WalletId, times: usize) -> Vec<Request> {
    let mut connection = counter.site.connect().await;
    let mut reversals = Vec::new();
    for _ in 0..times {
        let transaction = done(&mut connection, &deposit(wallet)).await.text("transactionId");
        reversals.push(request(format!("{wallet}/transactions/{transaction}/reverse"), "{}".to_owned()));
    }
    counter.until_quiet().await;
    reversals
}

async fn hold_and_capture(counter: &Counter, wallet: WalletId, times: usize) -> Counts {
    let mut connection = counter.site.connect().await;
    counter
        .each(times, async {
            for _ in 0..times {
                let place = request(format!("{wallet}/holds"), r#"{"amount":0.01}"#.to_owned());
                let hold = done(&mut connection, &place).await.text("holdId");
                done(&mut connection, &request(format!("{wallet}/holds/{hold}/capture"), "{}".to_owned())).await;
            }
        })
        .await
}

/// Of wallets with many blocks of one kind, and of one with hardly any: the difference is what a copied block costs.
async fn moves(counter: &Counter, times: usize) {
    let (near, far) = (&counter.site.wallets[0], &counter.site.wallets[1]);
    let [short, deposits, credits] = near[2 * times + HOT_PAYERS..] else { panic!("{MOVED} wallets move") };
    let mut connection = counter.site.connect().await;
    for _ in 0..times {
        done(&mut connection, &deposit(deposits)).await;
        done(&mut connection, &transfer(far[times + 1], credits)).await;
    }
    counter.until_quiet().await;
    let fixed = counter.moved(short).await;
    fixed.row("move of a wallet of two blocks");
    for (wallet, what) in [(deposits, "a deposit"), (credits, "a received transfer")] {
        let copied = counter.moved(wallet).await.combine(fixed, |long, short| long - short);
        copied.scaled(1.0 / times as f64).row(&format!("one block copied by a move: {what}"));
    }
}

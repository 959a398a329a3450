//! Load on a local fleet: deposits on distinct wallets and on one hot wallet, through the router and straight to the
//! cell, and the hot wallet with group commit switched off beside it. Prints Markdown. See `scripts/bench-cell`.
//!
//! Everything runs on the machine that it measures, this client too: read ratios, not absolute numbers.

#[allow(dead_code)]
mod bench;
#[allow(dead_code, unused_imports)]
mod fleet;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench::connection::Request;
use bench::figures::{Meter, median, ratios};
use bench::load::{HEADER, Load, Outcome, Round};
use clap::Parser;
use fleet::{Fleet, Shape};
use ledger::limits::MAX_BATCH_OPERATIONS;
use topology::WalletId;

const CLIENTS: [usize; 3] = [1, 16, 64];
const WALLETS: usize = 256;
/// A distinct wallet for each of these requests, then round again.
const HOT: &str = "merchant";
const WARM_UP_MS: u64 = 200;
const PROCESSES: [&str; 3] = ["router", "cell-1-a", "cell-1-db"];

#[derive(Parser)]
#[command(about = "Measure a cell under load")]
struct Cli {
    /// Interleaved rounds over all cases, at most 10
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10))]
    rounds: u32,
    /// Milliseconds of load for each case in each round, at most 5,000
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=5_000))]
    millis: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    DistinctRouter,
    DistinctCell,
    HotRouter,
    HotCell,
    /// The other fleet, with a cell that puts one entry into each block.
    HotCellAlone,
    /// Five hundred deposits in each request.
    HotBatch,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::DistinctRouter, Kind::DistinctCell, Kind::HotRouter, Kind::HotCell, Kind::HotCellAlone, Kind::HotBatch];

    /// Deposits in one request.
    fn deposits(self) -> usize {
        if self == Kind::HotBatch { MAX_BATCH_OPERATIONS } else { 1 }
    }

    /// What is asked for below the wallet, and the body.
    fn request(self) -> (&'static str, String) {
        let batch = vec![r#"{"type":"deposit","amount":0.01}"#; MAX_BATCH_OPERATIONS];
        match self {
            Kind::HotBatch => ("transactions:batch", format!(r#"{{"operations":[{}]}}"#, batch.join(","))),
            _ => ("deposit", r#"{"amount":0.01}"#.to_owned()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::DistinctRouter => "distinct wallets, through the router",
            Kind::DistinctCell => "distinct wallets, straight to the cell",
            Kind::HotRouter => "one wallet, through the router",
            Kind::HotCell => "one wallet, straight to the cell",
            Kind::HotCellAlone => "one wallet, straight to the cell, one entry a block",
            Kind::HotBatch => "one wallet, straight to the cell, batches of 500",
        }
    }
}

struct Site {
    fleet: Fleet,
    meter: Meter,
    wallets: Arc<Vec<WalletId>>,
    hot: WalletId,
}

impl Site {
    async fn start(environment: Vec<(String, String)>) -> Self {
        let fleet = Fleet::of(Shape { cells: 1, instances: 1, environment, ..Shape::default() }).await;
        let mut wallets = Vec::new();
        for number in 0..WALLETS {
            wallets.push(fleet.client().create(&format!("user-{number}")).await);
        }
        let hot = fleet.client().create(HOT).await;
        let mut pids = Vec::new();
        for name in PROCESSES {
            pids.push(vec![fleet.pid(name).await]);
        }
        Self { fleet, meter: Meter::new(pids), wallets: Arc::new(wallets), hot }
    }

    /// Deposits from `clients` connections for as long as requested.
    async fn load(&self, kind: Kind, clients: usize, millis: u64) -> Round {
        let base = match kind {
            Kind::DistinctRouter | Kind::HotRouter => self.fleet.ports.router(),
            Kind::DistinctCell | Kind::HotCell | Kind::HotCellAlone | Kind::HotBatch => self.fleet.ports.instance(1, 0),
        };
        let wallets = match kind {
            Kind::DistinctRouter | Kind::DistinctCell => self.wallets.clone(),
            Kind::HotRouter | Kind::HotCell | Kind::HotCellAlone | Kind::HotBatch => Arc::new(vec![self.hot]),
        };
        let (path, body) = kind.request();
        let next = move || {
            let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
            let wallet = wallets[usize::try_from(number).expect("small") % wallets.len()];
            Request { path: format!("{wallet}/{path}"), key: format!("bench-{number}"), body: body.clone() }
        };
        let duration = Duration::from_millis(millis);
        let round =
            Load { base, clients, duration, next, counts: |answer| answer.status == 200 }.run(&self.meter).await;
        assert!(round.others.is_empty(), "{}", round.others[0].1);
        round
    }
}

static REQUESTS: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cli = Cli::parse();
    // What a cell can do, not what it is allowed to.
    let unlimited = ["CTL_MAX_TPS", "ROUTER_MAX_TPS", "ROUTER_WALLET_MAX_TPS"].map(|name| (name.into(), "0".into()));
    let usual = Site::start(unlimited.to_vec()).await;
    let one_entry = ("CELL_MAX_ENTRIES_PER_BLOCK".into(), "1".into());
    let alone = Site::start(unlimited.into_iter().chain([one_entry]).collect()).await;
    let mut outcomes: BTreeMap<(Kind, usize), Outcome> = BTreeMap::new();
    // One round that does not count: connections, caches and files find their size.
    for round in 0..=cli.rounds {
        for clients in CLIENTS {
            for kind in Kind::ALL {
                let site = if kind == Kind::HotCellAlone { &alone } else { &usual };
                let done = site.load(kind, clients, if round > 0 { cli.millis } else { WARM_UP_MS }).await;
                if round > 0 {
                    outcomes.entry((kind, clients)).or_default().add(&done, kind.deposits());
                }
            }
        }
        eprintln!("round {round} of {}", cli.rounds);
    }
    report(&outcomes, cli.rounds, cli.millis);
}

fn report(outcomes: &BTreeMap<(Kind, usize), Outcome>, rounds: u32, millis: u64) {
    println!("Deposits, {rounds} interleaved rounds of {millis} ms each; median throughput of the rounds.\n");
    println!("| deposits on | clients | {HEADER} |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for ((kind, clients), outcome) in outcomes {
        println!("| {} | {clients} | {} |", kind.name(), outcome.columns());
    }
    println!("\n(µs: processor time a deposit of each process, from /proc.)\n");
    println!("| clients | one wallet, deposits/s | one entry a block, deposits/s | ratio (each round) |");
    println!("|--:|--:|--:|--:|");
    for clients in CLIENTS {
        let [shared, alone] = [Kind::HotCell, Kind::HotCellAlone].map(|kind| &outcomes[&(kind, clients)].throughputs);
        println!("| {clients} | {:.0} | {:.0} | {} |", median(shared), median(alone), ratios(shared, alone));
    }
}

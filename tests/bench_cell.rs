//! Load on a local fleet: deposits on distinct wallets and on one hot wallet, through the router and straight to the
//! cell, and the hot wallet with group commit switched off beside it. Prints Markdown. See `scripts/bench-cell`.
//!
//! Everything runs on the machine that it measures, this client too: read ratios, not absolute numbers.

#[allow(dead_code, unused_imports)]
mod fleet;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use fleet::{Fleet, Shape};
use ledger::limits::MAX_BATCH_OPERATIONS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use topology::WalletId;

const CLIENTS: [usize; 3] = [1, 16, 64];
const WALLETS: usize = 256;
/// A distinct wallet for each of these requests, then round again.
const HOT: &str = "merchant";
const PROCESSES: [&str; 3] = ["router", "cell-1-a", "cell-1-db"];
/// The kernel's unit of processor time in /proc.
const TICKS_A_SECOND: f64 = 100.0;

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

/// What one case came to, over all rounds.
#[derive(Default)]
struct Outcome {
    throughputs: Vec<f64>,
    latencies_us: Vec<u32>,
    deposits: u64,
    cpu_s: [f64; PROCESSES.len() + 1],
}

struct Site {
    fleet: Fleet,
    pids: Vec<i32>,
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
            pids.push(fleet.pid(name).await);
        }
        Self { fleet, pids, wallets: Arc::new(wallets), hot }
    }

    fn cpu_s(&self) -> [f64; PROCESSES.len() + 1] {
        let own = i32::try_from(std::process::id()).expect("a process id");
        let mut seconds = [0.0; PROCESSES.len() + 1];
        for (slot, pid) in seconds.iter_mut().zip(self.pids.iter().chain([&own])) {
            *slot = processor_time_s(*pid);
        }
        seconds
    }

    /// Deposits from `clients` connections for as long as requested.
    async fn load(&self, kind: Kind, clients: usize, millis: u64, outcome: &mut Outcome) {
        let base = match kind {
            Kind::DistinctRouter | Kind::HotRouter => self.fleet.ports.router(),
            Kind::DistinctCell | Kind::HotCell | Kind::HotCellAlone | Kind::HotBatch => self.fleet.ports.instance(1, 0),
        };
        let address = base.strip_prefix("http://").expect("a local address").to_owned();
        let wallets = match kind {
            Kind::DistinctRouter | Kind::DistinctCell => self.wallets.clone(),
            Kind::HotRouter | Kind::HotCell | Kind::HotCellAlone | Kind::HotBatch => Arc::new(vec![self.hot]),
        };
        let (before, began) = (self.cpu_s(), Instant::now());
        let end = began + Duration::from_millis(millis);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(client(kind, address.clone(), wallets.clone(), end));
        }
        let latencies: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
        let (took, after) = (began.elapsed(), self.cpu_s());
        let deposits = latencies.len() * kind.deposits();
        outcome.throughputs.push(deposits as f64 / took.as_secs_f64());
        outcome.deposits += deposits as u64;
        outcome.latencies_us.extend(latencies);
        for (sum, (after, before)) in outcome.cpu_s.iter_mut().zip(after.into_iter().zip(before)) {
            *sum += after - before;
        }
    }
}

/// utime + stime; the process's name may hold spaces, so fields count from its closing bracket.
fn processor_time_s(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// One connection: a request, its answer, the next. Plain bytes, so that the client costs next to nothing.
async fn client(kind: Kind, address: String, wallets: Arc<Vec<WalletId>>, end: Instant) -> Vec<u32> {
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(4_096);
    let (path, body) = kind.request();
    while Instant::now() < end {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let wallet = wallets[usize::try_from(number).expect("small") % wallets.len()];
        let request = format!(
            "POST /api/v1/wallets/{wallet}/{path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             idempotency-key: bench-{number}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("it reads");
        read_answer(&mut stream, &mut buffer).await;
        latencies.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    latencies
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let head = loop {
        assert!(stream.read_buf(buffer).await.expect("it answers") > 0, "the connection was closed");
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}{}", String::from_utf8_lossy(&buffer[head..]));
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let whole = head + length.trim().parse::<usize>().expect("a number");
    while buffer.len() < whole {
        assert!(stream.read_buf(buffer).await.expect("it answers") > 0, "the connection was closed");
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn percentile_ms(sorted: &[u32], percent: usize) -> f64 {
    f64::from(sorted[(sorted.len() - 1) * percent / 100]) / 1_000.0
}

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
                let mut unused = Outcome::default();
                let counts = round > 0;
                let outcome = if counts { outcomes.entry((kind, clients)).or_default() } else { &mut unused };
                site.load(kind, clients, if counts { cli.millis } else { 200 }, outcome).await;
            }
        }
        eprintln!("round {round} of {}", cli.rounds);
    }
    report(&mut outcomes, cli.rounds, cli.millis);
}

fn report(outcomes: &mut BTreeMap<(Kind, usize), Outcome>, rounds: u32, millis: u64) {
    println!("Deposits, {rounds} interleaved rounds of {millis} ms each; median throughput of the rounds.\n");
    println!(
        "| deposits on | clients | deposits/s | p50 ms | p99 ms | router µs | cell µs | database µs | client µs |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for ((kind, clients), outcome) in outcomes.iter_mut() {
        outcome.latencies_us.sort_unstable();
        let cpu = outcome.cpu_s.map(|seconds| format!("{:.0}", seconds * 1e6 / outcome.deposits as f64));
        println!(
            "| {} | {clients} | {:.0} | {:.2} | {:.2} | {} |",
            kind.name(),
            median(&outcome.throughputs),
            percentile_ms(&outcome.latencies_us, 50),
            percentile_ms(&outcome.latencies_us, 99),
            cpu.join(" | ")
        );
    }
    println!("\n(µs: processor time a deposit of each process, from /proc.)\n");
    println!("| clients | one wallet, deposits/s | one entry a block, deposits/s | ratio (each round) |");
    println!("|--:|--:|--:|--:|");
    for clients in CLIENTS {
        let (shared, alone) = (&outcomes[&(Kind::HotCell, clients)], &outcomes[&(Kind::HotCellAlone, clients)]);
        let each = shared.throughputs.iter().zip(&alone.throughputs).map(|(shared, alone)| shared / alone);
        let each: Vec<f64> = each.collect();
        let rounds = each.iter().map(|ratio| format!("{ratio:.1}")).collect::<Vec<_>>().join(", ");
        println!(
            "| {clients} | {:.0} | {:.0} | {:.1} ({rounds}) |",
            median(&shared.throughputs),
            median(&alone.throughputs),
            median(&each)
        );
    }
}

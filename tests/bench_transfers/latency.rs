//! How long a client waits for a transfer when the database takes as long as DynamoDB does: one connection, one request
//! after another, each kind in turn.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use crate::bench::figures::{machine, percentile_ms};
use crate::site::{Plan, Site, deposit, transfer};

const CELLS: u16 = 2;
/// Pairs of wallets, in turn: a transfer does not wait for the one before.
const PAIRS: usize = 32;

#[derive(clap::Args)]
pub struct Args {
    /// Requests of each kind, at most 5,000
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    times: u32,
    /// Milliseconds that each PutItem takes longer
    #[arg(long, default_value_t = 7)]
    put_ms: u64,
    /// Milliseconds that each TransactWriteItems takes longer
    #[arg(long, default_value_t = 25)]
    transaction_ms: u64,
    /// Measure the programs in this folder [default: those of this build]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

pub async fn run(args: &Args) {
    let (machine, programs) = (machine(), args.bin_dir.clone());
    let plan = Plan { cells: CELLS, wallets_per_cell: 3 * PAIRS, programs, environment: vec![] };
    let mut site = Site::start(plan).await;
    let latencies = json!({ "PutItem": args.put_ms, "TransactWriteItems": args.transaction_ms });
    for cell in 1..=CELLS {
        site.fleet.faults(cell, Some(json!({ "latency_ms_by_operation": latencies }))).await;
    }
    let kinds = ["transfer between cells", "transfer inside a cell", "deposit"];
    let (mut connection, mut latencies_us) = (site.connect().await, kinds.map(|_| Vec::new()));
    let (near, far) = (&site.wallets[0], &site.wallets[1]);
    for turn in 0..args.times as usize {
        let pair = turn % PAIRS;
        let requests = [
            transfer(near[pair], far[pair]),
            transfer(near[pair + PAIRS], near[pair + 2 * PAIRS]),
            deposit(far[pair + PAIRS]),
        ];
        for (request, latencies_us) in requests.iter().zip(&mut latencies_us) {
            let began = Instant::now();
            let answer = connection.send(request).await.expect("the router answers");
            let took = began.elapsed();
            assert!(answer.status == 200, "{}", answer.label());
            latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }
    site.deposited_cents(args.times as usize);
    println!(
        "{machine}; one connection, {} of each in turn; each PutItem takes {} ms longer, each\nTransactWriteItems {} ms.\n",
        args.times, args.put_ms, args.transaction_ms
    );
    println!("| what | p50 ms | p99 ms |\n|---|--:|--:|");
    for (kind, mut latencies_us) in kinds.iter().zip(latencies_us) {
        latencies_us.sort_unstable();
        let [p50, p99] = [50, 99].map(|percent| percentile_ms(&latencies_us, percent));
        println!("| {kind} | {p50:.1} | {p99:.1} |");
    }
    println!("\n{}.", site.check_money().await);
}

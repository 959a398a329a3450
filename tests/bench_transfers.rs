//! What transfers are worth, on local fleets of several cells: how many a second, how long one takes with a database as
//! slow as DynamoDB, and what each operation writes. Prints Markdown. See `scripts/bench-transfers`,
//! `scripts/measure/transfer-latency` and `scripts/measure/write-units`.
//!
//! Everything goes through the public API and `ctl`, so that the programs of another build are measured in the same way;
//! only which cell has which bucket is read from the tables.

#[allow(dead_code)]
mod bench;
#[allow(dead_code, unused_imports)]
mod fleet;
#[path = "bench_transfers/latency.rs"]
mod latency;
#[path = "bench_transfers/round_trips.rs"]
mod round_trips;
#[path = "bench_transfers/site.rs"]
mod site;
#[path = "bench_transfers/throughput.rs"]
mod throughput;
#[path = "bench_transfers/write_units.rs"]
mod write_units;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measure transfers on local fleets")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Transfers a second between cells and inside one, and deposits, from 16 and 64 connections
    Throughput(throughput::Args),
    /// How long a transfer takes with a slow database, from one connection
    Latency(latency::Args),
    /// What each operation writes, and how many writes it waits for
    WriteUnits(write_units::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match Cli::parse().verb {
        Verb::Throughput(args) => throughput::run(&args).await,
        Verb::Latency(args) => latency::run(&args).await,
        Verb::WriteUnits(args) => write_units::run(&args).await,
    }
}

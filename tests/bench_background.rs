//! What the background work of a cell costs, and how soon it is done, by the number of the cell's wallets: checkpoints,
//! events and the archive, while wallets are paid into that the cell has not loaded. Prints Markdown. See
//! `scripts/bench-background`.
//!
//! One instance serves and another does the background work, over one database that counts what both read and write. So
//! what deposits cost alone is measured before, and subtracted.

#[allow(dead_code)]
mod bench;
#[path = "bench_background/checkpoints.rs"]
mod checkpoints;
#[path = "bench_background/deposits.rs"]
mod deposits;
#[path = "bench_background/events.rs"]
mod events;
#[path = "bench_background/figures.rs"]
mod figures;
#[path = "bench_background/filling.rs"]
mod filling;
#[allow(dead_code, unused_imports)]
mod fleet;
#[path = "bench_background/measuring.rs"]
mod measuring;
#[path = "bench_background/site.rs"]
mod site;
#[path = "bench_background/walk.rs"]
mod walk;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Measure the background work of a cell, by the number of its wallets")]
struct Cli {
    /// Numbers of wallets, one cell after the other
    #[arg(default_values_t = [1_000, 1_000_000])]
    wallets: Vec<usize>,
    /// Seconds of each part: deposits alone, nothing, and deposits with all background work, at most 300
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=300))]
    seconds: u64,
    /// Deposits a second, at most 2,000
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=2_000))]
    rate: u64,
    /// Wallets of a cell that has no archive yet, and is watched while it gets one; 0: none
    #[arg(long, default_value_t = 2_000)]
    walk: usize,
    /// Milliseconds that the database of that cell adds to each call, as one elsewhere does
    #[arg(long, default_value_t = 5)]
    walk_latency: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cli = Cli::parse();
    println!("{}\n", bench::figures::machine());
    if cli.walk > 0 {
        walk::run(cli.walk, 0).await;
        walk::run(cli.walk, cli.walk_latency).await;
    }
    let mut columns = Vec::new();
    for wallets in &cli.wallets {
        columns.push(measuring::run(*wallets, cli.rate, cli.seconds).await);
    }
    measuring::print(&columns);
}

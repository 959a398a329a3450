//! `ctl load`: how much load, of which kinds, and where it goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use load_generator::mix::{self, Mix};

#[derive(Args)]
pub struct LoadArgs {
    /// Requests a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub rate: u32,
    #[arg(long, default_value = "30s", value_parser = mix::duration)]
    pub duration: Duration,
    /// Wallets to create, each with a first deposit, before the clock starts.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub wallets: u32,
    /// Shares of creates, deposits, withdrawals, transfers and reads.
    #[arg(long, default_value = "deposits:40,withdrawals:20,transfers:20,reads:20")]
    pub mix: Mix,
    /// Percent of the transfers that go to another cell; default: as it comes.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub cross_share: Option<u8>,
    /// The same seed asks the same of the same customers.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Repeat what failed under the same key, as a good client does.
    #[arg(long)]
    pub retry: bool,
    /// How long one attempt may take.
    #[arg(long, default_value = "10s", value_parser = mix::duration)]
    pub patience: Duration,
    /// Base URL of the router; default: that of the local fleet in --data.
    #[arg(long)]
    pub router: Option<String>,
    /// Write the summary and its course in time as JSON.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Write every request and what became of it, one JSON object a line.
    #[arg(long)]
    pub journal: Option<PathBuf>,
}

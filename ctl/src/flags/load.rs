//! `ctl load`: how much load, of which kinds, and where it goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use load_generator::mix::{self, Mix};
use topology::CellId;

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
    /// Base URL of the router, http:// or https://; default: that of the local fleet in --data. One on another machine
    /// needs --most-customers.
    #[arg(long)]
    pub router: Option<String>,
    /// Token of a service that may create and read wallets, deposit, withdraw and transfer; on a secure fleet of your own
    /// in --data one is made.
    #[arg(long, env = "CTL_ROUTER_TOKEN", hide_env_values = true, requires = "router")]
    pub router_token: Option<String>,
    /// PEM file of the authorities to believe when --router is https.
    #[arg(long, env = "CTL_ROUTER_CA", requires = "router")]
    pub router_ca: Option<PathBuf>,
    /// How many customers it may create; they stay. Default, on this machine: as many as it takes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub most_customers: Option<u32>,
    /// Only with customers of these cells, separated by commas; needs a mix without creates.
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<CellId>,
    /// Judge the load by the objectives in this file [default: those that ctl was built with]; exit code 6 if one is not
    /// kept, or is not known.
    #[arg(long, num_args = 0..=1, value_name = "FILE")]
    pub slo: Option<Option<PathBuf>>,
    /// Write the summary and its course in time as JSON.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Write every request and what became of it, one JSON object a line.
    #[arg(long)]
    pub journal: Option<PathBuf>,
}

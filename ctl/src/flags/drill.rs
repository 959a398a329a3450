//! `ctl drill`: what to break, on how large a fleet, and under which load.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use load_generator::mix;

/// Processes per cell: one may be killed.
pub const INSTANCES: u16 = 2;

#[derive(Subcommand)]
pub enum DrillVerb {
    /// What can be drilled.
    List,
    /// Start a fleet, put load on it, break it, heal it, check it.
    Run(RunArgs),
    /// Print the report of a drill that was run.
    Report {
        name: String,
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(Args)]
pub struct RunArgs {
    /// One of `ctl drill list`.
    pub name: String,
    /// First port of the drill's fleet, which takes one hundred, with two Regions two hundred.
    #[arg(long, default_value_t = 32_000, value_parser = clap::value_parser!(u16).range(1024..=60_000))]
    pub port: u16,
    /// Requests a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: Option<u32>,
    /// Of the load: a second to warm up, then a quarter before, a half during, a quarter after the event.
    #[arg(long, value_parser = mix::duration)]
    pub duration: Option<Duration>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub wallets: Option<u32>,
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=4))]
    pub cells: Option<u16>,
    #[arg(long, help = format!("Processes per cell [default: {INSTANCES}]"), value_parser = clap::value_parser!(u16).range(2..=8))]
    pub instances: Option<u16>,
    #[arg(long)]
    pub seed: Option<u64>,
    /// As short and small as a test wants it; what is given explicitly still holds.
    #[arg(long)]
    pub small: bool,
    /// Directory for report.md, report.json and latency.svg; default: .drills/NAME.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Leave the fleet's directory behind.
    #[arg(long)]
    pub keep: bool,
}

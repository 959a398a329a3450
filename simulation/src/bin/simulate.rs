//! Runs the simulator over many seeds. Exits with 1 at the first violation, printing its seed.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulation::{Mistake, Size, run};

#[derive(Parser)]
#[command(about = "Run the real cell code under seeded faults")]
struct Cli {
    /// First seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print what each seed did
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = Instant::now();
    let (mut entries, mut moves) = (0, 0);
    for seed in cli.seed..cli.seed.saturating_add(cli.seeds) {
        match run(seed, Size::default(), Mistake::None) {
            Ok(report) => {
                entries += report.entries;
                moves += report.moves;
                if cli.verbose {
                    println!("seed {seed}: {report}");
                }
            }
            Err(violation) => {
                println!("seed {seed}: VIOLATION: {}", violation.0);
                println!("replay: cargo run -p simulation --bin simulate -- --seed {seed} --verbose");
                return ExitCode::FAILURE;
            }
        }
    }
    let (seeds, took) = (cli.seeds, started.elapsed().as_secs_f64());
    println!("{seeds} seeds, {entries} entries, {moves} moves, no violation, {took:.1} s");
    ExitCode::SUCCESS
}

//! The grammar of `ctl deploy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use control_api::{DEFAULT_BASELINE_SECONDS, DEFAULT_RISE_PERCENT, DEFAULT_SLOWER_BY_MS, DeployId, Program};
use topology::Version;

use super::operations::Waiting;

#[derive(Subcommand)]
pub enum Deploy {
    /// Show the waves and what is needed to judge them; exit code 3 if there is anything to do.
    Plan(Wanted),
    /// Begin, and follow it to its end.
    Start(Start),
    /// A deploy with its waves and verdicts; the newest one, if none is named.
    Status {
        deploy: Option<DeployId>,
    },
    List {
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    Pause {
        deploy: Option<DeployId>,
    },
    /// Go on with a paused one; one that was undecided is watched again.
    Resume {
        deploy: Option<DeployId>,
        #[command(flatten)]
        wait: Waiting,
    },
    /// On to the next wave, whatever the figures say; with --reason.
    Promote {
        deploy: Option<DeployId>,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Put back what ran before, also after the end.
    Rollback {
        deploy: Option<DeployId>,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Follow it to its end.
    Watch {
        deploy: Option<DeployId>,
        #[command(flatten)]
        wait: Waiting,
    },
}

#[derive(Args, Clone)]
pub struct Wanted {
    /// What gets the version: cells, or routers, of which the first is the canary.
    #[arg(long, default_value_t = Program::Cells)]
    pub of: Program,
    /// What the build is called.
    #[arg(long)]
    pub version: Version,
    #[arg(long, help = format!("Seconds for which a wave is watched before, for comparison \
        [default: {DEFAULT_BASELINE_SECONDS}, or the bake if that is shorter]"))]
    pub baseline_seconds: Option<u64>,
    /// Seconds for which each wave is watched at least [default: bake_seconds of cells.toml]
    #[arg(long)]
    pub bake_seconds: Option<u64>,
    /// Seconds more that are waited for enough requests, before an operator is asked [default:
    /// twice the bake]
    #[arg(long)]
    pub wait_seconds: Option<u64>,
    #[arg(long, help = format!("Percentage points by which the error rate may not rise unnoticed [default: {DEFAULT_RISE_PERCENT}]"))]
    pub rise_percent: Option<f64>,
    #[arg(long, help = format!("Milliseconds by which requests have to be slower to be called so [default: {DEFAULT_SLOWER_BY_MS}]"))]
    pub slower_by_ms: Option<u64>,
}

#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    pub wanted: Wanted,
    /// Local fleet: the program's build of this version, if the fleet has none yet.
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// The same as `ctl deploy plan`.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Follow the deploy of this version that is under way, if there is one; fail if the version was rolled back before.
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub wait: Waiting,
}

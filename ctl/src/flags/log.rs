//! `ctl log`: what is logged, and by which processes.

use clap::{Args, Subcommand};
use topology::CellId;

#[derive(Subcommand)]
pub enum LogVerb {
    /// What is logged now; of all cells and the control plane, unless some are named.
    Show(Processes),
    /// Log this from now on, until it is changed or the process restarts: a level, or `level,target=level,…`.
    Set {
        filter: String,
        #[command(flatten)]
        processes: Processes,
    },
}

#[derive(Args)]
pub struct Processes {
    /// All instances of a cell.
    #[arg(long)]
    pub cell: Option<CellId>,
    /// One instance of a cell.
    #[arg(long, conflicts_with = "cell")]
    pub instance: Option<String>,
    /// The router with this admin address, `http://host:port`; without one, that of the local fleet.
    #[arg(long, num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["cell", "instance"])]
    pub router: Option<String>,
    #[arg(long, conflicts_with_all = ["cell", "instance", "router"])]
    pub control_plane: bool,
}

//! The grammar of `ctl ledger`.

use clap::{Args, Subcommand};
use topology::{CellId, WalletId};

#[derive(Subcommand)]
pub enum Ledger {
    /// Verify chains and their rows from the tables: of one wallet, of one cell, or of all cells.
    Verify(Verify),
    /// Print a wallet's chain as JSON lines, for scripts/verify-chain.
    Export {
        #[arg(long)]
        wallet: WalletId,
    },
    /// What verification has found broken: by the cells themselves, and by the witness.
    Findings(OfCell),
    /// What cells have committed to.
    #[command(subcommand)]
    Checkpoint(Checkpoint),
}

#[derive(Args)]
pub struct Verify {
    #[arg(long, conflicts_with = "cell")]
    pub wallet: Option<WalletId>,
    #[arg(long)]
    pub cell: Option<CellId>,
}

#[derive(Args)]
pub struct OfCell {
    /// Default: all cells.
    #[arg(long)]
    pub cell: Option<CellId>,
}

#[derive(Subcommand)]
pub enum Checkpoint {
    /// The checkpoints that the witness keeps, newest first.
    List {
        #[arg(long)]
        cell: Option<CellId>,
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Verify signatures, links, the tree, agreement with the witness, and every leaf against the chains.
    Verify(OfCell),
}

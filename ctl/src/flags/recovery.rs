//! `ctl cell export` and `ctl cell restore`.

use std::path::PathBuf;

use clap::Args;
use topology::CellId;

#[derive(Args)]
pub struct ExportCell {
    pub id: CellId,
    /// File to write; it gets this name once it is whole.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

#[derive(Args)]
pub struct RestoreCell {
    pub id: CellId,
    /// What `ctl cell export` wrote.
    #[arg(long, value_name = "FILE", required_unless_present = "in_place")]
    pub from: Option<PathBuf>,
    /// The tables are not empty: they were rewound by point-in-time recovery. What other cells know of the time since is
    /// put into them; an export may be given as well.
    #[arg(long)]
    pub in_place: bool,
    /// Only what was written until then, such as `2026-01-02T03:04:05Z`.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Answers of `GET /api/v1/events?cell=…` that were kept: to name what is lost. May be given
    /// more than once.
    #[arg(long, value_name = "FILE")]
    pub events: Vec<PathBuf>,
}

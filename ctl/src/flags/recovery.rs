//! `ctl cell export` and `ctl cell restore`.

use std::ffi::OsString;
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

/// Where the chains of a cell are restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Archive,
    File(PathBuf),
}

impl From<OsString> for Source {
    fn from(text: OsString) -> Self {
        if text == "archive" { Self::Archive } else { Self::File(text.into()) }
    }
}

#[derive(Args)]
pub struct RestoreCell {
    pub id: CellId,
    /// `archive`: the cell's archive, as the control plane's --archive says where it is. Else what `ctl cell export` wrote;
    /// a file named archive is `./archive`.
    #[arg(long, value_name = "archive|FILE", required_unless_present = "in_place")]
    pub from: Option<Source>,
    /// The tables are not empty: they were rewound by point-in-time recovery. What other cells know of the time since is
    /// put into them; the archive or an export may be given as well.
    #[arg(long)]
    pub in_place: bool,
    /// Only what was written until then, such as `2026-01-02T03:04:05Z`. Of an export only.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Answers of `GET /api/v1/events?cell=…` that were kept: to name what is lost. May be given
    /// more than once.
    #[arg(long, value_name = "FILE")]
    pub events: Vec<PathBuf>,
}

#[derive(Args)]
pub struct FailOver {
    /// Cells that go there together.
    #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
    pub ids: Vec<CellId>,
    /// Every cell of this Region, which is lost, that has its standby in --to.
    #[arg(long, value_name = "REGION")]
    pub all_of: Option<String>,
    /// The Region of the cells' standby: `ctl cell list`.
    #[arg(long, value_name = "REGION")]
    pub to: String,
    /// Answers of `GET /api/v1/events?cell=…` that were kept: to name what is lost. May be given
    /// more than once.
    #[arg(long, value_name = "FILE")]
    pub events: Vec<PathBuf>,
}

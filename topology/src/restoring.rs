//! A cell whose chains are being written back from an export. While that lasts, no process of the cell may serve: what is
//! there of a wallet may be half of it.

use serde::{Deserialize, Serialize};

/// The list of a cell's rows, and the key in it, under which a [`Restoring`] is kept as JSON.
pub const LIST: &str = "restore";
pub const KEY: &str = "state";

/// Absent where the cell was never restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restoring {
    pub done: bool,
    /// The cell was restored before, and takes further exports.
    #[serde(default)]
    pub again: bool,
    /// Blocks of some wallets are missing: further exports may have them.
    #[serde(default)]
    pub incomplete: bool,
    /// The tables follow the archive of a cell that serves in another Region, and hold every chain of it.
    #[serde(default)]
    pub mirror: bool,
    /// The tables hold what they held at an earlier time; other cells know what came after.
    #[serde(default)]
    pub in_place: bool,
    /// RFC 3339.
    pub since: String,
    pub actor: String,
    pub reason: String,
}

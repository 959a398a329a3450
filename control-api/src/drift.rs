//! How `cells.toml` and the registry differ. The registry is the truth after the first start; the file is what the next
//! process, the next stack and the next reader take for it.

use serde::{Deserialize, Serialize};
use topology::CellId;

/// `GET /v1/drift`: one thing of one cell that the two say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub cell: CellId,
    /// As `cells.toml` calls it; `cell`: whether the cell is there at all.
    pub what: String,
    /// Absent: the file does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<String>,
    /// Absent: the registry does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
}

//! In which Region a cell serves. Each of its two sets of tables says so in a row of its own, so that a process learns of it
//! without asking another Region.

use serde::{Deserialize, Serialize};

/// The list of a cell's rows, and the key in it, under which a [`Homed`] is kept as JSON.
pub const LIST: &str = "region";
pub const KEY: &str = "home";

/// Absent where the cell has never changed its Region: then its first one serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Homed {
    /// The Region that serves.
    pub region: String,
    /// How often it has changed. Of two rows, the one with the higher number is right.
    pub epoch: u64,
    /// RFC 3339.
    pub since: String,
    pub actor: String,
    pub reason: String,
}

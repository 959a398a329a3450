//! What travels when operators look at, or change, what processes log.

use serde::{Deserialize, Serialize};

use crate::Because;

/// Body of `PUT /v1/log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetLog {
    pub filter: String,
    #[serde(flatten)]
    pub because: Because,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogView {
    pub process: String,
    /// Absent where the process did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

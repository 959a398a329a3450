//! What travels when a zone is left and taken again.

use serde::{Deserialize, Serialize};
use topology::{CellId, ZoneId};

use crate::Because;

/// An hour.
pub const SECONDS_DEFAULT: u32 = 3_600;

/// Body of `POST /v1/zones/{zone}/evacuate`. Asked again, it lasts until that long from then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvacuateZone {
    /// After which the zone is taken again by itself.
    #[serde(default = "seconds_default")]
    pub seconds: u32,
    /// Also if too little stays; needs a reason.
    #[serde(default)]
    pub force: bool,
    #[serde(flatten)]
    pub because: Because,
}

fn seconds_default() -> u32 {
    SECONDS_DEFAULT
}

/// One zone as `GET /v1/zones` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneView {
    pub zone: ZoneId,
    /// RFC 3339; absent where the zone is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_until: Option<String>,
    pub cells: Vec<ZoneCell>,
    /// Absent where this control plane has no health check for the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// What a cell has in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneCell {
    pub cell: CellId,
    pub instances: usize,
    pub ready: usize,
}

/// Whether Route 53 answers with the zone's routers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Dns {
    /// Not asked yet.
    Unknown,
    Answers,
    Left,
    /// It is not known to be as it should.
    Failing {
        why: String,
    },
}

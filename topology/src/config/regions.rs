//! In which AWS Region a cell is, and in which one a second set of its tables waits.

use serde::{Deserialize, Serialize};

use super::{CellConfig, Deployment, InstanceConfig};

/// The second Region of a cell: `[cells.standby]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandbyConfig {
    pub region: String,
    #[serde(default)]
    pub replication: Replication,
    #[serde(default)]
    pub instances: Vec<InstanceConfig>,
    /// DynamoDB endpoint of the tables there; absent on AWS.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// How the tables of the second Region get what was written in the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// They follow the cell's archive. What was not archived is lost with the first Region: seconds.
    #[default]
    Archive,
    /// They are the same DynamoDB global table, with multi-Region strong consistency. Nothing is lost; each write waits for
    /// the other Region.
    GlobalTable,
}

impl CellConfig {
    /// AWS Region of the cell's tables and processes.
    pub fn region_in<'a>(&'a self, deployment: &'a Deployment) -> &'a str {
        self.region.as_deref().unwrap_or(&deployment.region)
    }
}

/// The first rule that is broken, and by what.
pub(super) fn broken(deployment: &Deployment, cells: &[CellConfig]) -> Option<String> {
    cells.iter().find_map(|cell| {
        let region = cell.region_in(deployment);
        let standby = cell.standby.as_ref().map(|standby| standby.region.as_str());
        if let Some(unsound) = [Some(region), standby].into_iter().flatten().find(|name| !is_sound(name)) {
            return Some(format!("{}: not the name of a Region: {unsound:?}", cell.id));
        }
        (standby == Some(region)).then(|| format!("{}: its standby is in its own Region, {region}", cell.id))
    })
}

/// As AWS names Regions: lower-case letters, digits and hyphens.
pub fn is_sound(region: &str) -> bool {
    (1..=32).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

//! `cells.toml`: what a deployment consists of. Read once at start; the control plane's registry is the truth after
//! the first start, and tells how the two differ. `cdk/` reads the same file by the same rules: `topology/fixtures` holds
//! files that both must take, or refuse.

pub mod aws;
pub mod deploys;
pub mod instances;
pub mod regions;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{CellId, ZoneId};
use crate::role::Role;
pub use aws::Aws;
pub use deploys::Deploys;
pub use instances::InstanceConfig;
pub use regions::{Replication, StandbyConfig};

/// Most cells a deployment may have.
pub const MAX_CELLS: usize = 1_000;
/// Most zones of a region that instances may stand in.
pub const MAX_ZONES: usize = 6;
/// Most customers that a cell may declare: what every JSON reader takes as a whole number, and a sum over all cells holds.
pub const MAX_CUSTOMERS: u64 = (1 << 53) - 1;
const _: () = assert!((u64::MAX / MAX_CUSTOMERS) as usize > MAX_CELLS);
/// Least and most days that blocks stay in a cell's table, if they are taken out at all. The least is longer than a hold
/// may last, so that what a customer may still act on is at hand.
pub const HISTORY_DAYS: RangeInclusive<u32> = 35..=36_500;
/// Writes a second of a cell of which nothing else is said.
pub const DEFAULT_MAX_TPS: u32 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cells.toml: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("cells.toml: {0}")]
    Rule(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub deployment: Deployment,
    #[serde(default)]
    pub deploys: Deploys,
    /// What only `cdk/` needs: accounts and names. Absent where nothing runs on AWS.
    #[serde(default)]
    pub aws: Option<Aws>,
    #[serde(default)]
    pub cells: Vec<CellConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub name: String,
    /// Wallet ids are UUIDv5 of user ids in this namespace. It can never change: every wallet id would.
    pub namespace: Uuid,
    /// AWS Region of the control plane's tables, and of each cell that names no other.
    pub region: String,
    /// Where instances may stand. Empty: zones are not distinguished.
    #[serde(default)]
    pub zones: Vec<ZoneId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellConfig {
    pub id: CellId,
    /// Share of the buckets, relative to the other cells' weights. 0: gets none.
    #[serde(default = "one")]
    pub weight: u32,
    /// Writes a second that the cell is tested for; its processes, each for its part, refuse what comes beyond.
    #[serde(default = "default_max_tps")]
    pub max_tps: u32,
    /// Customers that the cell is tested for; onboarding goes elsewhere above it. No wallet is refused for it.
    #[serde(default = "default_max_customers")]
    pub max_customers: u64,
    /// Where each instance is; the local fleet assigns them itself.
    #[serde(default)]
    pub instances: Vec<InstanceConfig>,
    /// DynamoDB endpoint of the cell's tables; absent on AWS, where region and account decide.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// AWS account of the cell, twelve digits: its own, and no other cell's.
    #[serde(default)]
    pub account: Option<String>,
    /// AWS Region of the cell, if not the deployment's.
    #[serde(default)]
    pub region: Option<String>,
    /// Where the cell goes when its Region is lost.
    #[serde(default)]
    pub standby: Option<StandbyConfig>,
    /// Days that blocks stay in the cell's table, at least; then they are in its archive only. Absent: for ever.
    #[serde(default)]
    pub history_days: Option<u32>,
}

impl CellConfig {
    /// The part of the cell's writes a second that falls to one process of `role`: processes that do the same share.
    pub fn tps_of_one(&self, role: Role) -> u32 {
        let alike = self.instances.iter().filter(|instance| instance.role == role).count();
        part_of(self.max_tps, u32::try_from(alike).unwrap_or(u32::MAX))
    }
}

/// What one of `sharers` takes of `tps`, rounded up, so that a small part is never "without limit".
pub fn part_of(tps: u32, sharers: u32) -> u32 {
    tps.div_ceil(sharers.max(1))
}

fn one() -> u32 {
    1
}

fn default_max_tps() -> u32 {
    DEFAULT_MAX_TPS
}

fn default_max_customers() -> u64 {
    1_000_000
}

impl Config {
    /// Parses and checks the text of `cells.toml`; the error says which rule is broken and by what.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.broken().map_or(Ok(()), |what| Err(ConfigError::Rule(what)))
    }

    /// The first rule that is broken, and by what.
    fn broken(&self) -> Option<String> {
        if self.cells.is_empty() {
            return Some("no [[cells]]: list at least one".into());
        }
        if self.cells.len() > MAX_CELLS {
            return Some(format!("{} cells; at most {MAX_CELLS}", self.cells.len()));
        }
        if let Some(id) = twice(self.cells.iter().map(|cell| &cell.id)) {
            return Some(format!("cell {id} is listed twice"));
        }
        if self.cells.iter().all(|cell| cell.weight == 0) {
            return Some("every cell has weight 0: no cell could own a bucket".into());
        }
        if let Some(cell) = self.cells.iter().find(|cell| cell.max_customers > MAX_CUSTOMERS) {
            return Some(format!("{}: max_customers {}; at most {MAX_CUSTOMERS}", cell.id, cell.max_customers));
        }
        if let Some((id, days)) = self.cells.iter().find_map(|cell| {
            let days = cell.history_days.filter(|days| !HISTORY_DAYS.contains(days))?;
            Some((&cell.id, days))
        }) {
            let (least, most) = HISTORY_DAYS.into_inner();
            return Some(format!("{id}: history_days {days}; {least} to {most}"));
        }
        self.broken_zones()
            .or_else(|| regions::broken(&self.deployment, &self.cells))
            .or_else(|| self.deploys.broken(self.cells.iter().map(|cell| &cell.id)))
            .or_else(|| aws::broken(self.aws.as_ref(), &self.deployment, &self.cells))
    }

    fn broken_zones(&self) -> Option<String> {
        let zones = &self.deployment.zones;
        if zones.len() > MAX_ZONES {
            return Some(format!("{} zones; at most {MAX_ZONES}", zones.len()));
        }
        if let Some(zone) = twice(zones.iter()) {
            return Some(format!("zone {zone} is listed twice"));
        }
        let mut named = self.cells.iter().flat_map(|cell| cell.instances.iter().map(move |one| (cell, one)));
        let stray = named.find_map(|(cell, one)| Some((cell, one.zone.as_ref()?)).filter(|(_, z)| !zones.contains(z)));
        stray.map(|(cell, zone)| format!("{} has an instance in zone {zone}, which deployment.zones lacks", cell.id))
    }
}

/// The first that comes a second time.
fn twice<'a, T: PartialEq + 'a>(mut all: impl Iterator<Item = &'a T> + Clone) -> Option<&'a T> {
    let again = all.clone();
    let mut position = 0;
    all.find(|one| {
        position += 1;
        again.clone().take(position - 1).any(|earlier| earlier == *one)
    })
}

#[cfg(test)]
mod tests;

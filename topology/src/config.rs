//! `cells.toml`: what a deployment consists of. Read once at start; the control plane's registry is the truth after
//! the first start, and tells how the two differ.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::CellId;
use crate::role::Role;

/// Most cells a deployment may have.
pub const MAX_CELLS: usize = 1_000;
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
    pub cells: Vec<CellConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    pub name: String,
    /// Wallet ids are UUIDv5 of user ids in this namespace. It can never change: every wallet id would.
    pub namespace: Uuid,
    /// AWS region of the tables.
    pub region: String,
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
    /// Customers that the cell is tested for; onboarding goes elsewhere above it.
    #[serde(default = "default_max_customers")]
    pub max_customers: u64,
    /// Where each instance is; the local fleet assigns them itself.
    #[serde(default)]
    pub instances: Vec<InstanceConfig>,
    /// DynamoDB endpoint of the cell's tables; absent on AWS, where region and account decide.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// `"host:port"`, or `{ address = "host:port", role = "accounts" }` where processes share the work by role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct InstanceConfig {
    pub address: String,
    pub role: Role,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Address(String),
    WithRole(WithRole),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithRole {
    address: String,
    role: Role,
}

impl From<Written> for InstanceConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Address(address) => Self { address, role: Role::All },
            Written::WithRole(WithRole { address, role }) => Self { address, role },
        }
    }
}

impl From<InstanceConfig> for Written {
    fn from(InstanceConfig { address, role }: InstanceConfig) -> Self {
        if role.is_all() { Self::Address(address) } else { Self::WithRole(WithRole { address, role }) }
    }
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
        let broken = |what: String| Err(ConfigError::Rule(what));
        if self.cells.is_empty() {
            return broken("no [[cells]]: list at least one".into());
        }
        if self.cells.len() > MAX_CELLS {
            return broken(format!("{} cells; at most {MAX_CELLS}", self.cells.len()));
        }
        for (position, cell) in self.cells.iter().enumerate() {
            if self.cells[..position].iter().any(|other| other.id == cell.id) {
                return broken(format!("cell {} is listed twice", cell.id));
            }
        }
        if self.cells.iter().all(|cell| cell.weight == 0) {
            return broken("every cell has weight 0: no cell could own a bucket".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str =
        "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='us-east-1'\n";

    #[test]
    fn a_cell_needs_only_its_id() {
        let config = Config::parse(&format!("{DEPLOYMENT}[[cells]]\nid='cell-1'\n")).expect("sound");
        assert_eq!((config.cells[0].weight, config.cells[0].max_customers), (1, 1_000_000));
    }

    #[test]
    fn instances_are_addresses_and_may_have_roles() {
        let cells = "[[cells]]\nid='a'\nmax_tps=5\n\
                     instances=['h:1', {address='h:2', role='accounts'}, 'h:3']\n";
        let config = Config::parse(&format!("{DEPLOYMENT}{cells}")).expect("sound");
        let cell = &config.cells[0];
        let found: Vec<_> = cell.instances.iter().map(|one| (one.address.as_str(), one.role)).collect();
        assert_eq!(found, [("h:1", Role::All), ("h:2", Role::Accounts), ("h:3", Role::All)]);
        assert_eq!((cell.tps_of_one(Role::All), cell.tps_of_one(Role::Accounts)), (3, 5));
        let text = toml::to_string(&config).expect("plain");
        assert_eq!(Config::parse(&text).expect("sound"), config);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (cells, words) in [
            ("", "no [[cells]]"),
            ("[[cells]]\nid='a'\n[[cells]]\nid='a'\n", "listed twice"),
            ("[[cells]]\nid='a'\nweight=0\n", "weight 0"),
            ("[[cells]]\nid='A'\n", "a cell id is"),
            ("[[cells]]\nid='a'\nwieght=2\n", "unknown field"),
        ] {
            let error = Config::parse(&format!("{DEPLOYMENT}{cells}")).expect_err(cells).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

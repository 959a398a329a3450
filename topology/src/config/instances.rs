//! One process of a cell, as `cells.toml` names it.

use serde::{Deserialize, Serialize};

use crate::ids::ZoneId;
use crate::role::Role;

/// `"host:port"`, or `{ address = "host:port", role = "accounts", zone = "us-east-1a" }` where processes share the work
/// by role or stand in zones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct InstanceConfig {
    pub address: String,
    pub role: Role,
    pub zone: Option<ZoneId>,
}

impl InstanceConfig {
    /// One that does everything, without a zone.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), role: Role::All, zone: None }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Address(String),
    InFull(InFull),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InFull {
    address: String,
    #[serde(default, skip_serializing_if = "Role::is_all")]
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<ZoneId>,
}

impl From<Written> for InstanceConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Address(address) => Self::at(address),
            Written::InFull(InFull { address, role, zone }) => Self { address, role, zone },
        }
    }
}

impl From<InstanceConfig> for Written {
    fn from(InstanceConfig { address, role, zone }: InstanceConfig) -> Self {
        match (role, &zone) {
            (Role::All, None) => Self::Address(address),
            _ => Self::InFull(InFull { address, role, zone }),
        }
    }
}

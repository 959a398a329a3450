//! What a local fleet consists of, as `fleet.json` in its directory remembers it: first port and cells.
//!
//! It must never forget a cell: customers may live there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use control_api::{CellSpec, CellTables, Standby};
use serde::{Deserialize, Serialize};
use topology::config::{Replication, part_of};
use topology::placement::InstanceEntry;
use topology::{CellConfig, CellId, Config, InstanceId, Role, Version, ZoneId};

use crate::ports::Ports;
use crate::regions::{Regions, Side};

/// Of a fleet that is new.
pub const FIRST_PORT: u16 = 8080;
pub const INSTANCES: u16 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    pub port: u16,
    /// Processes per cell, for cells still to come.
    pub instances: u16,
    pub region: String,
    /// Without Regions; at most as many as have names.
    #[serde(default = "one")]
    pub routers: u16,
    /// Of routers, by name, that run another build than the one beside `ctl`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub router_versions: BTreeMap<String, Chosen>,
    /// Absent: everything is in one Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Regions>,
    /// Whether there is a relay before each instance.
    #[serde(default)]
    pub relays: bool,
    /// Whether each cell has processes of its own for wallets and for money.
    #[serde(default)]
    pub split_roles: bool,
    /// Whether it was started with `--secure`.
    #[serde(default)]
    pub secure: bool,
    /// Where instances stand, in turn.
    #[serde(default)]
    pub zones: Vec<ZoneId>,
    /// The router's zone.
    #[serde(default)]
    pub router_zone: Option<ZoneId>,
    /// Started with `--observe`.
    #[serde(default)]
    pub observed: Option<Observed>,
    /// Whether it was started with `--canaries`.
    #[serde(default)]
    pub canaries: bool,
    pub cells: Vec<FleetCell>,
}

/// How Prometheus looks at a fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub program: PathBuf,
    /// By what the times in the rules are divided.
    pub faster: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetCell {
    pub id: CellId,
    /// From 1; decides the cell's ports and is never given twice.
    pub number: u16,
    pub instances: u16,
    pub weight: u32,
    pub max_tps: u32,
    pub max_customers: u64,
    /// Of processes, by name, that run another build than the one beside `ctl`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, Chosen>,
}

/// What a process runs, and what decided it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Absent: the build beside `ctl`, again.
    pub version: Option<Version>,
    /// The order that chose it; an older one, which comes late, changes nothing any more.
    pub order: u64,
}

fn one() -> u16 {
    1
}

fn file(data: &Path) -> PathBuf {
    data.join("fleet.json")
}

impl Fleet {
    /// `None`: there has been no fleet in this directory.
    pub fn load(data: &Path) -> Result<Option<Self>> {
        let path = file(data);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let broken = || format!("{} is broken; `ctl up --fresh` starts an empty fleet", path.display());
                serde_json::from_slice(&bytes).map(Some).with_context(broken)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn save(&self, data: &Path) -> Result<()> {
        let path = file(data);
        let next = path.with_extension("json.next");
        let write = || {
            std::fs::write(&next, serde_json::to_vec_pretty(self).expect("plain data"))?;
            std::fs::rename(&next, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// A fleet of the configuration's cells.
    pub fn new(config: &Config) -> Self {
        let cells = (1..).zip(&config.cells).map(|(number, cell)| FleetCell::new(cell, number, INSTANCES));
        Self {
            port: FIRST_PORT,
            instances: INSTANCES,
            region: config.deployment.region.clone(),
            routers: one(),
            router_versions: BTreeMap::new(),
            regions: None,
            relays: false,
            split_roles: false,
            secure: false,
            zones: config.deployment.zones.clone(),
            router_zone: None,
            observed: None,
            canaries: false,
            cells: cells.collect(),
        }
    }

    /// The number of processes holds for every cell.
    pub fn adjust(&mut self, port: Option<u16>, instances: Option<u16>) {
        self.port = port.unwrap_or(self.port);
        if let Some(instances) = instances {
            self.instances = instances;
            for cell in &mut self.cells {
                cell.instances = instances;
            }
        }
    }

    /// What each cell takes from now on.
    pub fn limit(&mut self, max_tps: Option<u32>) {
        for cell in &mut self.cells {
            cell.max_tps = max_tps.unwrap_or(cell.max_tps);
        }
    }

    /// Of what others than its own database call.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Base URL of the control plane's API.
    pub fn control_plane(&self) -> String {
        format!("{}://{}", self.scheme(), self.ports().control_plane())
    }

    pub fn ports(&self) -> Ports {
        Ports(self.port)
    }

    pub fn next_number(&self) -> u16 {
        self.cells.iter().map(|cell| cell.number + 1).max().unwrap_or(1)
    }

    /// Of the processes and tables of this side of a cell.
    pub fn ports_of(&self, side: Side) -> Ports {
        match side {
            Side::Home => self.ports(),
            Side::Standby => self.ports().second(),
        }
    }

    /// The cell as it is registered at the control plane.
    pub fn spec(&self, cell: &FleetCell) -> CellSpec {
        let (instances, dynamodb) = self.registered(cell, Side::Home);
        let standby = self.regions.map(|_| {
            let (instances, dynamodb) = self.registered(cell, Side::Standby);
            Standby { dynamodb, instances, replication: Replication::Archive }
        });
        CellSpec {
            id: cell.id.clone(),
            weight: cell.weight,
            max_tps: cell.max_tps,
            max_customers: cell.max_customers,
            instances,
            dynamodb,
            standby,
            region_epoch: 0,
        }
    }

    fn registered(&self, cell: &FleetCell, side: Side) -> (Vec<InstanceEntry>, CellTables) {
        let entry = |member: Member| InstanceEntry {
            id: InstanceId(member.name),
            address: if self.relays { member.relay } else { member.address },
            role: member.role,
            zone: member.zone,
        };
        let ports = self.ports_of(side);
        let database =
            if self.regions.is_some() { ports.cell_db_relay(cell.number) } else { ports.cell_db(cell.number) };
        let tables = CellTables {
            endpoint: Some(format!("http://{database}")),
            region: self.region_of(cell, side).to_owned(),
            table_prefix: format!("{}-", cell.id),
            role: None,
        };
        (self.members_of(cell, side).map(entry).collect(), tables)
    }

    /// Names and addresses of a cell's processes at its home.
    pub fn instances_of<'a>(&self, cell: &'a FleetCell) -> impl Iterator<Item = (String, String)> + 'a {
        self.members_of(cell, Side::Home).map(|member| (member.name, member.address))
    }

    /// All processes of a cell, those of its standby last.
    pub fn processes_of<'a>(&self, cell: &'a FleetCell) -> impl Iterator<Item = Member> + 'a {
        let sides: Vec<_> = self.sides().iter().map(|side| self.members_of(cell, *side)).collect();
        sides.into_iter().flatten()
    }

    /// A cell's processes on one side. With separate roles those that move money come first.
    pub fn members_of<'a>(&self, cell: &'a FleetCell, side: Side) -> impl Iterator<Item = Member> + use<'a> {
        let (ports, zones) = (self.ports_of(side), self.zones.clone());
        let roles: &[Role] = if self.split_roles { &[Role::Transactions, Role::Accounts] } else { &[Role::All] };
        let roles =
            roles.iter().flat_map(move |role| ('a'..).zip(0..cell.instances).map(|(letter, _)| (*role, letter)));
        let set = side.set_of(&cell.id);
        roles.zip(0..).map(move |((role, letter), number)| Member {
            name: match role {
                Role::All => format!("{set}-{letter}"),
                role => format!("{set}-{role}-{letter}"),
            },
            address: ports.instance(cell.number, number),
            relay: ports.relay(cell.number, number),
            zone: zones.get(usize::from(number) % zones.len().max(1)).cloned(),
            role,
            // Processes of one role share what the cell takes; each role may take all of it.
            max_tps: if cell.max_tps == 0 { 0 } else { part_of(cell.max_tps, cell.instances.into()) },
        })
    }
}

/// One process of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub address: String,
    /// Where others reach it, if there is a relay before it.
    pub relay: String,
    pub role: Role,
    pub zone: Option<ZoneId>,
    /// Writes a second that it takes; 0: no limit.
    pub max_tps: u32,
}

impl FleetCell {
    pub fn new(cell: &CellConfig, number: u16, instances: u16) -> Self {
        Self {
            id: cell.id.clone(),
            number,
            instances,
            weight: cell.weight,
            max_tps: cell.max_tps,
            max_customers: cell.max_customers,
            versions: BTreeMap::new(),
        }
    }
}

//! What a local fleet consists of, as `fleet.json` in its directory remembers it: first port and cells.
//!
//! It must never forget a cell: customers may live there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use topology::placement::InstanceEntry;
use topology::{CellConfig, CellId, Config, InstanceId};

use super::ports::Ports;
use crate::wire::{CellSpec, CellTables};

const FIRST_PORT: u16 = 8080;
const INSTANCES: u16 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    pub port: u16,
    /// Processes per cell, for cells still to come.
    pub instances: u16,
    pub region: String,
    /// Whether a relay stands before each instance.
    #[serde(default)]
    pub relays: bool,
    /// Whether it was started with `--secure`.
    #[serde(default)]
    pub secure: bool,
    pub cells: Vec<FleetCell>,
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
            relays: false,
            secure: false,
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

    /// Of what others than its own database call.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    pub fn ports(&self) -> Ports {
        Ports(self.port)
    }

    pub fn next_number(&self) -> u16 {
        self.cells.iter().map(|cell| cell.number + 1).max().unwrap_or(1)
    }

    /// The cell as it is registered at the control plane.
    pub fn spec(&self, cell: &FleetCell) -> CellSpec {
        let entry = |(name, address)| InstanceEntry { id: InstanceId(name), address };
        CellSpec {
            id: cell.id.clone(),
            weight: cell.weight,
            max_tps: cell.max_tps,
            max_customers: cell.max_customers,
            instances: self.reached_at(cell).map(entry).collect(),
            dynamodb: CellTables {
                endpoint: Some(format!("http://{}", self.ports().cell_db(cell.number))),
                region: self.region.clone(),
                table_prefix: format!("{}-", cell.id),
            },
        }
    }

    /// Names of a cell's processes, and where others reach them.
    pub fn reached_at<'a>(&'a self, cell: &'a FleetCell) -> impl Iterator<Item = (String, String)> + 'a {
        let instances = self.instances_of(cell).zip(0..);
        let (relays, ports) = (self.relays, self.ports());
        instances.map(move |((name, address), j)| (name, if relays { ports.relay(cell.number, j) } else { address }))
    }

    /// Names and addresses of a cell's processes.
    pub fn instances_of<'a>(&self, cell: &'a FleetCell) -> impl Iterator<Item = (String, String)> + 'a {
        let ports = self.ports();
        let named = ('a'..).zip(0..cell.instances);
        named.map(move |(letter, j)| (format!("{}-{letter}", cell.id), ports.instance(cell.number, j)))
    }
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
        }
    }
}

//! Which cells there are, what is known of them, and how their tables and processes are reached.
//!
//! It must never hold a decision that the store does not: another control plane may run beside this one.

use std::collections::HashMap;

use archive::Archive;
use aws_sdk_dynamodb::Client;
use control_api::{CellSpec, CellTables};
use mover::Side;
use store::dynamodb::DynamoStore;
use tokio::sync::Mutex;
use topology::{CellId, Config, ZoneId};
use uuid::Uuid;

use crate::cells::configured;
use crate::cells::counts::Counts;
use crate::cells::instances::Instances;
use crate::cells::loads::Loads;
use crate::cells::registry::Registry;
use crate::dynamo::{self, Connection};
use crate::error::{Result, unknown_cell};
use crate::placement::placements::Placements;

pub struct Fleet {
    /// Wallet ids derive from it.
    pub namespace: Uuid,
    /// Cells as the configuration has them; the registry is the truth.
    pub configured: Vec<CellSpec>,
    /// Zones that the configuration names.
    pub zones: Vec<ZoneId>,
    pub placements: Placements,
    pub registry: Registry,
    pub instances: Instances,
    pub counts: Counts,
    pub loads: Loads,
    /// Where old blocks are; of any cell, since packs belong to none.
    packs: Option<Archive>,
    cell_clients: Mutex<HashMap<Connection, Client>>,
    /// The ledger's own clients: they never repeat a write by themselves.
    store_clients: Mutex<HashMap<Connection, Client>>,
}

impl Fleet {
    /// Over the control plane's tables that `client` reaches, with `instances` as the way to the cells' processes.
    pub fn new(client: &Client, table_prefix: &str, config: &Config, instances: Instances) -> Self {
        Self {
            namespace: config.deployment.namespace,
            configured: configured::specs(config),
            zones: config.deployment.zones.clone(),
            placements: Placements::new(client.clone(), table_prefix),
            registry: Registry::new(client.clone(), table_prefix),
            instances,
            counts: Counts::default(),
            loads: Loads::default(),
            packs: None,
            cell_clients: Mutex::default(),
            store_clients: Mutex::default(),
        }
    }

    /// The same, with old blocks in the packs of this archive.
    pub fn with_packs(self, packs: Option<Archive>) -> Self {
        Self { packs, ..self }
    }

    /// A client for a cell's tables; one is kept for each place.
    pub async fn cell_client(&self, tables: &CellTables) -> Client {
        let connection = connection(tables);
        let mut clients = self.cell_clients.lock().await;
        if let Some(client) = clients.get(&connection) {
            return client.clone();
        }
        let client = dynamo::connect(&connection).await;
        clients.entry(connection).or_insert(client).clone()
    }

    /// A cell's own tables, as the cell itself uses them; one client is kept for each place.
    pub async fn store(&self, tables: &CellTables) -> DynamoStore {
        let connection = connection(tables);
        let mut clients = self.store_clients.lock().await;
        let client = match clients.get(&connection) {
            Some(client) => client.clone(),
            None => {
                let client = store::dynamodb::connect(&connection).await;
                clients.entry(connection).or_insert(client).clone()
            }
        };
        let store = DynamoStore::new(client, &tables.table_prefix);
        match &self.packs {
            Some(packs) => store.with_packs(packs.clone()),
            None => store,
        }
    }

    /// The same, with the way to their change stream.
    pub async fn store_with_stream(&self, tables: &CellTables) -> DynamoStore {
        let streams = store::dynamodb::connect_streams(&connection(tables)).await;
        self.store(tables).await.with_streams(streams)
    }

    /// A cell's chains and rows, as the registry says now where they are.
    pub async fn side(&self, cell: &CellId) -> Result<Side<DynamoStore>> {
        let record = self.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
        Ok(Side { cell: cell.clone(), store: self.store(&record.spec.dynamodb).await })
    }
}

fn connection(tables: &CellTables) -> Connection {
    Connection { endpoint: tables.endpoint.clone(), region: tables.region.clone(), role: tables.role.clone() }
}

//! What every handler shares: stores, clients, and the deployment's fixed facts.
//!
//! It must never hold a decision that the store does not: another control plane may run beside this one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use control_api::CellTables;
use mover::Side;
use store::dynamodb::DynamoStore;
use tokio::sync::Mutex;
use topology::{CellId, Config, ZoneId};
use uuid::Uuid;

use crate::canaries::{self, Canaries};
use crate::conservation;
use crate::counts::Counts;
use crate::deploys::replacer::Replacer;
use crate::deploys::table::Deploys;
use crate::deploys::{self, worker};
use crate::dynamo::{self, Connection};
use crate::error::{Result, unknown_cell};
use crate::instances::Instances;
use crate::loads::{self, Loads};
use crate::operations::reconciler;
use crate::operations::table::{self as operations, Operations};
use crate::placements::{self, Placements};
use crate::registry::{self, Registry};
use crate::witness::{self, Witness};
use crate::zones::dns::{self, Dns};

/// How this control plane is told where things are.
pub struct Settings {
    pub connection: Connection,
    pub table_prefix: String,
    pub config: Config,
    pub count_every: Duration,
    /// Folder of the cells' public keys.
    pub checkpoint_keys: Option<PathBuf>,
    pub witness_every: Duration,
    /// Where Route 53 is told which zones were left; absent where DNS is somebody else's.
    pub dns: Option<Dns>,
    /// How often the books of all cells are added up; None: never.
    pub conservation_every: Option<Duration>,
    /// How instances come to run another version; without it, deploys are only planned here.
    pub replacer: Option<Arc<dyn Replacer>>,
    pub canaries: Option<canaries::Settings>,
    /// How old a tombstone has to be before blocks below it are deleted: [`ledger::fence::PURGE_AFTER`] but in tests.
    pub purge_after: Duration,
}

pub struct ControlPlane {
    /// Wallet ids derive from it.
    pub namespace: Uuid,
    /// Cells that the configuration names.
    pub configured: Vec<CellId>,
    /// Zones that the configuration names.
    pub zones: Vec<ZoneId>,
    pub placements: Placements,
    pub registry: Registry,
    pub instances: Instances,
    pub counts: Counts,
    pub loads: Loads,
    pub dns: Option<Dns>,
    pub operations: Operations,
    pub witness: Witness,
    conservation_every: Option<Duration>,
    pub purge_after: Duration,
    pub deploys: Deploys,
    pub deploy_config: topology::config::Deploys,
    pub replacer: Option<Arc<dyn Replacer>>,
    pub canaries: Canaries,
    cell_clients: Mutex<HashMap<Connection, Client>>,
    /// The ledger's own clients: they never repeat a write by themselves.
    store_clients: Mutex<HashMap<Connection, Client>>,
}

impl ControlPlane {
    pub async fn new(settings: Settings) -> Arc<Self> {
        Self::with(settings, Instances::new()).await
    }

    /// With its own way to the processes of the cells.
    pub async fn with(settings: Settings, instances: Instances) -> Arc<Self> {
        let client = dynamo::connect(&settings.connection).await;
        Arc::new(Self {
            namespace: settings.config.deployment.namespace,
            configured: settings.config.cells.iter().map(|cell| cell.id.clone()).collect(),
            zones: settings.config.deployment.zones,
            placements: Placements::new(client.clone(), &settings.table_prefix),
            registry: Registry::new(client.clone(), &settings.table_prefix),
            operations: Operations::new(client.clone(), &settings.table_prefix),
            witness: Witness::new(
                client.clone(),
                &settings.table_prefix,
                settings.checkpoint_keys,
                settings.witness_every,
            ),
            conservation_every: settings.conservation_every,
            purge_after: settings.purge_after,
            deploys: Deploys::new(client.clone(), &settings.table_prefix),
            deploy_config: settings.config.deploys.clone(),
            replacer: settings.replacer.clone(),
            canaries: Canaries::new(settings.canaries.clone()),
            instances,
            counts: Counts::default(),
            loads: Loads::default(),
            dns: settings.dns,
            cell_clients: Mutex::default(),
            store_clients: Mutex::default(),
        })
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
        DynamoStore::new(client, &tables.table_prefix)
    }

    /// A cell's chains and rows, as the registry says now where they are.
    pub async fn side(&self, cell: &CellId) -> Result<Side<DynamoStore>> {
        let record = self.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
        Ok(Side { cell: cell.clone(), store: self.store(&record.spec.dynamodb).await })
    }

    /// Watches the store, counts customers and carries out operations, for ever.
    pub async fn run_background(self: Arc<Self>, count_every: Duration) {
        tokio::join!(
            self.placements.watch_store(),
            self.counts.keep_counting(&self, count_every),
            reconciler::keep_reconciling(&self),
            loads::keep_measuring(&self),
            dns::keep_in_step(&self),
            conservation::keep_auditing(&self, self.conservation_every),
            witness::keep_watching(&self),
            worker::keep_deploying(&self),
            canaries::keep_asking(&self)
        );
    }
}

/// Creates the control plane's own tables where they are missing.
pub async fn create_tables(connection: &Connection, prefix: &str) -> Result<()> {
    let client = dynamo::connect(connection).await;
    let shapes = [
        placements::table(prefix),
        registry::table(prefix),
        operations::table(prefix),
        witness::table(prefix),
        deploys::table::table(prefix),
    ];
    for shape in shapes {
        dynamo::create_table(&client, &shape).await?;
    }
    Ok(())
}

fn connection(tables: &CellTables) -> Connection {
    Connection { endpoint: tables.endpoint.clone(), region: tables.region.clone(), role: tables.role.clone() }
}

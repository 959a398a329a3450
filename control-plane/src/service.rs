//! The parts of this control plane, put together. Only the process, the API and the page see all of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use archive::Archive;
use topology::Config;

use crate::audit::witness::{self, Witness};
use crate::cells::fleet::Fleet;
use crate::cells::instances::Instances;
use crate::cells::registry;
use crate::deploys::canaries::{self, Canaries};
use crate::deploys::parts::Routers;
use crate::deploys::record::Deploy;
use crate::deploys::replacer::Replacer;
use crate::deploys::service::Deploys;
use crate::dynamo::{self, Connection, TableShape};
use crate::error::Result;
use crate::jobs::table::{Table, shape};
use crate::operations::record::Operation;
use crate::operations::service::Operations;
use crate::placement::placements;
use crate::restore::archived::Refills;
use crate::zones::Zones;
use crate::zones::dns::Dns;

/// How this control plane learns where things are.
pub struct Settings {
    pub connection: Connection,
    pub table_prefix: String,
    pub config: Config,
    /// Folder of the cells' public keys.
    pub checkpoint_keys: Option<PathBuf>,
    pub witness_every: Duration,
    /// The client that reports left zones to Route 53; absent where another service runs DNS.
    pub dns: Option<Dns>,
    /// How instances come to run another version; without it, deploys are only planned here.
    pub replacer: Option<Arc<dyn Replacer>>,
    /// Those that deploys can bring versions to.
    pub routers: Routers,
    pub canaries: Option<canaries::Settings>,
    /// The URL below which the cells' archives are; without it, cells are restored from files only.
    pub archive: Option<String>,
    /// The same place, of any cell: where blocks are that are not in the cells' tables any more.
    pub packs: Option<Archive>,
    /// How old a tombstone has to be before blocks below it are deleted: [`ledger::fence::PURGE_AFTER`] but in tests.
    pub purge_after: Duration,
}

pub struct ControlPlane {
    pub fleet: Arc<Fleet>,
    pub operations: Arc<Operations>,
    pub deploys: Arc<Deploys>,
    pub witness: Arc<Witness>,
    pub zones: Arc<Zones>,
    pub refills: Arc<Refills>,
}

impl ControlPlane {
    /// `instances`: its way to the processes of the cells.
    pub async fn new(settings: Settings, instances: Instances) -> Arc<Self> {
        let client = dynamo::connect(&settings.connection).await;
        let prefix = settings.table_prefix.as_str();
        let fleet = Fleet::new(&client, prefix, &settings.config, instances).with_packs(settings.packs);
        let fleet = Arc::new(fleet);
        let operations = Operations {
            fleet: Arc::clone(&fleet),
            table: Table::new(client.clone(), prefix),
            purge_after: settings.purge_after,
        };
        let deploys = Deploys {
            fleet: Arc::clone(&fleet),
            table: Table::new(client.clone(), prefix),
            config: settings.config.deploys.clone(),
            replacer: settings.replacer,
            routers: settings.routers,
            canaries: Arc::new(Canaries::new(settings.canaries)),
        };
        let witness = Witness::new(client, prefix, settings.checkpoint_keys, settings.witness_every);
        Arc::new(Self {
            zones: Arc::new(Zones { fleet: Arc::clone(&fleet), dns: settings.dns }),
            fleet,
            operations: Arc::new(operations),
            deploys: Arc::new(deploys),
            witness: Arc::new(witness),
            refills: Arc::new(Refills::new(settings.archive)),
        })
    }
}

/// The control plane's own tables.
pub fn tables(prefix: &str) -> [TableShape; 5] {
    [
        placements::table(prefix),
        shape::<Operation>(prefix),
        registry::table(prefix),
        witness::table(prefix),
        shape::<Deploy>(prefix),
    ]
}

/// Creates the control plane's own tables where they are missing.
pub async fn create_tables(connection: &Connection, prefix: &str) -> Result<()> {
    let client = dynamo::connect(connection).await;
    for shape in tables(prefix) {
        dynamo::create_table(&client, &shape).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::tables;

    /// The stacks for AWS are compared with the same file.
    #[test]
    fn the_tables_are_those_of_the_fixture() {
        let expected: Value = serde_json::from_str(include_str!("../fixtures/tables.json")).expect("JSON");
        assert_eq!(serde_json::to_value(tables("")).expect("plain data"), expected);
    }
}

//! The cells of `cells.toml`, as the registry would have them. Pure.

use control_api::{CellSpec, CellTables, Standby};
use topology::placement::InstanceEntry;
use topology::{CellId, Config, InstanceConfig, InstanceId};

/// The configuration's cells as they are registered: instances a, b, … at the addresses that it lists.
pub fn specs(config: &Config) -> Vec<CellSpec> {
    let cells = config.cells.iter();
    cells
        .map(|cell| CellSpec {
            id: cell.id.clone(),
            weight: cell.weight,
            max_tps: cell.max_tps,
            max_customers: cell.max_customers,
            instances: entries(&cell.id, &cell.instances, 0),
            dynamodb: CellTables {
                endpoint: cell.endpoint.clone(),
                region: cell.region_in(&config.deployment).to_owned(),
                table_prefix: format!("{}-", cell.id),
                role: cell.tables_role(&config.deployment),
            },
            standby: cell.standby.as_ref().map(|standby| Standby {
                instances: entries(&cell.id, &standby.instances, cell.instances.len()),
                dynamodb: CellTables {
                    endpoint: standby.endpoint.clone(),
                    region: standby.region.clone(),
                    table_prefix: format!("{}-", cell.id),
                    role: cell.tables_role(&config.deployment),
                },
                replication: standby.replication,
            }),
            region_epoch: 0,
        })
        .collect()
}

/// Instances with the letters that come after those of the first so many.
fn entries(cell: &CellId, instances: &[InstanceConfig], before: usize) -> Vec<InstanceEntry> {
    let entry = |(letter, instance): (char, &InstanceConfig)| InstanceEntry {
        id: InstanceId(format!("{cell}-{letter}")),
        address: instance.address.clone(),
        role: instance.role,
        zone: instance.zone.clone(),
    };
    ('a'..='z').skip(before).zip(instances).map(entry).collect()
}

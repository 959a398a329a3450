//! What cells may not have in common: tables, addresses, names of instances; and what one may declare. Pure.

use std::collections::HashMap;

use control_api::{CellSpec, CellTables, Refusal};
use topology::config::MAX_CUSTOMERS;

use crate::error::{Result, refused};

/// Longest name of an instance: a label of metrics, and a part of file names.
const INSTANCE_MAX_BYTES: usize = 64;

/// Refuses a cell that has something of another one's.
pub fn check<'a>(cells: impl IntoIterator<Item = &'a CellSpec>) -> Result<()> {
    let mut taken: HashMap<String, &CellSpec> = HashMap::new();
    for cell in cells {
        check_declared(cell)?;
        let standby = cell.standby.iter();
        let places = [&cell.dynamodb].into_iter().chain(standby.clone().map(|standby| &standby.dynamodb)).map(place);
        let all = || cell.instances.iter().chain(standby.clone().flat_map(|standby| &standby.instances));
        let instances = all().flat_map(|instance| {
            [format!("an instance {}", instance.id), format!("an instance at {}", instance.address)]
        });
        for what in places.chain(instances) {
            match taken.insert(what.clone(), cell) {
                Some(other) if other.id != cell.id => {
                    let detail = format!("{} and {} both have {what}: each cell has its own", other.id, cell.id);
                    return Err(refused(Refusal::CellCollides, detail));
                }
                _ => {}
            }
        }
        if let Some(instance) = all().find(|instance| !is_name(&instance.id.0)) {
            let detail = format!("{:?}: 1 to {INSTANCE_MAX_BYTES} of letters, digits, '-', '_' and '.'", instance.id.0);
            return Err(refused(Refusal::BadId, detail));
        }
    }
    Ok(())
}

/// As `cells.toml` may say it.
pub fn check_declared(cell: &CellSpec) -> Result<()> {
    if cell.max_customers > MAX_CUSTOMERS {
        let detail = format!("{}: maxCustomers {}; at most {MAX_CUSTOMERS}", cell.id, cell.max_customers);
        return Err(refused(Refusal::BadLimit, detail));
    }
    Ok(())
}

fn place(tables: &CellTables) -> String {
    let (endpoint, role) = (tables.endpoint.as_deref().unwrap_or("AWS"), tables.role.as_deref().unwrap_or("none"));
    format!("tables {} in {} at {endpoint}, role {role}", tables.table_prefix, tables.region)
}

fn is_name(text: &str) -> bool {
    (1..=INSTANCE_MAX_BYTES).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use topology::placement::InstanceEntry;
    use topology::{CellId, InstanceId, Role};

    use super::*;
    use crate::tests::fixture::code;

    fn cell(id: &str, instance: &str, address: &str, prefix: &str) -> CellSpec {
        CellSpec {
            id: CellId::parse(id).expect("sound"),
            weight: 1,
            max_tps: 1,
            max_customers: 1,
            instances: vec![InstanceEntry {
                id: InstanceId(instance.into()),
                address: address.into(),
                role: Role::All,
                zone: None,
            }],
            dynamodb: CellTables { endpoint: None, region: "r".into(), table_prefix: prefix.into(), role: None },
            standby: None,
            region_epoch: 0,
        }
    }

    #[test]
    fn cells_share_no_tables_addresses_or_names() {
        let first = cell("cell-1", "cell-1-a", "h:1", "cell-1-");
        for (second, expected) in [
            (cell("cell-2", "cell-2-a", "h:2", "cell-2-"), "done"),
            (cell("cell-1", "cell-1-a", "h:1", "cell-1-"), "done"),
            (cell("cell-2", "cell-1-a", "h:2", "cell-2-"), "cell_collides"),
            (cell("cell-2", "cell-2-a", "h:1", "cell-2-"), "cell_collides"),
            (cell("cell-2", "cell-2-a", "h:2", "cell-1-"), "cell_collides"),
            (cell("cell-2", "../cell-2-a", "h:2", "cell-2-"), "bad_id"),
            (cell("cell-2", "", "h:2", "cell-2-"), "bad_id"),
            (CellSpec { max_customers: u64::MAX, ..cell("cell-2", "cell-2-a", "h:2", "cell-2-") }, "bad_limit"),
        ] {
            assert_eq!(code(check([&first, &second])), expected, "{second:?}");
        }
    }
}

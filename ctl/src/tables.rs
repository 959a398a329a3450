//! How answers look to people: plain aligned columns, the same on a terminal and in a pipe.
//!
//! No colour at all, so `NO_COLOR` holds by itself.

pub mod archive;
pub mod capacity;
pub mod conservation;
pub mod deploys;
pub mod ledger;
pub mod operations;
pub mod recovery;
pub mod regions;
pub mod zones;

use command_line::columns;
use control_api::{CellView, Change, Customer, Difference, Status, Where};
use topology::{InstanceEntry, Role};

fn customers(count: Option<u64>) -> String {
    count.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
}

/// With what the process is there for, if that is not everything.
fn address(instance: &InstanceEntry) -> String {
    match instance.role {
        Role::All => instance.address.clone(),
        role => format!("{role}={}", instance.address),
    }
}

fn state(cell: &CellView) -> String {
    format!("{:?}", cell.state).to_lowercase()
}

/// With Regions, if any cell has a second one.
pub fn cells(cells: &[CellView]) -> String {
    let has_regions = cells.iter().any(|cell| cell.standby.is_some());
    let row = |cell: &CellView| {
        let addresses: Vec<_> = cell.instances.iter().map(address).collect();
        let regions = || {
            let standby = cell.standby.as_ref().map_or("-", |standby| standby.dynamodb.region.as_str());
            [cell.dynamodb.region.clone(), standby.to_owned()]
        };
        let (before, after) = (
            vec![
                cell.id.to_string(),
                state(cell),
                cell.weight.to_string(),
                cell.buckets.to_string(),
                cell.pins.to_string(),
                customers(cell.customers),
            ],
            addresses.join(","),
        );
        before.into_iter().chain(has_regions.then(regions).into_iter().flatten()).chain([after]).collect()
    };
    let regions = if has_regions { &["REGION", "STANDBY"][..] } else { &[] };
    let header = [&["CELL", "STATE", "WEIGHT", "BUCKETS", "PINS", "CUSTOMERS"], regions, &["INSTANCES"]].concat();
    columns(&header, &cells.iter().map(row).collect::<Vec<_>>())
}

/// What one cell declares.
pub fn declared(cell: &CellView) -> String {
    let row = [cell.id.to_string(), cell.weight.to_string(), cell.max_tps.to_string(), cell.max_customers.to_string()];
    columns(&["CELL", "WEIGHT", "MAX TPS", "MAX CUSTOMERS"], &[row.to_vec()])
}

pub fn drift(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "cells.toml and the registry say the same\n".to_owned();
    }
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let row = |one: &Difference| {
        vec![one.cell.to_string(), one.what.clone(), or_none(&one.configured), or_none(&one.registered)]
    };
    columns(&["CELL", "WHAT", "CELLS.TOML", "REGISTRY"], &differences.iter().map(row).collect::<Vec<_>>())
}

pub fn status(status: &Status) -> String {
    let row = |one: &control_api::CellStatus| {
        let ready = one.health.iter().filter(|instance| instance.ready).count();
        let troubles =
            one.health.iter().filter_map(|instance| Some(format!("{} {}", instance.id, instance.why.as_ref()?)));
        vec![
            one.cell.id.to_string(),
            state(&one.cell),
            one.cell.weight.to_string(),
            format!("{:.2} %", one.share_percent),
            customers(one.cell.customers),
            format!("{ready}/{}", one.health.len()),
            troubles.collect::<Vec<_>>().join("; "),
        ]
    };
    let header = ["CELL", "STATE", "WEIGHT", "SHARE", "CUSTOMERS", "READY", "TROUBLE"];
    let mut text = columns(&header, &status.cells.iter().map(row).collect::<Vec<_>>());
    text.push_str(&format!("placement version {}\n", status.placement_version));
    for id in &status.not_registered {
        text.push_str(&format!("{id} is in cells.toml but not registered: `ctl cell add {id}`\n"));
    }
    if !status.drift.is_empty() {
        text.push_str("cells.toml and the registry differ: `ctl cell drift`\n");
    }
    text
}

pub fn place(place: &Where) -> String {
    let mut rows = vec![];
    if let Some(user) = &place.user_id {
        rows.push(("user", user.clone()));
    }
    rows.push(("wallet", place.wallet_id.to_string()));
    rows.push(("bucket", place.bucket.clone()));
    rows.push(("cell", format!("{}{}", place.cell, if place.pinned { " (pinned)" } else { "" })));
    for instance in &place.instances {
        rows.push(("instance", format!("{} {}", instance.id, address(instance))));
    }
    rows.iter().map(|(name, value)| format!("{name:9} {value}\n")).collect()
}

pub fn customer(customer: &Customer) -> String {
    let mut text = place(&customer.place);
    match &customer.wallet {
        None => text.push_str("has no wallet\n"),
        Some(wallet) => {
            let rows = [("balance", &wallet.balance), ("created", &wallet.created_at), ("changed", &wallet.updated_at)];
            text.extend(rows.map(|(name, value)| format!("{name:9} {value}\n")));
        }
    }
    text
}

pub fn history(changes: &[Change]) -> String {
    let row = |change: &Change| {
        vec![
            change.version.to_string(),
            change.at.clone(),
            change.kind.clone(),
            change.buckets.to_string(),
            change.pins.to_string(),
            change.actor.clone(),
            change.reason.clone(),
        ]
    };
    let header = ["VERSION", "AT", "KIND", "BUCKETS", "PINS", "ACTOR", "REASON"];
    columns(&header, &changes.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use topology::placement::{CellState, InstanceEntry};
    use topology::{CellId, InstanceId};

    use super::*;
    use control_api::{CellStatus, CellTables, InstanceHealth, WalletView};

    fn cell(number: u16, customers: Option<u64>) -> CellView {
        let id = CellId::parse(format!("cell-{number}")).expect("sound");
        CellView {
            index: number,
            state: CellState::Active,
            weight: 1,
            max_tps: 1_000,
            max_customers: 10,
            buckets: 32_768,
            pins: 0,
            customers,
            instances: ["a", "b"]
                .map(|letter| InstanceEntry {
                    id: InstanceId(format!("{id}-{letter}")),
                    address: "127.0.0.1:1".into(),
                    role: topology::Role::All,
                    zone: None,
                })
                .into(),
            dynamodb: CellTables {
                endpoint: None,
                region: "us-east-1".into(),
                table_prefix: format!("{id}-"),
                role: None,
            },
            standby: None,
            region_epoch: 0,
            created_at: "2026-01-02T03:04:05Z".into(),
            id,
        }
    }

    #[test]
    fn cells_are_a_table() {
        let golden = "\
CELL    STATE   WEIGHT  BUCKETS  PINS  CUSTOMERS  INSTANCES
cell-1  active  1       32768    0     7          127.0.0.1:1,127.0.0.1:1
cell-2  active  1       32768    0     unknown    127.0.0.1:1,127.0.0.1:1
";
        assert_eq!(cells(&[cell(1, Some(7)), cell(2, None)]), golden);
    }

    fn difference() -> Difference {
        let id = CellId::parse("cell-1").expect("sound");
        Difference {
            cell: id,
            what: "max_tps".into(),
            configured: Some("10000".into()),
            registered: Some("500".into()),
        }
    }

    #[test]
    fn what_a_cell_declares_and_how_the_file_differs_are_tables() {
        let golden = "\
CELL    WEIGHT  MAX TPS  MAX CUSTOMERS
cell-1  1       1000     10
";
        assert_eq!(declared(&cell(1, None)), golden);
        let golden = "\
CELL    WHAT     CELLS.TOML  REGISTRY
cell-1  max_tps  10000       500
cell-1  cell     listed      -
";
        let absent =
            Difference { what: "cell".into(), configured: Some("listed".into()), registered: None, ..difference() };
        assert_eq!(drift(&[difference(), absent]), golden);
        assert_eq!(drift(&[]), "cells.toml and the registry say the same\n");
    }

    #[test]
    fn status_names_what_is_not_ready_and_what_is_not_registered() {
        let health = |letter: &str, why: Option<&str>| InstanceHealth {
            id: format!("cell-1-{letter}"),
            ready: why.is_none(),
            why: why.map(str::to_owned),
        };
        let one = CellStatus {
            cell: cell(1, Some(7)),
            share_percent: 50.0,
            health: vec![health("a", None), health("b", Some("not reachable"))],
        };
        let shown = status(&Status {
            placement_version: 3,
            cells: vec![one],
            not_registered: vec![CellId::parse("cell-4").expect("sound")],
            drift: vec![difference()],
        });
        let golden = "\
CELL    STATE   WEIGHT  SHARE    CUSTOMERS  READY  TROUBLE
cell-1  active  1       50.00 %  7          1/2    cell-1-b not reachable
placement version 3
cell-4 is in cells.toml but not registered: `ctl cell add cell-4`
cells.toml and the registry differ: `ctl cell drift`
";
        assert_eq!(shown, golden);
    }

    #[test]
    fn a_customer_is_shown_with_his_place() {
        let wallet_id: topology::WalletId = "6a836b5a-367e-4abc-8347-a2aaf56afd1c".parse().expect("a UUID");
        let place = Where {
            user_id: Some("ann".into()),
            wallet_id,
            bucket: "6a83".into(),
            cell: CellId::parse("cell-2").expect("sound"),
            pinned: true,
            placement_version: 2,
            instances: vec![InstanceEntry {
                id: InstanceId("cell-2-a".into()),
                address: "127.0.0.1:1".into(),
                role: topology::Role::All,
                zone: None,
            }],
        };
        let golden = "\
user      ann
wallet    6a836b5a-367e-4abc-8347-a2aaf56afd1c
bucket    6a83
cell      cell-2 (pinned)
instance  cell-2-a 127.0.0.1:1
balance   1.50
created   2025-07-06T14:46:53Z
changed   2025-07-06T14:48:48Z
";
        let (created_at, updated_at) = ("2025-07-06T14:46:53Z".into(), "2025-07-06T14:48:48Z".into());
        let wallet = Some(WalletView { balance: "1.50".into(), created_at, updated_at });
        assert_eq!(customer(&Customer { place, wallet }), golden);
    }
}

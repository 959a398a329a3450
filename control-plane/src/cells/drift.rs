//! How `cells.toml` and the registry differ, as an operator and a monitor see it.
//!
//! It must never change either of the two: an operator decides which one is right.

use std::collections::HashMap;

use control_api::{CellSpec, Difference};
use topology::placement::{CellState, InstanceEntry};
use topology::{CellId, Placement, Role};

use crate::cells::fleet::Fleet;
use crate::cells::registry::Record;
use crate::error::{Result, no_placement};

/// Every difference, cell by cell.
pub async fn find(fleet: &Fleet) -> Result<Vec<Difference>> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    Ok(of(fleet, &fleet.registry.all().await?, &now.placement))
}

/// The same, from records that have been read. A removed cell is in the registry no more; a weight is what the placement
/// says, by which buckets are shared.
pub fn of(fleet: &Fleet, records: &HashMap<CellId, Record>, placement: &Placement) -> Vec<Difference> {
    let cells = placement.cells().iter().filter(|cell| cell.state != CellState::Removed);
    let registered = cells.filter_map(|cell| {
        let spec = records.get(&cell.id)?.spec.clone();
        Some(CellSpec { weight: cell.weight, ..spec })
    });
    let registered: Vec<CellSpec> = registered.collect();
    between(&fleet.configured, &registered)
}

/// For a monitor.
pub fn show(fleet: &Fleet, records: &HashMap<CellId, Record>, placement: &Placement) {
    metrics::gauge!("control_plane_registry_differences").set(of(fleet, records, placement).len() as f64);
}

fn between(configured: &[CellSpec], registered: &[CellSpec]) -> Vec<Difference> {
    let mut all = Vec::new();
    for file in configured {
        match registered.iter().find(|registry| registry.id == file.id) {
            Some(registry) => all.extend(of_cell(file, registry)),
            None => all.push(difference(file, "cell", Some("listed".to_owned()), None)),
        }
    }
    let is_listed = |registry: &&CellSpec| configured.iter().any(|file| file.id == registry.id);
    let unlisted = registered.iter().filter(|registry| !is_listed(registry));
    all.extend(unlisted.map(|registry| difference(registry, "cell", None, Some("registered".to_owned()))));
    all
}

fn of_cell(file: &CellSpec, registry: &CellSpec) -> Vec<Difference> {
    let number = |value: u64| Some(value.to_string());
    let region = |spec: &CellSpec| Some(spec.first_region().to_owned());
    // A file that lists none leaves it to what starts the processes, as `ctl up` does.
    let lists = !file.instances.is_empty();
    let instances = |spec: &CellSpec| lists.then(|| addresses(spec.first_instances()));
    let said = [
        ("weight", number(file.weight.into()), number(registry.weight.into())),
        ("max_tps", number(file.max_tps.into()), number(registry.max_tps.into())),
        ("max_customers", number(file.max_customers), number(registry.max_customers)),
        ("region", region(file), region(registry)),
        ("standby", file.second_region(), registry.second_region()),
        ("instances", instances(file), instances(registry)),
    ];
    let differs = said.into_iter().filter(|(_, file, registry)| file != registry);
    differs.map(|(what, one, other)| difference(file, what, one, other)).collect()
}

fn difference(of: &CellSpec, what: &str, configured: Option<String>, registered: Option<String>) -> Difference {
    Difference { cell: of.id.clone(), what: what.to_owned(), configured, registered }
}

/// As `ctl cell add --address` takes them, whatever their order.
fn addresses(instances: &[InstanceEntry]) -> String {
    let address = |one: &InstanceEntry| {
        let role = if one.role == Role::All { String::new() } else { format!("{}=", one.role) };
        let zone = one.zone.as_ref().map_or_else(String::new, |zone| format!("@{zone}"));
        format!("{role}{}{zone}", one.address)
    };
    let mut all: Vec<_> = instances.iter().map(address).collect();
    all.sort_unstable();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use control_api::Standby;
    use topology::Config;

    use super::*;
    use crate::cells::configured::specs;

    fn cells(text: &str) -> Vec<CellSpec> {
        let deployment =
            "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='us-east-1'\n";
        specs(&Config::parse(&format!("{deployment}{text}")).expect("sound"))
    }

    fn shown(file: &str, registry: &[CellSpec]) -> Vec<String> {
        let shown = |one: Difference| {
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{} {} {} {}", one.cell, one.what, or_none(one.configured), or_none(one.registered))
        };
        between(&cells(file), registry).into_iter().map(shown).collect()
    }

    #[test]
    fn what_was_registered_from_the_file_does_not_differ() {
        let file = "[[cells]]\nid='a'\ninstances=['h:1','h:2']\n[[cells]]\nid='b'\nweight=3\n";
        assert_eq!(shown(file, &cells(file)), Vec::<String>::new());
        // Where the file lists no processes, any are right.
        let anywhere = cells("[[cells]]\nid='a'\ninstances=['h:1']\n");
        assert_eq!(shown("[[cells]]\nid='a'\n", &anywhere), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        let registry =
            cells("[[cells]]\nid='a'\nweight=2\nmax_tps=5\nmax_customers=7\ninstances=['h:2']\n[[cells]]\nid='c'\n");
        let file = "[[cells]]\nid='a'\nregion='eu-west-1'\ninstances=['h:1']\n[[cells]]\nid='b'\n";
        assert_eq!(
            shown(file, &registry),
            [
                "a weight 1 2",
                "a max_tps 10000 5",
                "a max_customers 1000000 7",
                "a region eu-west-1 us-east-1",
                "a instances h:1 h:2",
                "b cell listed -",
                "c cell - registered",
            ]
        );
    }

    #[test]
    fn a_cell_in_its_other_region_is_as_the_file_says() {
        let file = "[[cells]]\nid='a'\ninstances=['h:1']\nstandby={region='eu-west-1',instances=['h:9']}\n";
        let mut away = cells(file);
        let standby = away[0].standby.take().expect("configured");
        let home = Standby {
            dynamodb: std::mem::replace(&mut away[0].dynamodb, standby.dynamodb),
            instances: std::mem::replace(&mut away[0].instances, standby.instances),
            replication: standby.replication,
        };
        (away[0].standby, away[0].region_epoch) = (Some(home), 1);
        assert_eq!(shown(file, &away), Vec::<String>::new());
    }
}

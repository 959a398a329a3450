//! Where the relays of a fleet stand.

use anyhow::{Result, bail};

use crate::fleet::{Fleet, FleetCell};
use crate::ports::RELAYED_CELLS_MAX;
use crate::regions::{REGIONS, Side};

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it stands before.
    pub name: String,
    pub listen: String,
    /// The address that it carries to.
    pub to: String,
    /// The Region of that; `None`: the control plane is in none.
    pub region: Option<String>,
    pub from: From,
}

/// Which processes use a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Routers of both Regions, and the control plane.
    Any,
    /// Processes of this Region, or of none.
    Region(Option<String>),
}

/// Every relay of the fleet.
pub fn places(fleet: &Fleet) -> Result<Vec<Place>> {
    if !fleet.relays {
        return Ok(vec![]);
    }
    if let Some(cell) = fleet.cells.iter().find(|cell| cell.number > RELAYED_CELLS_MAX) {
        bail!("{} is cell number {}: there are ports for relays of {RELAYED_CELLS_MAX} cells", cell.id, cell.number);
    }
    let sides = || fleet.cells.iter().flat_map(|cell| fleet.sides().iter().map(move |side| (cell, *side)));
    let instances = sides().flat_map(|(cell, side)| {
        let region = fleet.region_of(cell, side);
        let place = |name, listen, to| Place { name, listen, to, region: Some(region.to_owned()), from: From::Any };
        fleet.members_of(cell, side).map(move |member| place(member.name, member.relay, member.address))
    });
    if fleet.regions.is_none() {
        return Ok(instances.collect());
    }
    let databases = sides().map(|(cell, side)| database(fleet, cell, side));
    let control_plane = REGIONS.map(|region| Place {
        name: format!("control-plane of {region}"),
        listen: fleet.router_ports(region).control_plane_relay(),
        to: fleet.ports().control_plane(),
        region: None,
        from: From::Region(Some(region.to_owned())),
    });
    Ok(instances.chain(databases).chain(control_plane).collect())
}

/// The relay by which the control plane reaches a cell's tables.
fn database(fleet: &Fleet, cell: &FleetCell, side: Side) -> Place {
    let ports = fleet.ports_of(side);
    Place {
        name: format!("{}-db", side.set_of(&cell.id)),
        listen: ports.cell_db_relay(cell.number),
        to: ports.cell_db(cell.number),
        region: Some(fleet.region_of(cell, side).to_owned()),
        from: From::Region(None),
    }
}

//! How many customers each cell takes and has: what a plan must not exceed.

use std::collections::HashMap;

use topology::{CellId, CellState, Placement};

use super::plan::{Regions, Room, Rooms};
use crate::cells::counting;
use crate::cells::fleet::Fleet;
use crate::error::Result;

/// All cells' sizes; those that were never counted are counted now.
pub async fn rooms(fleet: &Fleet, placement: &Placement) -> Result<Rooms> {
    let mut records = fleet.registry.all().await?;
    records.retain(|id, _| placement.cell_named(id).is_some_and(|cell| cell.state != CellState::Removed));
    if records.keys().any(|id| fleet.counts.of(id).is_none()) {
        counting::count_all(fleet).await?;
    }
    let room = |(id, record): (CellId, crate::cells::registry::Record)| {
        let room = Room { max_customers: record.spec.max_customers, customers: fleet.counts.of(&id) };
        (id, room)
    };
    Ok(records.into_iter().map(room).collect::<HashMap<_, _>>())
}

/// The Region that each cell's customers belong to.
pub async fn regions(fleet: &Fleet) -> Result<Regions> {
    let records = fleet.registry.all().await?;
    Ok(Regions(records.into_iter().map(|(id, record)| (id, record.spec.first_region().to_owned())).collect()))
}

//! The cells that a drill does something to, and the requests that need them.

use std::fmt;

use load_generator::operation::Operation;
use load_generator::outcome::Outcome;
use local_fleet::fleet::Fleet;
use local_fleet::regions::Side;
use serde::Serialize;
use topology::CellId;

use crate::table::{Drill, LOST_REGION, Network, VICTIM};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Victims(Vec<CellId>);

impl Victims {
    /// One cell, or all that have their home in the Region that is lost.
    pub fn of(drill: &Drill, fleet: &Fleet) -> Self {
        let is_one = |id: &CellId| id.as_str() == VICTIM;
        let cells = fleet.cells.iter();
        let hit = cells.filter(|cell| match drill.network {
            Network::Regions => fleet.region_of(cell, Side::Home) == LOST_REGION,
            Network::Plain | Network::Relays => is_one(&cell.id),
        });
        Self(hit.map(|cell| cell.id.clone()).collect())
    }

    pub fn cells(&self) -> &[CellId] {
        &self.0
    }

    pub fn have(&self, cell: &CellId) -> bool {
        self.0.contains(cell)
    }

    /// Whether an operation needs one of them: its customer lives there, or its payee.
    pub fn are_needed(&self, outcome: &Outcome, operation: &Operation) -> bool {
        let there = |position: usize| outcome.customers[position].cell.as_ref().is_some_and(|cell| self.have(cell));
        there(operation.customer) || operation.payee.is_some_and(there)
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(CellId::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

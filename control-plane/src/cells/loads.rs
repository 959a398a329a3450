//! What each cell is asked for now, as it was measured last. A hint for decisions about capacity.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use topology::CellId;

/// Rates since the look before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub writes_per_second: f64,
    pub requests_per_second: f64,
}

#[derive(Default)]
pub struct Loads {
    known: Mutex<HashMap<CellId, Load>>,
}

impl Loads {
    /// `None`: not measured, or some process did not answer at the last look.
    pub fn of(&self, cell: &CellId) -> Option<Load> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(cell).copied()
    }

    pub fn set(&self, cell: &CellId, load: Option<Load>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match load {
            Some(load) => known.insert(cell.clone(), load),
            None => known.remove(cell),
        };
    }
}

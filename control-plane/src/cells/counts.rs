//! How many customers each cell has: what was counted last, and what was added since.
//!
//! A hint for onboarding, never a limit that is enforced: between two counts another control plane may add some.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use topology::CellId;

#[derive(Default)]
pub struct Counts {
    customers: Mutex<HashMap<CellId, u64>>,
    asked: Notify,
}

impl Counts {
    /// `None` until first counted.
    pub fn of(&self, cell: &CellId) -> Option<u64> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).get(cell).copied()
    }

    /// One customer more in a cell that has been counted.
    pub fn add_one(&self, cell: &CellId) {
        if let Some(count) = self.customers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(cell) {
            *count += 1;
        }
    }

    /// Counts now, while no request waits for it.
    pub fn count_soon(&self) {
        self.asked.notify_one();
    }

    pub fn set(&self, cell: &CellId, count: u64) {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).insert(cell.clone(), count);
    }

    /// Waits until a count is asked for, for at most this long.
    pub async fn asked_within(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.asked.notified()).await;
    }
}

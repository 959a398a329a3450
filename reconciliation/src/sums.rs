//! The equation of all money: what wallets hold and what is in flight is what came in less what went out.

use ledger::Entry;
use ledger::flow::Flow;

/// Sums in minor units.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    pub balances: u64,
    pub in_flight: i128,
    pub came_in: u64,
    pub went_out: u64,
}

impl Sums {
    /// Counts what the entry brought into the ledger or took out of it. Balances and money in flight are not an entry's
    /// to tell.
    pub fn take(&mut self, entry: &Entry) {
        match entry.flow() {
            Flow::In => self.came_in += entry.amount.minor(),
            Flow::Out => self.went_out += entry.amount.minor(),
            Flow::None | Flow::Transfer { .. } => {}
        }
    }

    /// 0, or how much money was made (+) or lost (−).
    pub fn difference(&self) -> i128 {
        i128::from(self.balances) + self.in_flight - i128::from(self.came_in) + i128::from(self.went_out)
    }
}

//! Transfers of which one half was lost with the Region that had it.

use std::collections::HashMap;

use ledger::{Money, TransactionId};
use reconciliation::{Legs, Transfers};
use topology::WalletId;

/// By transfer.
#[derive(Debug, Default)]
pub struct Halves {
    /// Arrived, and left nowhere: so much money was made.
    arrived: HashMap<TransactionId, Money>,
    /// The payer knows that it arrived, and it arrived nowhere: so much is in flight for ever.
    settled: HashMap<TransactionId, Money>,
    /// Refused by the payee, and left nowhere. No money went anywhere.
    refused: Vec<TransactionId>,
}

impl Halves {
    /// `may_lose`: whether a wallet's cell may have lost what it wrote last.
    pub fn of(transfers: &Transfers, may_lose: impl Fn(WalletId) -> bool) -> Self {
        let mut halves = Self::default();
        for (id, legs) in &transfers.open {
            match legs {
                Legs { sent: None, received: Some((payer, _, amount)), .. } if may_lose(*payer) => {
                    halves.arrived.insert(*id, *amount);
                }
                Legs { sent: None, received: None, .. } if legs.is_refused() => halves.refused.push(*id),
                Legs { sent: Some((_, payee, amount)), received: None, .. }
                    if legs.has_arrived_for_payer() && may_lose(*payee) =>
                {
                    halves.settled.insert(*id, *amount);
                }
                _ => {}
            }
        }
        halves
    }

    pub fn have(&self, transfer: &TransactionId) -> bool {
        self.arrived.contains_key(transfer) || self.settled.contains_key(transfer) || self.refused.contains(transfer)
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub fn count(&self) -> usize {
        self.arrived.len() + self.settled.len() + self.refused.len()
    }

    /// Transfers that arrived and left nowhere.
    pub fn arrived(&self) -> impl Iterator<Item = (&TransactionId, &Money)> {
        self.arrived.iter()
    }

    /// In minor units.
    pub fn made(&self) -> u64 {
        self.arrived.values().map(|amount| amount.minor()).sum()
    }

    /// In minor units.
    pub fn stuck(&self) -> u64 {
        self.settled.values().map(|amount| amount.minor()).sum()
    }
}

//! The legs of every transfer, from whichever chain they come. A transfer whose legs are complete and agree is
//! forgotten; what is left at the end is open or wrong.

use std::collections::HashMap;

use ledger::{Entry, EntryKind, Money, Route, TransactionId};
use topology::WalletId;

use super::Faults;
use crate::verdict::Check;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Legs {
    /// Payer, payee, way and amount, as each side has them.
    out: Option<Leg>,
    received: Option<Leg>,
    refused: bool,
    settled: bool,
    returned: Option<Money>,
}

type Leg = (WalletId, WalletId, Route, Money);

#[derive(Default)]
pub struct Transfers {
    open: HashMap<TransactionId, Legs>,
    complete: u64,
    wrong: Faults,
}

impl Transfers {
    /// An entry of the wallet's chain.
    pub fn entry(&mut self, wallet: WalletId, entry: &Entry) {
        let Some(transfer) = entry.transfer() else { return };
        let legs = self.open.entry(transfer).or_default();
        let repeated = match &entry.kind {
            EntryKind::TransferOut { to, route, .. } => legs.out.replace((wallet, *to, *route, entry.amount)).is_some(),
            EntryKind::TransferIn { from, route } => {
                legs.received.replace((*from, wallet, *route, entry.amount)).is_some()
            }
            EntryKind::TransferSettled { .. } => std::mem::replace(&mut legs.settled, true),
            EntryKind::TransferReturned { .. } => legs.returned.replace(entry.amount).is_some(),
            EntryKind::TransferRefused { .. } => std::mem::replace(&mut legs.refused, true),
            _ => false,
        };
        if repeated {
            self.wrong.add(format!("transfer {transfer}: a second {} in {wallet}", entry.kind.name()));
        }
        if legs.is_complete() {
            self.open.remove(&transfer);
            self.complete += 1;
        }
    }

    /// What has left and not arrived, in minor units.
    pub fn in_flight(&self) -> u64 {
        self.open.values().filter_map(Legs::in_flight).map(Money::minor).sum()
    }

    /// Passes if every transfer is complete; none may be in flight when the books are read.
    pub fn check(mut self) -> Check {
        for (transfer, legs) in &self.open {
            self.wrong.add(format!("transfer {transfer}: {legs:?}"));
        }
        let sound = format!("{} transfers, none in flight", self.complete);
        self.wrong.check("every transfer left once and arrived or came back once", sound)
    }
}

impl Legs {
    fn is_complete(&self) -> bool {
        let Some((_, _, route, amount)) = self.out else { return false };
        let arrived = self.received == self.out && !self.refused && self.returned.is_none();
        match route {
            Route::Inside => arrived && !self.settled,
            Route::Across if self.refused => self.received.is_none() && !self.settled && self.returned == Some(amount),
            Route::Across => arrived && self.settled,
        }
    }

    fn in_flight(&self) -> Option<Money> {
        let (_, _, _, amount) = self.out?;
        (self.received.is_none() && self.returned.is_none()).then_some(amount)
    }
}

#[cfg(test)]
mod tests {
    use ledger::Audit;
    use topology::wire::CreditRefusal;
    use uuid::Uuid;

    use super::*;

    const ID: TransactionId = Uuid::from_u128(1);

    fn wallet(number: u128) -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(number))
    }

    fn entry(id: TransactionId, kind: EntryKind, amount: u64) -> Entry {
        let amount = Money::from_minor(amount);
        Entry { id, kind, amount, balance_after: amount, key: None, audit: Audit::default() }
    }

    fn out(route: Route) -> (WalletId, Entry) {
        (wallet(1), entry(ID, EntryKind::TransferOut { to: wallet(2), route, reverses: None }, 7))
    }

    fn received(route: Route, amount: u64) -> (WalletId, Entry) {
        (wallet(2), entry(ID, EntryKind::TransferIn { from: wallet(1), route }, amount))
    }

    fn settled() -> (WalletId, Entry) {
        (wallet(1), entry(Uuid::from_u128(2), EntryKind::TransferSettled { transfer: ID }, 0))
    }

    fn returned() -> Vec<(WalletId, Entry)> {
        let reason = CreditRefusal::WalletFrozen;
        let refused = EntryKind::TransferRefused { transfer: ID, from: wallet(1), reason };
        let back = EntryKind::TransferReturned { transfer: ID, reason };
        vec![(wallet(2), entry(Uuid::from_u128(3), refused, 0)), (wallet(1), entry(Uuid::from_u128(4), back, 7))]
    }

    #[test]
    fn only_complete_transfers_pass_and_money_on_its_way_is_counted() {
        use Route::{Across, Inside};
        for (legs, passes, in_flight) in [
            (vec![out(Inside), received(Inside, 7)], true, 0),
            (vec![settled(), received(Across, 7), out(Across)], true, 0),
            ([vec![out(Across)], returned()].concat(), true, 0),
            (vec![out(Across)], false, 7),
            (vec![out(Across), received(Across, 7)], false, 0),
            (vec![received(Across, 7)], false, 0),
            (vec![out(Across), received(Across, 8), settled()], false, 0),
            (vec![out(Across), received(Across, 7), settled(), received(Across, 7)], false, 0),
            (vec![out(Inside), out(Inside), received(Inside, 7)], false, 0),
        ] {
            let mut transfers = Transfers::default();
            legs.iter().for_each(|(wallet, entry)| transfers.entry(*wallet, entry));
            assert_eq!(transfers.in_flight(), in_flight, "{legs:?}");
            assert_eq!(transfers.check().passed, passes, "{legs:?}");
        }
    }
}

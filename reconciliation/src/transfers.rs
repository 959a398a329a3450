//! The legs of transfers, from whichever chains they come, and what is wrong with them.

use std::collections::HashMap;

use ledger::flow::{Flow, Leg};
use ledger::{Entry, Money, TransactionId};
use topology::WalletId;

/// Payer, payee and amount, as the payer's or the payee's chain has them.
type Side = (WalletId, WalletId, Money);

/// What the chains hold of one transfer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Legs {
    pub sent: Option<Side>,
    pub received: Option<Side>,
    /// Payer and payee.
    refused: Option<(WalletId, WalletId)>,
    settled: Option<WalletId>,
    returned: Option<(WalletId, Money)>,
    /// A leg that came twice.
    repeated: Option<&'static str>,
}

impl Legs {
    /// The leg of an entry in the wallet's chain.
    pub fn take(&mut self, wallet: WalletId, leg: Leg, amount: Money) {
        let repeated = match leg {
            Leg::Sent { to } => self.sent.replace((wallet, to, amount)).is_some(),
            Leg::Received { from } => self.received.replace((from, wallet, amount)).is_some(),
            Leg::Refused { from } => self.refused.replace((from, wallet)).is_some(),
            Leg::Settled => self.settled.replace(wallet).is_some(),
            Leg::Returned => self.returned.replace((wallet, amount)).is_some(),
        };
        if repeated {
            self.repeated = Some(name(leg));
        }
    }

    /// What cannot be, at any time and however few of the legs are there yet; as a predicate of the transfer.
    pub fn fault(&self) -> Option<String> {
        if let Some(leg) = self.repeated {
            return Some(format!("was {leg} twice"));
        }
        let Some((payer, payee, amount)) = self.sent else {
            return Some("arrived or ended, and left nowhere".to_owned());
        };
        let fault = |what: &str| Some(what.to_owned());
        if self.received.is_some_and(|side| Some(side) != self.sent) {
            return fault("arrived otherwise than it left");
        }
        if self.returned.is_some_and(|back| back != (payer, amount)) {
            return fault("came back otherwise than it left");
        }
        if self.settled.is_some_and(|wallet| wallet != payer) || self.refused.is_some_and(|two| two != (payer, payee)) {
            return fault("was settled or refused by another wallet");
        }
        match (self.received.is_some(), self.refused.is_some(), self.settled.is_some(), self.returned.is_some()) {
            (true, true, _, _) => fault("was received and refused"),
            (_, _, true, true) => fault("was settled and returned"),
            (false, _, true, _) => fault("was settled and never received: its money is lost"),
            (_, false, _, true) => fault("came back without having been refused"),
            _ => None,
        }
    }

    /// Whether nothing more is to come. What has a fault is never complete.
    pub fn is_complete(&self) -> bool {
        self.is_concluded() && self.fault().is_none()
    }

    /// What has left and neither arrived nor come back.
    pub fn in_flight(&self) -> Option<Money> {
        let (_, _, amount) = self.sent?;
        (self.received.is_none() && self.returned.is_none()).then_some(amount)
    }

    /// Whether the payer's chain says that the money arrived.
    pub fn has_arrived_for_payer(&self) -> bool {
        self.settled.is_some()
    }

    /// Whether the payer's chain says how it ended.
    pub fn is_concluded(&self) -> bool {
        self.settled.is_some() || self.returned.is_some()
    }

    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    pub fn is_returned(&self) -> bool {
        self.returned.is_some()
    }
}

fn name(leg: Leg) -> &'static str {
    match leg {
        Leg::Sent { .. } => "sent",
        Leg::Received { .. } => "received",
        Leg::Refused { .. } => "refused",
        Leg::Settled => "settled",
        Leg::Returned => "returned",
    }
}

/// Transfers with missing or wrong legs. One that is complete is forgotten: what is kept is bounded
/// by what is in flight, not by the length of the chains.
#[derive(Debug, Default)]
pub struct Transfers {
    pub open: HashMap<TransactionId, Legs>,
    pub complete: u64,
    /// Complete ones that came back.
    pub returned: u64,
}

impl Transfers {
    /// An entry of the wallet's chain.
    pub fn take(&mut self, wallet: WalletId, entry: &Entry) {
        let Flow::Transfer { id, leg } = entry.flow() else { return };
        let legs = self.open.entry(id).or_default();
        legs.take(wallet, leg, entry.amount);
        if legs.is_complete() {
            self.complete += 1;
            self.returned += u64::from(legs.is_returned());
            self.open.remove(&id);
        }
    }

    pub fn faults(&self) -> impl Iterator<Item = String> {
        self.open.iter().filter_map(|(id, legs)| Some(format!("transfer {id} {}", legs.fault()?)))
    }

    /// In minor units.
    pub fn in_flight(&self) -> u64 {
        self.open.values().filter_map(Legs::in_flight).map(Money::minor).sum()
    }
}

#[cfg(test)]
mod tests {
    use ledger::EntryKind;
    use topology::wire::CreditRefusal;
    use uuid::Uuid;

    use super::*;

    const ID: TransactionId = Uuid::from_u128(1);

    fn wallet(number: u128) -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(number))
    }

    fn entry(id: TransactionId, kind: EntryKind, amount: u64) -> Entry {
        let amount = Money::from_minor(amount);
        Entry::new(id, kind, amount, amount)
    }

    fn sent() -> (WalletId, Entry) {
        (wallet(1), entry(ID, EntryKind::TransferOut { to: wallet(2), reverses: None }, 7))
    }

    fn received(amount: u64) -> (WalletId, Entry) {
        (wallet(2), entry(ID, EntryKind::TransferIn { from: wallet(1) }, amount))
    }

    fn settled() -> (WalletId, Entry) {
        (wallet(1), entry(Uuid::from_u128(2), EntryKind::TransferSettled { transfer: ID }, 0))
    }

    fn refused() -> (WalletId, Entry) {
        let kind = EntryKind::TransferRefused { transfer: ID, from: wallet(1), reason: CreditRefusal::WalletFrozen };
        (wallet(2), entry(Uuid::from_u128(3), kind, 0))
    }

    fn returned() -> (WalletId, Entry) {
        let kind = EntryKind::TransferReturned { transfer: ID, reason: CreditRefusal::WalletFrozen };
        (wallet(1), entry(Uuid::from_u128(4), kind, 7))
    }

    #[test]
    fn each_way_that_a_transfer_can_go_is_judged() {
        for (legs, is_sound, open, in_flight) in [
            (vec![settled(), received(7), sent()], true, 0, 0),
            (vec![sent(), refused(), returned()], true, 0, 0),
            (vec![sent()], true, 1, 7),
            (vec![sent(), refused()], true, 1, 7),
            (vec![sent(), received(7)], true, 1, 0),
            (vec![received(7)], false, 1, 0),
            (vec![sent(), settled()], false, 1, 7),
            (vec![sent(), returned()], false, 1, 0),
            (vec![sent(), received(7), refused()], false, 1, 0),
            (vec![sent(), received(8), settled()], false, 1, 0),
            (vec![sent(), received(7), received(7)], false, 1, 0),
            (vec![sent(), received(7), settled(), received(7)], false, 1, 0),
            (vec![sent(), sent(), received(7)], false, 1, 0),
        ] {
            let mut transfers = Transfers::default();
            legs.iter().for_each(|(wallet, entry)| transfers.take(*wallet, entry));
            assert_eq!(transfers.faults().next().is_none(), is_sound, "{legs:?}");
            assert_eq!((transfers.open.len(), transfers.in_flight()), (open, in_flight), "{legs:?}");
        }
    }
}

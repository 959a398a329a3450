//! The books of all cells at one moment, added up while the traffic goes on: was money made or lost?
//! Σ balances + Σ in flight = Σ came in − Σ went out.
//!
//! The moment lies so far back that everything that bears an earlier time is in the tables. Cells are read one after the
//! other: what is newer than the moment does not count, but is looked at, so that the other half of a transfer is found
//! whichever cell's clock is ahead. A wallet that moves meanwhile is counted once, wherever it is met first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use control_api::flows::{Flows, Leg, Move};
use ledger::{Money, TransactionId};
use serde::Serialize;
use topology::{CellId, WalletId};

use crate::sums::Sums;

/// Longer than any write takes from when it gets its time to when it is in the tables or given up.
pub const CUT_LAG_MICROS: i64 = 15_000_000;
pub const PAGES_MAX: usize = 1_000_000;
/// Faults reported word for word.
pub(crate) const FAULTS_KEPT: usize = 20;

/// Sums in minor units.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CellSums {
    pub wallets: u64,
    pub blocks: u64,
    pub balances: u64,
    pub came_in: u64,
    pub went_out: u64,
    /// By transfers that other wallets, of this cell or another, received or will.
    pub sent: u64,
    pub received: u64,
    pub returned: u64,
}

/// What wallets of one cell sent to those of another.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairSums {
    pub from: String,
    pub to: String,
    pub sent: u64,
    pub received: u64,
    pub returned: u64,
    pub in_flight: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Books {
    pub until: String,
    pub cells: BTreeMap<CellId, CellSums>,
    pub pairs: Vec<PairSums>,
    pub balances: u64,
    pub in_flight: u64,
    pub came_in: u64,
    pub went_out: u64,
    /// Balances and what is in flight, less what came in, plus what went out: 0, or money was made (+) or lost (−).
    pub difference: i128,
    pub faults: Vec<String>,
}

/// The halves of a transfer, as far as they were met.
#[derive(Default)]
struct Halves {
    out: Option<Leg>,
    received: Option<Leg>,
    returned: Option<Leg>,
    settled: Option<Leg>,
    /// The payer that the received credit names.
    payer: Option<WalletId>,
}

/// Books that are being added up.
#[derive(Default)]
pub struct Adding {
    cells: BTreeMap<CellId, CellSums>,
    /// Where each wallet was counted, and its last balance.
    counted: HashMap<WalletId, (CellId, u64)>,
    met: BTreeSet<WalletId>,
    transfers: HashMap<TransactionId, Halves>,
    faults: Vec<String>,
    more_faults: u64,
}

impl Adding {
    pub fn take(&mut self, cell: &CellId, flows: Flows) {
        let wallet = flows.wallet;
        self.met.insert(wallet);
        if !flows.is_home || self.counted.get(&wallet).is_some_and(|(at, _)| at != cell) {
            return;
        }
        let sums = self.cells.entry(cell.clone()).or_default();
        let (_, balance) = self.counted.entry(wallet).or_insert_with(|| {
            sums.wallets += 1;
            (cell.clone(), 0)
        });
        *balance = flows.balance.unwrap_or(*balance);
        sums.blocks += flows.blocks;
        sums.came_in += flows.came_in;
        sums.went_out += flows.went_out;
        for leg in flows.legs {
            let halves = self.transfers.entry(leg.transfer).or_default();
            let (place, sum) = match leg.leg {
                Move::Out => (&mut halves.out, &mut sums.sent),
                Move::In => {
                    halves.payer = Some(leg.other);
                    (&mut halves.received, &mut sums.received)
                }
                Move::Returned => (&mut halves.returned, &mut sums.returned),
                // It bears no amount of its own.
                Move::Settled => (&mut halves.settled, &mut sums.returned),
            };
            if leg.counts {
                *sum += leg.amount;
            }
            let (transfer, kind) = (leg.transfer, leg.leg);
            if place.replace(leg).is_some() {
                self.faults.push(format!("transfer {transfer}: {kind:?} twice"));
            }
        }
    }

    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what);
        } else {
            self.more_faults += 1;
        }
    }

    pub fn close(mut self, until: String) -> Books {
        for (cell, balance) in self.counted.values() {
            self.cells.entry(cell.clone()).or_default().balances += balance;
        }
        let uncounted: Vec<WalletId> =
            self.met.iter().filter(|wallet| !self.counted.contains_key(wallet)).copied().collect();
        for wallet in uncounted {
            self.fault(format!("wallet {wallet} was met and is at home nowhere; it may be moving: run this again"));
        }
        let mut pairs: BTreeMap<(String, String), PairSums> = BTreeMap::new();
        let mut in_flight: i128 = 0;
        for (transfer, halves) in std::mem::take(&mut self.transfers) {
            let Some(out) = &halves.out else {
                // What left after its payer's cell was read arrived after the moment that counts.
                if let Some(leg) = halves.received.iter().chain(&halves.returned).find(|leg| leg.counts) {
                    let amount = Money::from_minor(leg.amount);
                    self.fault(format!("transfer {transfer} of {amount} arrived, and left nowhere"));
                }
                continue;
            };
            let amount = Money::from_minor(out.amount);
            let amounts = halves.received.iter().chain(&halves.returned).map(|leg| leg.amount);
            if amounts.clone().any(|amount| amount != out.amount) || amounts.count() > 1 {
                self.fault(format!("transfer {transfer} of {amount} did not end once, and as it left"));
            }
            let to = match &halves.received {
                Some(received) => received.cell.to_string(),
                None => self.counted.get(&out.other).map_or("?".to_owned(), |(cell, _)| cell.to_string()),
            };
            let key = (out.cell.to_string(), to.clone());
            let pair =
                pairs.entry(key).or_insert_with(|| PairSums { from: out.cell.to_string(), to, ..Default::default() });
            let counted = |leg: &Option<Leg>| leg.as_ref().filter(|leg| leg.counts).map_or(0, |leg| leg.amount);
            let (sent, received, returned) =
                (counted(&halves.out), counted(&halves.received), counted(&halves.returned));
            pair.sent += sent;
            pair.received += received;
            pair.returned += returned;
            // Less than nothing where the receiver's clock is ahead: the sums are right all the same.
            let mut flying = i128::from(sent) - i128::from(received) - i128::from(returned);
            // What was settled arrived before that: where it did not, its receiver has lost it.
            if halves.settled.as_ref().is_some_and(|leg| leg.counts) && halves.received.is_none() {
                self.fault(format!("transfer {transfer} of {amount} was settled, and arrived nowhere"));
                flying = 0;
            }
            in_flight += flying;
            pair.in_flight += u64::try_from(flying).unwrap_or(0);
        }
        if self.more_faults > 0 {
            self.faults.push(format!("and {} more", self.more_faults));
        }
        let sum = |of: fn(&CellSums) -> u64| self.cells.values().map(of).sum::<u64>();
        let (balances, came_in, went_out) = (sum(|s| s.balances), sum(|s| s.came_in), sum(|s| s.went_out));
        let difference = Sums { balances, in_flight, came_in, went_out }.difference();
        Books {
            until,
            pairs: pairs.into_values().collect(),
            balances,
            in_flight: u64::try_from(in_flight).unwrap_or(0),
            came_in,
            went_out,
            difference,
            faults: self.faults,
            cells: self.cells,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn cell(number: u16) -> CellId {
        CellId::parse(format!("cell-{number}")).expect("sound")
    }

    fn wallet(number: u128) -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(number))
    }

    fn flows(of: u128, balance: u64, came_in: u64, legs: Vec<Leg>) -> Flows {
        Flows { wallet: wallet(of), is_home: true, balance: Some(balance), blocks: 1, came_in, went_out: 0, legs }
    }

    fn leg(leg: Move, amount: u64, at: u16, counts: bool) -> Leg {
        Leg { transfer: Uuid::from_u128(7), leg, amount, other: wallet(2), cell: cell(at), counts }
    }

    fn books(parts: Vec<(u16, Flows)>) -> Books {
        let mut adding = Adding::default();
        parts.into_iter().for_each(|(at, flows)| adding.take(&cell(at), flows));
        adding.close(String::new())
    }

    #[test]
    fn money_on_its_way_is_counted_once() {
        let sent = flows(1, 70, 100, vec![leg(Move::Out, 30, 1, true)]);
        let arrived = |counts| flows(2, if counts { 30 } else { 0 }, 0, vec![leg(Move::In, 30, 2, counts)]);
        for (counts, in_flight) in [(true, 0), (false, 30)] {
            let books = books(vec![(1, sent.clone()), (2, arrived(counts))]);
            assert_eq!((books.difference, books.in_flight, books.faults.len()), (0, in_flight, 0));
            assert_eq!((books.pairs[0].from.as_str(), books.pairs[0].to.as_str()), ("cell-1", "cell-2"));
        }
        let alone = books(vec![(1, sent), (2, flows(2, 0, 0, vec![]))]);
        assert_eq!((alone.difference, alone.in_flight, alone.pairs[0].in_flight), (0, 30, 30));
    }

    #[test]
    fn money_that_was_made_or_lost_is_told() {
        let made = books(vec![(1, flows(1, 101, 100, vec![]))]);
        assert_eq!(made.difference, 1);
        let nowhere = books(vec![(2, flows(2, 30, 0, vec![leg(Move::In, 30, 2, true)]))]);
        assert_eq!((nowhere.difference, nowhere.faults.len()), (30, 1));
        let short = vec![leg(Move::Out, 30, 1, true)];
        let less = books(vec![(1, flows(1, 70, 100, short)), (2, flows(2, 29, 0, vec![leg(Move::In, 29, 2, true)]))]);
        assert_eq!((less.difference, less.faults.len()), (0, 1), "the sums agree, the transfer does not");
    }

    #[test]
    fn what_was_settled_and_never_arrived_is_lost() {
        let sent = vec![leg(Move::Out, 30, 1, true), leg(Move::Settled, 0, 1, true)];
        let books = books(vec![(1, flows(1, 70, 100, sent)), (2, flows(2, 0, 0, vec![]))]);
        assert_eq!((books.difference, books.in_flight, books.faults.len()), (-30, 0, 1));
    }

    #[test]
    fn a_wallet_that_moves_while_the_books_are_read_is_counted_once() {
        let books = books(vec![(1, flows(1, 5, 5, vec![])), (2, flows(1, 5, 5, vec![]))]);
        assert_eq!((books.balances, books.difference, books.cells.len()), (5, 0, 1));
    }
}

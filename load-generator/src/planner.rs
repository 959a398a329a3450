//! Invents the next request: caller, kind and amount. Seeded, so that the same things can be asked
//! again.

use fastrand::Rng;
use ledger::Money;
use topology::CellId;

use crate::mix::{Kind, Mix};
use crate::operation::Customer;

/// Largest amounts, in minor units: small beside the first deposit, so that few are refused by chance.
const DEPOSIT_MAX_MINOR: u64 = 500;
const PAYMENT_MAX_MINOR: u64 = 100;
/// So many payments of a hundred ask for more than any customer has: refusals belong to what is
/// audited.
const TOO_MUCH_PERCENT: u8 = 3;
const TOO_MUCH: Money = Money::MAX_AMOUNT;

pub struct Planner {
    pub mix: Mix,
    /// Percent of the transfers that go to another cell; `None`: as it comes.
    pub cross_percent: Option<u8>,
    dice: Rng,
    /// Customers by cell, for payees of this or another cell.
    cells: Vec<(CellId, Vec<usize>)>,
}

pub struct Intent {
    pub kind: Kind,
    /// None for a creation.
    pub customer: Option<usize>,
    pub payee: Option<usize>,
    pub amount: Money,
}

impl Planner {
    /// `customers`: those with wallets; new ones that are created meanwhile are not asked for
    /// anything.
    pub fn new(mix: Mix, cross_percent: Option<u8>, seed: u64, customers: &[Customer]) -> Self {
        let mut cells: Vec<(CellId, Vec<usize>)> = vec![];
        for (position, customer) in customers.iter().enumerate() {
            let Some(cell) = &customer.cell else { continue };
            match cells.iter_mut().find(|(id, _)| id == cell) {
                Some((_, inside)) => inside.push(position),
                None => cells.push((cell.clone(), vec![position])),
            }
        }
        Self { mix, cross_percent, dice: Rng::with_seed(seed), cells }
    }

    /// `count` customers have wallets: at least two, so that one can pay the other. Where there may be no more, a creation
    /// is a read.
    pub fn next(&mut self, customers: &[Customer], count: usize, may_create: bool) -> Intent {
        let kind = self.mix.draw(&mut self.dice);
        let customer = self.dice.usize(0..count);
        let intent = Intent { kind, customer: Some(customer), payee: None, amount: Money::ZERO };
        match kind {
            Kind::Creates if may_create => Intent { customer: None, ..intent },
            Kind::Creates => Intent { kind: Kind::Reads, ..intent },
            Kind::Reads => intent,
            Kind::Deposits => Intent { amount: Money::from_minor(self.dice.u64(1..=DEPOSIT_MAX_MINOR)), ..intent },
            Kind::Withdrawals => Intent { amount: self.payment(), ..intent },
            Kind::Transfers => {
                let payee = self.payee(customers, customer, count);
                Intent { payee: Some(payee), amount: self.payment(), ..intent }
            }
        }
    }

    fn payment(&mut self) -> Money {
        if self.dice.u8(0..100) < TOO_MUCH_PERCENT {
            return TOO_MUCH;
        }
        Money::from_minor(self.dice.u64(1..=PAYMENT_MAX_MINOR))
    }

    fn payee(&mut self, customers: &[Customer], payer: usize, count: usize) -> usize {
        let any = (payer + self.dice.usize(1..count)) % count;
        let (Some(percent), Some(cell)) = (self.cross_percent, &customers[payer].cell) else { return any };
        let crosses = self.dice.u8(0..100) < percent;
        let fits = self.cells.iter().filter(|(id, inside)| (id != cell) == crosses && inside.len() > 1);
        let fits: Vec<&Vec<usize>> = fits.map(|(_, inside)| inside).collect();
        let Some(inside) = self.dice.choice(fits) else { return any };
        let payee = inside[self.dice.usize(0..inside.len())];
        if payee == payer { any } else { payee }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customers() -> Vec<Customer> {
        let cell = |number| CellId::parse(format!("cell-{number}")).expect("sound");
        (0..40).map(|n| Customer { user: n.to_string(), wallet: None, cell: Some(cell(n % 2)) }).collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let (customers, mix): (_, Mix) = (customers(), "transfers:1,deposits:1".parse().expect("sound"));
        let ask = || {
            let mut planner = Planner::new(mix, Some(50), 9, &customers);
            let next = |_| planner.next(&customers, customers.len(), true);
            (0..100).map(next).map(|intent| (intent.customer, intent.payee, intent.amount)).collect::<Vec<_>>()
        };
        assert_eq!(ask(), ask());
    }

    #[test]
    fn creations_end_where_there_may_be_no_more_customers() {
        let (customers, mix): (_, Mix) = (customers(), "creates:1".parse().expect("sound"));
        let mut planner = Planner::new(mix, None, 3, &customers);
        let asked = [true, false].map(|may| planner.next(&customers, customers.len(), may).kind);
        assert_eq!(asked, [Kind::Creates, Kind::Reads]);
    }

    #[test]
    fn nobody_pays_himself_and_the_share_across_cells_is_as_asked() {
        let (customers, mix): (_, Mix) = (customers(), "transfers:1".parse().expect("sound"));
        for (percent, expected) in [(0, 0..=60), (50, 400..=600), (100, 1_000..=1_000)] {
            let mut planner = Planner::new(mix, Some(percent), 1, &customers);
            let pairs = (0..1_000).map(|_| planner.next(&customers, customers.len(), true));
            let pairs: Vec<_> =
                pairs.map(|intent| (intent.customer.expect("a payer"), intent.payee.expect("a payee"))).collect();
            assert!(pairs.iter().all(|(from, to)| from != to));
            let across = pairs.iter().filter(|(from, to)| customers[*from].cell != customers[*to].cell).count();
            assert!(expected.contains(&across), "{percent} %: {across}");
        }
    }
}

//! The books of all cells, kept up to date block by block: what [`crate::Adding`] reads from all chains is here at once,
//! at any cut, for the price of what has changed since the last one.
//!
//! Blocks may come in any order, from any cell, and any number of times: each counts once, after the one below it. Memory
//! is a row for each wallet, and what is in flight.

use std::collections::{BTreeMap, HashMap};

use ledger::flow::{Flow, Leg};
use ledger::{Block, Timestamp, TransactionId};
use topology::{CellId, WalletId};

use crate::adding::{Books, CellSums, FAULTS_KEPT, PairSums};
use crate::sums::Sums;

/// The number of a cell among those that were met.
type Cell = u16;

/// A wallet, as all blocks that count have left it.
#[derive(Debug, Clone, Copy)]
struct Known {
    next: u64,
    balance: u64,
    home: Cell,
}

/// What a block says that does not count yet.
#[derive(Debug, Clone)]
struct Effect {
    at: Timestamp,
    home: CellId,
    balance: u64,
    came_in: u64,
    went_out: u64,
    legs: Vec<(TransactionId, Leg, u64)>,
}

/// What counts of one transfer, until it has ended.
#[derive(Debug, Clone, Default)]
struct Halves {
    sent: Option<Half>,
    received: Option<Half>,
    returned: Option<u64>,
    is_settled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Half {
    amount: u64,
    cell: Cell,
    other: WalletId,
}

/// What of a transfer comes after the cut: the receiver's clock may be ahead of the sender's, or behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Later {
    /// In which cell.
    sent: Option<Cell>,
    received: Option<Cell>,
}

/// Books that follow what is written.
#[derive(Debug, Default)]
pub struct Running {
    names: Vec<CellId>,
    cells: Vec<CellSums>,
    wallets: HashMap<WalletId, Known>,
    waiting: BTreeMap<(WalletId, u64), Effect>,
    open: HashMap<TransactionId, Halves>,
    /// Of transfers that have ended.
    pairs: BTreeMap<(Cell, Cell), PairSums>,
    faults: Vec<String>,
    more_faults: u64,
}

impl Effect {
    fn of(block: &Block) -> Self {
        let mut effect = Self {
            at: block.at,
            home: block.home.clone(),
            balance: block.state.balance.minor(),
            came_in: 0,
            went_out: 0,
            legs: Vec::new(),
        };
        for entry in &block.entries {
            let amount = entry.amount.minor();
            match entry.flow() {
                Flow::In => effect.came_in += amount,
                Flow::Out => effect.went_out += amount,
                Flow::Transfer { id, leg } => effect.legs.push((id, leg, amount)),
                Flow::None => {}
            }
        }
        effect
    }
}

impl Halves {
    fn has_ended(&self) -> bool {
        self.sent.is_some() && (self.returned.is_some() || (self.is_settled && self.received.is_some()))
    }

    /// What has left and neither arrived nor come back; less than nothing where the receiver's clock is ahead.
    fn in_flight(&self) -> i128 {
        let amount = |half: &Option<Half>| half.map_or(0, |half| i128::from(half.amount));
        amount(&self.sent) - amount(&self.received) - i128::from(self.returned.unwrap_or(0))
    }

    /// What cannot be, given what of it comes after the cut.
    fn fault(&self, later: Later) -> Option<&'static str> {
        let Some(sent) = self.sent else {
            return later.sent.is_none().then_some("arrived or ended, and left nowhere");
        };
        let ends = self.received.map(|half| half.amount).into_iter().chain(self.returned);
        if ends.clone().any(|amount| amount != sent.amount) || ends.count() > 1 {
            return Some("did not end once, and as it left");
        }
        self.is_lost(later).then_some("was settled, and arrived nowhere")
    }

    fn is_lost(&self, later: Later) -> bool {
        self.is_settled && self.received.is_none() && later.received.is_none()
    }
}

impl Running {
    /// A block of any cell. It counts once a cut is at or after its time.
    pub fn take(&mut self, block: &Block) {
        let next = self.wallets.get(&block.wallet).map_or(0, |known| known.next);
        if block.number >= next {
            self.waiting.entry((block.wallet, block.number)).or_insert_with(|| Effect::of(block));
        }
    }

    /// Blocks that do not count yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Wallets of which blocks are missing: each with the number that is due, and the lowest one that waits.
    pub fn gaps(&self) -> Vec<(WalletId, u64, u64)> {
        let mut gaps: Vec<(WalletId, u64, u64)> = Vec::new();
        for &(wallet, number) in self.waiting.keys() {
            let is_lowest = gaps.last().is_none_or(|(last, ..)| *last != wallet);
            let due = self.wallets.get(&wallet).map_or(0, |known| known.next);
            if is_lowest && number > due {
                gaps.push((wallet, due, number));
            }
        }
        gaps
    }

    /// Wallets that are known.
    pub fn wallets(&self) -> usize {
        self.wallets.len()
    }

    /// The books at a cut that is not before the last one. Every block that bears a time until then has been taken.
    pub fn close(&mut self, until: Timestamp) -> Books {
        self.count_until(until);
        self.books(until)
    }

    /// Counts what bears a time until then, so that less waits.
    pub fn count_until(&mut self, until: Timestamp) {
        let mut held: Option<WalletId> = None;
        for ((wallet, number), effect) in std::mem::take(&mut self.waiting) {
            let next = self.wallets.get(&wallet).map_or(0, |known| known.next);
            if held != Some(wallet) && number == next && effect.at <= until {
                self.count(wallet, effect);
            } else if number >= next {
                // What comes after a block that does not count, or is missing, does not count either.
                held = Some(wallet);
                self.waiting.insert((wallet, number), effect);
            }
        }
    }

    fn count(&mut self, wallet: WalletId, effect: Effect) {
        let home = self.number(&effect.home);
        let before = self.wallets.get(&wallet).copied();
        if let Some(before) = before {
            let left = &mut self.cells[usize::from(before.home)];
            left.wallets -= 1;
            left.balances -= before.balance;
        }
        let sums = &mut self.cells[usize::from(home)];
        sums.wallets += 1;
        sums.blocks += 1;
        sums.balances += effect.balance;
        sums.came_in += effect.came_in;
        sums.went_out += effect.went_out;
        let next = before.map_or(0, |before| before.next) + 1;
        self.wallets.insert(wallet, Known { next, balance: effect.balance, home });
        for (transfer, leg, amount) in effect.legs {
            self.leg(wallet, home, transfer, leg, amount);
        }
    }

    fn leg(&mut self, wallet: WalletId, cell: Cell, transfer: TransactionId, leg: Leg, amount: u64) {
        // No money: the payer's chain says when it is back.
        if matches!(leg, Leg::Refused { .. }) {
            return;
        }
        let sums = &mut self.cells[usize::from(cell)];
        let halves = self.open.entry(transfer).or_default();
        let half = |other| Some(Half { amount, cell, other });
        let is_repeated = match leg {
            Leg::Sent { to } => {
                sums.sent += amount;
                std::mem::replace(&mut halves.sent, half(to)).is_some()
            }
            Leg::Received { from } => {
                sums.received += amount;
                std::mem::replace(&mut halves.received, half(from)).is_some()
            }
            Leg::Returned => {
                sums.returned += amount;
                halves.returned.replace(amount).is_some()
            }
            Leg::Settled => std::mem::replace(&mut halves.is_settled, true),
            Leg::Refused { .. } => false,
        };
        let ended = halves.has_ended().then(|| halves.clone());
        if is_repeated {
            self.fault(format!("wallet {wallet}: a leg of transfer {transfer} twice"));
        }
        let Some(halves) = ended else { return };
        self.open.remove(&transfer);
        if let Some(what) = halves.fault(Later::default()) {
            self.fault(format!("transfer {transfer} {what}"));
        }
        if let Some(pair) = self.pair(&halves, Later::default()) {
            add(self.pairs.entry(pair).or_default(), &halves, Later::default());
        }
    }

    /// The cells between which it goes, if it has left or will. Of one that has not arrived, the payee's cell as it is known.
    fn pair(&self, halves: &Halves, later: Later) -> Option<(Cell, Cell)> {
        let from = halves.sent.map(|half| half.cell).or(later.sent)?;
        let to = halves.received.map(|half| half.cell).or(later.received);
        let payee = || self.wallets.get(&halves.sent?.other).map(|known| known.home);
        Some((from, to.or_else(payee).unwrap_or(Cell::MAX)))
    }

    fn books(&mut self, until: Timestamp) -> Books {
        let mut pairs = self.pairs.clone();
        let (mut in_flight, mut faults): (i128, Vec<String>) = (0, Vec::new());
        let later = self.later();
        for (transfer, halves) in &self.open {
            let later = later.get(transfer).copied().unwrap_or_default();
            if let Some(what) = halves.fault(later) {
                faults.push(format!("transfer {transfer} {what}"));
            }
            if let Some(pair) = self.pair(halves, later) {
                in_flight += if halves.is_lost(later) { 0 } else { halves.in_flight() };
                add(pairs.entry(pair).or_default(), halves, later);
            }
        }
        faults.sort();
        let faults: Vec<String> = self.faults.iter().cloned().chain(faults).collect();
        let more = faults.len().saturating_sub(FAULTS_KEPT) as u64 + self.more_faults;
        let more = (more > 0).then(|| format!("and {more} more"));
        let faults = faults.into_iter().take(FAULTS_KEPT).chain(more).collect();
        let sum = |of: fn(&CellSums) -> u64| self.cells.iter().map(of).sum::<u64>();
        let (balances, came_in, went_out) = (sum(|s| s.balances), sum(|s| s.came_in), sum(|s| s.went_out));
        let difference = Sums { balances, in_flight, came_in, went_out }.difference();
        let name = |cell: Cell| self.names.get(usize::from(cell)).map_or("?".to_owned(), CellId::to_string);
        let named = |((from, to), pair): ((Cell, Cell), PairSums)| PairSums { from: name(from), to: name(to), ..pair };
        let mut pairs: Vec<PairSums> = pairs.into_iter().map(named).collect();
        pairs.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        Books {
            until: until.to_string(),
            cells: self.names.iter().cloned().zip(self.cells.iter().cloned()).collect(),
            pairs,
            balances,
            in_flight: u64::try_from(in_flight).unwrap_or(0),
            came_in,
            went_out,
            difference,
            faults,
        }
    }

    fn later(&mut self) -> HashMap<TransactionId, Later> {
        let mut later: HashMap<TransactionId, Later> = HashMap::new();
        let waiting: Vec<_> = self.waiting.values().map(|effect| (effect.home.clone(), effect.legs.clone())).collect();
        for (home, legs) in waiting {
            let home = self.number(&home);
            for (transfer, leg, _) in &legs {
                let of = later.entry(*transfer).or_default();
                match leg {
                    Leg::Sent { .. } => of.sent = Some(home),
                    Leg::Received { .. } => of.received = Some(home),
                    Leg::Refused { .. } | Leg::Settled | Leg::Returned => {}
                }
            }
        }
        later
    }

    fn number(&mut self, cell: &CellId) -> Cell {
        let place = self.names.iter().position(|name| name == cell).unwrap_or_else(|| {
            self.names.push(cell.clone());
            self.cells.push(CellSums::default());
            self.names.len() - 1
        });
        Cell::try_from(place).expect("there are far fewer cells")
    }

    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what);
        } else {
            self.more_faults += 1;
        }
    }
}

fn add(pair: &mut PairSums, halves: &Halves, later: Later) {
    let amount = |half: &Option<Half>| half.map_or(0, |half| half.amount);
    pair.sent += amount(&halves.sent);
    pair.received += amount(&halves.received);
    pair.returned += halves.returned.unwrap_or(0);
    pair.in_flight += if halves.is_lost(later) { 0 } else { u64::try_from(halves.in_flight()).unwrap_or(0) };
}
#[cfg(test)]
mod tests;

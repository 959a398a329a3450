//! The answers that clients got, held against the entries of the chains: acknowledged means there
//! exactly once, refused means nowhere, unknown means at most once.

use std::collections::{HashMap, HashSet};

use ledger::{Entry, EntryKind, TransactionId};
use load_generator::mix::Kind;
use load_generator::operation::{Operation, key, key_hash};
use load_generator::outcome::Outcome;
use reconciliation::Reported;
use topology::WalletId;

use super::Faults;
use crate::check::Check;
use crate::losses::LostOperation;
use crate::victims::Victims;

pub struct Journal<'a> {
    operations: HashMap<[u8; 16], Seen<'a>>,
    /// Transfers that came back.
    returned: HashSet<TransactionId>,
    strange: Faults,
}

struct Seen<'a> {
    outcome: &'a Outcome,
    operation: &'a Operation,
    times: u32,
    id: Option<TransactionId>,
}

impl<'a> Journal<'a> {
    /// Of loads that shared a fleet.
    pub fn new(outcomes: &[&'a Outcome]) -> Self {
        let of_one = |outcome: &&'a Outcome| {
            let outcome = *outcome;
            let writes = outcome.setup.iter().chain(&outcome.operations).filter(|operation| operation.writes());
            let seen = |operation| Seen { outcome, operation, times: 0, id: None };
            writes.map(move |one| (key_hash(&key(&outcome.run, one.number)), seen(one)))
        };
        let operations = outcomes.iter().flat_map(of_one).collect();
        Self { operations, returned: HashSet::new(), strange: Faults::default() }
    }

    /// An entry of the wallet's chain.
    pub fn entry(&mut self, wallet: WalletId, entry: &Entry) {
        if let EntryKind::TransferReturned { transfer, .. } = entry.kind {
            self.returned.insert(transfer);
        }
        let Some(key) = entry.key else { return };
        let Some(seen) = self.operations.get_mut(&key.key) else {
            return self.strange.add(format!("wallet {wallet}, entry {}: no client asked for it", entry.id));
        };
        seen.times += 1;
        seen.id = Some(entry.id);
        if !is_as_asked(seen.outcome, seen.operation, wallet, entry) {
            self.strange.add(format!("asked: {:?}; done in {wallet}: {entry:?}", seen.operation));
        }
    }

    /// With what was acknowledged and is in no chain. That is no fault where a cell may have lost what it wrote last.
    pub fn checks(self, bereft: Option<&Victims>) -> (Vec<Check>, Vec<LostOperation>) {
        let Self { operations, returned, strange } = self;
        let mut gone = Vec::new();
        let (mut lost, mut undead, mut doubled) = (Faults::default(), Faults::default(), Faults::default());
        let (mut acknowledged, mut refused, mut unknown, mut unknown_done) = (0, 0, 0, 0);
        for Seen { outcome, operation, times, id } in operations.into_values() {
            let name =
                || format!("{} ({:?}, {:?})", key(&outcome.run, operation.number), operation.kind, operation.last);
            if times > 1 {
                doubled.add(format!("{} done {times} times", name()));
            }
            let came_back = id.is_some_and(|id| returned.contains(&id));
            match &operation.last {
                Reported::Done(_) | Reported::Returned => {
                    acknowledged += 1;
                    let is_returned = operation.last == Reported::Returned;
                    // A transfer that the answer called under way may have come back since: its
                    // outcome was not known yet.
                    if times == 0 || (is_returned && !came_back) {
                        gone.push(LostOperation::of(outcome, operation));
                        let cell = outcome.customers[operation.customer].cell.as_ref();
                        let may_be_lost = bereft.is_some_and(|victims| cell.is_some_and(|cell| victims.have(cell)));
                        if !may_be_lost {
                            lost.add(name());
                        }
                    }
                }
                Reported::Refused(_) | Reported::Failed(_) => {
                    refused += 1;
                    if times > 0 {
                        undead.add(name());
                    }
                }
                Reported::Unknown(_) => {
                    unknown += 1;
                    unknown_done += u32::from(times > 0);
                }
            }
        }
        let but = bereft.map_or_else(String::new, |victims| format!(", but for what {victims} lost"));
        let name = format!("every acknowledged request is in its chain{but}");
        gone.sort_by_key(|one| one.answered_us);
        let checks = vec![
            lost.check(&name, format!("{acknowledged} acknowledged, {} of them lost", gone.len())),
            doubled.check("nothing was done twice", format!("{} requests", acknowledged + refused + unknown)),
            undead.check(
                "nothing was done of what was answered with \"nothing was done\"",
                format!("{refused} refused or failed"),
            ),
            strange.check(
                "everything was done as asked, and nothing else",
                format!("{unknown} requests of unknown outcome, {unknown_done} of which were done"),
            ),
        ];
        (checks, gone)
    }
}

fn is_as_asked(outcome: &Outcome, operation: &Operation, wallet: WalletId, entry: &Entry) -> bool {
    let wallet_of = |position: usize| outcome.customers[position].wallet;
    let kind = match (operation.kind, &entry.kind) {
        (Kind::Creates, EntryKind::Opened)
        | (Kind::Deposits, EntryKind::Deposit)
        | (Kind::Withdrawals, EntryKind::Withdrawal) => true,
        (Kind::Transfers, EntryKind::TransferOut { to, .. }) => {
            let named = match operation.last {
                Reported::Done(Some(id)) => id == entry.id,
                _ => true,
            };
            named && operation.payee.and_then(wallet_of) == Some(*to)
        }
        _ => false,
    };
    // The wallet of a creation without an answer is not known.
    let is_own = wallet_of(operation.customer).is_none_or(|own| own == wallet);
    kind && is_own && operation.amount == entry.amount
}

#[cfg(test)]
mod tests {
    use ledger::Money;
    use uuid::Uuid;

    use super::*;
    use load_generator::operation::Customer;

    fn wallet() -> WalletId {
        WalletId::from_uuid(Uuid::from_u128(9))
    }

    fn outcome(reported: Reported) -> Outcome {
        let operation = Operation {
            number: 5,
            kind: Kind::Deposits,
            customer: 0,
            payee: None,
            amount: Money::from_minor(7),
            due_us: 0,
            answered_us: 0,
            attempts: 1,
            first: reported.clone(),
            last: reported,
        };
        let customer = Customer { user: "ann".into(), wallet: Some(wallet()), cell: None };
        Outcome { run: "run".into(), operations: vec![operation], customers: vec![customer], ..Outcome::default() }
    }

    fn deposit(number: u64, amount: u64) -> Entry {
        let key = ledger::block::Key { key: key_hash(&key("run", number)), request: [0; 16] };
        let amount = Money::from_minor(amount);
        Entry { key: Some(key), ..Entry::new(Uuid::from_u128(1), EntryKind::Deposit, amount, amount) }
    }

    /// The names of the checks that fail, in order: lost, doubled, undead, strange.
    fn failing(reported: Reported, entries: &[Entry]) -> Vec<bool> {
        let outcome = outcome(reported);
        let mut journal = Journal::new(&[&outcome]);
        entries.iter().for_each(|entry| journal.entry(wallet(), entry));
        journal.checks(None).0.iter().map(|check| !check.passed).collect()
    }

    #[test]
    fn the_books_notice_what_clients_were_told_wrongly() {
        let (once, twice) = ([deposit(5, 7)], [deposit(5, 7), deposit(5, 7)]);
        let refused = || Reported::Refused("insufficient_balance".into());
        let unknown = || Reported::Unknown("no_answer".into());
        let (lost, doubled, undead, strange) = (0, 1, 2, 3);
        for (reported, entries, wrong) in [
            (Reported::Done(None), &once[..], vec![]),
            (Reported::Done(None), &[], vec![lost]),
            (Reported::Done(None), &twice, vec![doubled]),
            (refused(), &[], vec![]),
            (refused(), &once, vec![undead]),
            (Reported::Failed("overloaded".into()), &once, vec![undead]),
            (unknown(), &[], vec![]),
            (unknown(), &once, vec![]),
            (unknown(), &twice, vec![doubled]),
            (Reported::Done(None), &[deposit(5, 8)], vec![strange]),
            (Reported::Done(None), &[deposit(5, 7), deposit(6, 7)], vec![strange]),
        ] {
            let expected: Vec<bool> = (0..4).map(|check| wrong.contains(&check)).collect();
            assert_eq!(failing(reported.clone(), entries), expected, "{reported:?}, {} entries", entries.len());
        }
    }
}

//! What a Region that is lost or cut off takes with it, and how soon its cells serve elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use control_api::regions::LostBlock;
use ledger::Block;
use load_generator::mix::Kind;
use load_generator::operation::{Operation, key, key_hash};
use load_generator::outcome::Outcome;
use reconciliation::Reported;
use serde::Serialize;
use topology::WalletId;

use crate::books::Audit;
use crate::check::Check;
use crate::runner::StepTaken;
use crate::table::{LOST_REGION, Step};
use crate::verdict::seconds;
use crate::victims::Victims;

/// From the decision to the first answer of each cell in its other Region.
const SERVED_MAX_US: u64 = 60_000_000;
/// What was acknowledged so long before a Region was lost is archived.
const LOST_MAX_US: u64 = 10_000_000;

/// Acknowledged, and in no chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostOperation {
    pub key: String,
    pub kind: Kind,
    pub wallet: Option<WalletId>,
    pub amount: String,
    /// Since its load began.
    pub answered_us: u64,
}

impl LostOperation {
    pub fn of(outcome: &Outcome, operation: &Operation) -> Self {
        Self {
            key: key(&outcome.run, operation.number),
            kind: operation.kind,
            wallet: outcome.customers[operation.customer].wallet,
            amount: operation.amount.to_string(),
            answered_us: operation.answered_us,
        }
    }
}

/// What was found in the Region that the cells have left.
#[derive(Default)]
pub struct Found {
    /// By `reconcile`.
    pub named: Vec<LostBlock>,
    /// In the tables.
    pub branches: Vec<Block>,
}

fn taken(steps: &[StepTaken], step: Step) -> Option<&StepTaken> {
    steps.iter().find(|taken| taken.what == step.description())
}

/// The time that passed until each of the cells did something again that a client had asked for after the decision.
pub fn served(victims: &Victims, outcome: &Outcome, steps: &[StepTaken]) -> Check {
    let decision = taken(steps, Step::FailOver).map_or(0, |taken| taken.at_us);
    let first = |cell| {
        let there = |one: &&Operation| outcome.customers[one.customer].cell.as_ref() == Some(cell);
        let after = outcome.operations.iter().filter(there).filter(|one| one.due_us >= decision);
        after.filter(|one| one.last.is_done()).map(|one| one.answered_us - decision).min()
    };
    let times: Vec<_> = victims.cells().iter().map(|cell| (cell, first(cell))).collect();
    let found = times.iter().map(|(cell, first)| match first {
        Some(first) => format!("{cell} after {:.1} s", seconds(*first)),
        None => format!("{cell} never"),
    });
    let name =
        format!("each cell of {LOST_REGION} serves again within {:.0} s of the decision", seconds(SERVED_MAX_US));
    let in_time = times.iter().all(|(_, first)| first.is_some_and(|first| first <= SERVED_MAX_US));
    Check::expectation(name, in_time && !times.is_empty(), found.collect::<Vec<_>>().join(", "))
}

/// Of what was acknowledged to clients outside of the Region, only the last seconds may be gone.
pub fn recent(outcome: &Outcome, audit: &Audit, steps: &[StepTaken]) -> Check {
    let lost_at = [Step::LoseRegion, Step::CutRegion].into_iter().find_map(|step| taken(steps, step));
    let (from, to) = lost_at.map_or((0, 0), |taken| (taken.at_us, taken.at_us + taken.took_ms * 1_000 + 1_000));
    let lost: Vec<_> = audit.lost.iter().filter(|one| one.key.starts_with(&outcome.run)).collect();
    let oldest = lost.iter().map(|one| from.saturating_sub(one.answered_us)).max().unwrap_or_default();
    let late = lost.iter().filter(|one| one.answered_us > to).count();
    let found = match lost.len() {
        0 => "none is lost".to_owned(),
        count => format!("{count} lost, the oldest {:.2} s before, {late} after it", seconds(oldest)),
    };
    let name = format!(
        "what was acknowledged {:.0} s before {LOST_REGION} was gone, or after, is not lost",
        seconds(LOST_MAX_US)
    );
    Check::expectation(name, oldest <= LOST_MAX_US && late == 0, found)
}

/// Holds what `reconcile` names against the tables, against the answers of all loads, and against the difference of the
/// books.
pub fn reconciled(outcomes: &[&Outcome], audit: &Audit, found: &Found) -> Vec<Check> {
    let named: BTreeSet<_> = found.named.iter().map(|block| (block.wallet, block.number, block.hash.clone())).collect();
    let there: BTreeSet<_> =
        found.branches.iter().map(|block| (block.wallet, block.number, block.hash.to_string())).collect();
    let (missing, strange) = (there.difference(&named).count(), named.difference(&there).count());
    vec![
        Check::books(
            &format!("reconcile names each block that only {LOST_REGION} has"),
            missing == 0 && strange == 0 && named.len() == found.named.len() && !there.is_empty(),
            format!("{} blocks, {missing} not named, {strange} named and not there", there.len()),
        ),
        answers(outcomes, audit, found),
        difference(audit, found),
    ]
}

/// What was acknowledged and is lost is exactly what only the former Region has.
fn answers(outcomes: &[&Outcome], audit: &Audit, found: &Found) -> Check {
    let operations = outcomes.iter().flat_map(|outcome| {
        let all = outcome.setup.iter().chain(&outcome.operations).filter(|one| one.writes());
        all.map(|one| (key_hash(&key(&outcome.run, one.number)), (key(&outcome.run, one.number), &one.last)))
    });
    let operations: HashMap<_, _> = operations.collect();
    let entries = found.branches.iter().flat_map(|block| &block.entries);
    let asked: Vec<_> = entries.filter_map(|entry| entry.key).map(|key| operations.get(&key.key)).collect();
    let unasked = asked.iter().filter(|asked| asked.is_none()).count();
    let acknowledged = |last: &Reported| matches!(last, Reported::Done(_) | Reported::Returned);
    let only_there: BTreeSet<&str> =
        asked.iter().flatten().filter(|(_, last)| acknowledged(last)).map(|(key, _)| key.as_str()).collect();
    let lost: BTreeSet<&str> = audit.lost.iter().map(|one| one.key.as_str()).collect();
    let unknown = asked.iter().flatten().filter(|(_, last)| !acknowledged(last)).count();
    Check::books(
        "what was acknowledged and is lost is what reconcile names",
        only_there == lost && unasked == 0,
        format!(
            "{} lost, {} of them named; {} named and not lost; {unknown} named that were not acknowledged",
            lost.len(),
            lost.intersection(&only_there).count(),
            only_there.difference(&lost).count()
        ),
    )
}

/// Each cent that the books have too many went out of a wallet by an operation that is named.
fn difference(audit: &Audit, found: &Found) -> Check {
    let named = found.named.iter().flat_map(|block| &block.entries).map(|entry| (entry.id, entry.minor));
    let named: BTreeMap<_, _> = named.collect();
    let paid = |id| named.get(id).map_or(0, |minor| minor.min(&0).unsigned_abs());
    let explained: u64 = audit.halves.arrived().map(|(id, _)| paid(id)).sum();
    let made = audit.halves.made();
    let found = format!("{made} in the books, {explained} in payments that reconcile names");
    Check::books("the difference of the books is what reconcile says, in cents", made == explained, found)
}
